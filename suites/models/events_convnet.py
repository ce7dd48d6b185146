"""Three pooled convolutions , few channels, for recordings of digits."""

from harness.contracts.model import Model
from suites.models._vgg import VGG

MODEL: Model = VGG(widths=((32,), (64,), (128,)), side=4)
