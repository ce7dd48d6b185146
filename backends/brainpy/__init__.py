"""BrainPy: its leaky neuron in JAX, by Euler's step, compiled, with JAX's gradient."""

from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec
from harness.neurons.packaged import Packaged

if TYPE_CHECKING:
    from torch import nn


def _neuron(spec: NeuronSpec) -> "nn.Module":
    from backends.brainpy.neuron import BrainPyNeuron

    return BrainPyNeuron(spec)


BACKEND: Backend = Packaged(
    name="brainpy", title="BrainPy", requirement="'brainpy>=2.8.2,<3'", build=_neuron
)
