"""Norse: its LIF-box and integrate-and-fire steps."""

from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec
from harness.neurons.packaged import Packaged

if TYPE_CHECKING:
    from torch import nn


def _neuron(spec: NeuronSpec) -> "nn.Module":
    from backends.norse.neuron import NorseNeuron

    return NorseNeuron(spec)


BACKEND: Backend = Packaged(name="norse", title="Norse", requirement="norse", build=_neuron)
