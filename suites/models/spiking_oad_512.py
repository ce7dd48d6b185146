"""The spiking action detector at the size that we reconstruct for THUMOS14.

A frame attends to the 8 seconds of the work memory and to 32 frames of the 64 seconds before.
"""

from harness.contracts.model import Model
from suites.models._spiking_oad import SpikingOad

MODEL: Model = SpikingOad(width=512, heads=8, near=32, far=32, stride=8, work=32)
