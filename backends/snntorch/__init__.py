"""snnTorch: its leaky neuron, told when to reset."""

from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec
from harness.neurons.packaged import Packaged

if TYPE_CHECKING:
    from torch import nn


def _neuron(spec: NeuronSpec) -> "nn.Module":
    from backends.snntorch.neuron import SnnTorchNeuron

    return SnnTorchNeuron(spec)


BACKEND: Backend = Packaged(
    name="snntorch", title="snnTorch", requirement="'snntorch>=1.0'", build=_neuron
)
