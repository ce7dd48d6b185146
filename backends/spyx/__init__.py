"""Spyx: its leaky step in JAX, compiled, with JAX's gradient."""

from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec
from harness.neurons.packaged import Packaged

if TYPE_CHECKING:
    from torch import nn


def _neuron(spec: NeuronSpec) -> "nn.Module":
    from backends.spyx.neuron import SpyxNeuron

    return SpyxNeuron(spec)


BACKEND: Backend = Packaged(name="spyx", title="Spyx", requirement="'spyx>=1.0'", build=_neuron)
