"""VGG-9 of the spiking literature (Kim & Panda, Front. Neurosci. 2021), with max-pooling."""

from harness.contracts.model import Model
from suites.models._vgg import VGG

MODEL: Model = VGG(widths=((64, 64), (128, 128), (256, 256, 256)), side=4, hidden=1024)
