"""WRN-28-4."""

from harness.contracts.model import Model
from suites.models._wide_resnet import WideResNet

MODEL: Model = WideResNet(depth=28, widening=4)
