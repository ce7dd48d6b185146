"""Two convolutions of few channels, for digits of 8x8 pixels."""

from harness.contracts.model import Model
from suites.models._convnet import ConvNet

MODEL: Model = ConvNet(widths=(8, 16))
