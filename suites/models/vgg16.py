"""VGG-16 with norms and one linear layer."""

from harness.contracts.model import Model
from suites.models._vgg import VGG

MODEL: Model = VGG(widths=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)))
