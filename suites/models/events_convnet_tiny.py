"""Three pooled convolutions of few channels, for event frames in float64."""

from harness.contracts.model import Model
from suites.models._vgg import VGG

MODEL: Model = VGG(widths=((8,), (16,), (32,)), side=4)
