"""ResNet-20 that adds currents."""

from harness.contracts.model import Model
from suites.models._resnet import ResNet

MODEL: Model = ResNet(
    blocks=(3, 3, 3), widths=(16, 32, 64), shortcut="pad", classifier="linear", style="ms"
)
