"""The small spiking action detector with frames for time steps: membranes outlive a frame."""

from harness.contracts.model import Model
from suites.models._spiking_oad import SpikingOad

MODEL: Model = SpikingOad(
    width=32, heads=2, ratio=2, work=8, blocks=1, far=2, frames_are_steps=True
)
