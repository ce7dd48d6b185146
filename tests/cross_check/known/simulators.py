"""One nominal neuron, three spike counts: snnTorch 1.0.0 and Norse 1.1.0 as they come.

Currents (5/8, 1), threshold 1, soft reset, four steps. Firing at ``v >= 1`` the first
neuron has v = 5/8, 10/8, 7/8, 12/8: two spikes; the second fires in every step: six.
"""

from typing import Any

import torch
from norse.torch import IAFCell
from snntorch import Leaky
from torch import nn

from harness import discovery
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from tests.cross_check.known import Known
from tests.cross_check.networks import STEPS

CURRENT = torch.tensor([[0.625, 1.0]])


def of_snntorch() -> float:
    cell, membrane, fired = Leaky(beta=1.0), None, 0.0
    for _ in range(STEPS):
        spikes, membrane = cell(CURRENT, membrane)
        fired += float(spikes.sum())
    return fired


def of_norse() -> float:
    cell, state, fired = IAFCell(), None, 0.0
    with torch.no_grad():
        for _ in range(STEPS):
            spikes, state = cell(CURRENT, state)
            fired += float(spikes.sum())
    return fired


def through_our_adapter(simulator: str) -> float:
    backend: Any = discovery.load("backends", simulator)
    cell: nn.Module = backend.neuron(NeuronSpec(kind="if", reset="subtract"))
    return measure(cell, CURRENT.expand(STEPS, 1, 2), time_axis=0, batch_axis=1).total.spikes


KNOWN = (
    Known(
        name="spikes of snntorch.Leaky with beta = 1, currents (5/8, 1)",
        truth=6,
        says=5,
        theirs=of_snntorch,
        ours=lambda: through_our_adapter("spikingjelly"),
        reason="fires above the threshold, resets a step later: jeshraghian/snntorch#364",
    ),
    Known(
        name="spikes of norse.torch.IAFCell, currents (5/8, 1)",
        truth=6,
        says=4,
        theirs=of_norse,
        ours=lambda: through_our_adapter("norse"),
        reason="fires above the threshold and resets to zero",
    ),
)
