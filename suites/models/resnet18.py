"""ResNet-18."""

from harness.contracts.model import Model
from suites.models._resnet import ResNet

MODEL: Model = ResNet(blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512))
