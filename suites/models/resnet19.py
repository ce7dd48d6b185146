"""ResNet-19 of the spiking literature (Zheng et al., AAAI 2021); its hidden norm is ours."""

from harness.contracts.model import Model
from suites.models._resnet import ResNet

MODEL: Model = ResNet(blocks=(3, 3, 2), widths=(128, 256, 512), hidden=256)
