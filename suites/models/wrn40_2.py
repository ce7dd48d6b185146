"""WRN-40-2."""

from harness.contracts.model import Model
from suites.models._wide_resnet import WideResNet

MODEL: Model = WideResNet(depth=40, widening=2)
