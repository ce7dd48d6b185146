"""Four times the channels of ``digits_convnet``."""

from harness.contracts.model import Model
from suites.models._convnet import ConvNet

MODEL: Model = ConvNet(widths=(32, 64))
