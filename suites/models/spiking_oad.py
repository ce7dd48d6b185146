"""A spiking action detector that a processor trains in a minute."""

from harness.contracts.model import Model
from suites.models._spiking_oad import SpikingOad

MODEL: Model = SpikingOad(width=32, heads=2, ratio=2, work=8, blocks=1, far=2)
