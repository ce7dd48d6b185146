"""A simulator's neuron in every slot of a topology."""

from collections.abc import Callable

from torch import nn

from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.neuron import NeuronSpec


def activation(
    backend: Backend, spec: NeuronSpec, /, *, through_compiler: bool = False
) -> Callable[[], nn.Module]:
    """Return what makes one slot's neurons.

    Raises:
        UnsupportedError: If the simulator cannot mean ``spec``; in its words.
    """
    if reason := backend.unsupported(spec):
        raise UnsupportedError(f"{backend.name} cannot mean this neuron: {reason}")
    if through_compiler:
        # Late: the compiler takes half a second to import, as long as a digits cell trains.
        from harness.neurons.compiled import compiled

        return lambda: compiled(backend.neuron(spec))
    return lambda: backend.neuron(spec)
