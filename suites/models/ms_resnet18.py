"""ResNet-18 that adds currents."""

from harness.contracts.model import Model
from suites.models._resnet import ResNet

MODEL: Model = ResNet(blocks=(2, 2, 2, 2), widths=(64, 128, 256, 512), style="ms")
