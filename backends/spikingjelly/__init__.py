"""SpikingJelly: its stateless multi-step neurons, on CUDA with its fastest kernels."""

from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec
from harness.neurons.packaged import Packaged

if TYPE_CHECKING:
    from torch import nn


def _neuron(spec: NeuronSpec) -> "nn.Module":
    from backends.spikingjelly.neuron import SpikingJellyNeuron

    return SpikingJellyNeuron(spec)


BACKEND: Backend = Packaged(
    name="spikingjelly", title="SpikingJelly", requirement="'spikingjelly>=2.0,<2.1'", build=_neuron
)
