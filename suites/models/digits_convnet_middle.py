"""Two convolutions of 16 and 32 channels, between ``digits_convnet`` and the wide one."""

from harness.contracts.model import Model
from suites.models._convnet import ConvNet

MODEL: Model = ConvNet(widths=(16, 32))
