"""Sinabs: its leaky step, firing once at most."""

from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec
from harness.neurons.packaged import Packaged

if TYPE_CHECKING:
    from torch import nn


def _neuron(spec: NeuronSpec) -> "nn.Module":
    from backends.sinabs.neuron import SinabsNeuron

    return SinabsNeuron(spec)


BACKEND: Backend = Packaged(
    name="sinabs", title="Sinabs", requirement="'sinabs>=3.1.3'", build=_neuron
)
