"""Going on in time where the last call stopped, on any simulator.

A simulator's neurons begin each call at rest. One step before the others, of the current
that charges a membrane from rest to where it was left, puts them there: what was left after
a reset to zero is below the threshold, so that step fires nowhere, but for a rounding where it
is the last number before.
"""

import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.neurons.spiking import SpikingLayer, SpikingNeuron


def go_on(
    neuron: nn.Module,
    current: Tensor,  # [T, N, ...]
    held: Tensor | None,  # [N, ...]: the membranes that the last call left; None is at rest
    /,
    *,
    until: int,
) -> tuple[Tensor, Tensor | None]:
    """Return the answer ``[T, N, ...]``, and the membranes after ``until`` of the steps.

    What is no neuron, as ReLU, holds nothing: its membranes are None.

    Raises:
        UnsupportedError: If the neuron cannot be put where it was.
    """
    if not isinstance(neuron, SpikingLayer):
        return neuron(current), None
    spec = _spec(neuron)
    begun = current if held is None else torch.cat([charging(spec, held)[None], current])
    record: list[Tensor] = []
    spikes: Tensor = neuron(begun, record)
    membranes = record[0][len(begun) - len(current) :]
    spikes = spikes[len(begun) - len(current) :]
    # After a reset to zero, as the simulator has it: nothing where there was a spike.
    left = membranes[until - 1] * (1 - spikes[until - 1].to(membranes.dtype))
    return spikes, left


def charging(
    spec: NeuronSpec,
    held: Tensor,  # [N, ...]
    /,
) -> Tensor:
    """Return the current of one step that charges membranes at rest to ``held``.

    ``v <- 0 + x / tau`` gives ``x = tau v``, exact where ``tau`` is a power of two; without
    ``scale_input``, and of ``if``, ``v <- 0 + x``.
    """
    return held * spec.tau if spec.kind == "lif" and spec.scale_input else held


def _spec(neuron: SpikingLayer) -> NeuronSpec:
    if not isinstance(neuron, SpikingNeuron):
        raise UnsupportedError(f"{type(neuron).__name__} has no specification to go on by")
    if neuron.spec.reset != "zero" or neuron.spec.kind == "plif":
        raise UnsupportedError(
            f"a {neuron.spec.kind} neuron with reset {neuron.spec.reset!r} cannot be put where it "
            "was left; those that can are if and lif, reset to zero"
        )
    return neuron.spec
