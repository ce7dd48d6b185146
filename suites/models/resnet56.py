"""ResNet-56 for small images, parameters named as in the published checkpoints."""

from harness.contracts.model import Model
from suites.models._resnet import ResNet

MODEL: Model = ResNet(blocks=(9, 9, 9), widths=(16, 32, 64), shortcut="pad", classifier="linear")
