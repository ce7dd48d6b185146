"""A simulator's neuron in every slot of a topology."""

from collections.abc import Callable

from torch import nn

from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.neurons.spiking import SpikingNeuron


def activation(
    backend: Backend, spec: NeuronSpec, /, *, through_compiler: bool = False
) -> Callable[[], nn.Module]:
    """Return what makes one slot's neurons.

    Raises:
        UnsupportedError: If the simulator cannot mean ``spec``; in its words.
        SpecError: If it makes no ``SpikingNeuron``, once one is made.
    """
    if reason := backend.unsupported(spec):
        raise UnsupportedError(f"{backend.name} cannot mean this neuron: {reason}")
    if through_compiler:
        # Late: the compiler takes half a second to import, as long as a digits cell trains.
        from harness.neurons.compiled import compiled

        return lambda: compiled(_made(backend, spec))
    return lambda: _made(backend, spec)


def _made(backend: Backend, spec: NeuronSpec) -> nn.Module:
    neuron = backend.neuron(spec)
    if not isinstance(neuron, SpikingNeuron):
        raise SpecError(
            f"{backend.name}.neuron made a {type(neuron).__name__}, which would pass for a "
            "stateless layer; derive that class from harness.neurons.spiking.SpikingNeuron"
        )
    return neuron
