"""The spiking action detector for the windows of EPIC-KITCHENS-100, at the width of THUMOS14's.

A frame attends to the 5 seconds of the work memory and to a frame of each of the 25 seconds before.
"""

from harness.contracts.model import Model
from suites.models._spiking_oad import SpikingOad

MODEL: Model = SpikingOad(width=512, heads=8, near=20, far=25, stride=4, work=20)
