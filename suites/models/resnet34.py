"""ResNet-34."""

from harness.contracts.model import Model
from suites.models._resnet import ResNet

MODEL: Model = ResNet(blocks=(3, 4, 6, 3), widths=(64, 128, 256, 512))
