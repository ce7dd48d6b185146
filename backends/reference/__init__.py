"""The contract in plain torch: slow, simple, and what the others are read against."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Our own neurons, which can mean every specification."""

    name: str = "reference"

    @property
    def version(self) -> str:
        """The version of torch: nothing else computes here."""
        return version("torch")

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None: there is nothing it cannot mean."""
        return None

    def neuron(self, spec: NeuronSpec, /) -> "nn.Module":
        """Return a layer of neurons."""
        from backends.reference.neuron import ReferenceNeuron

        return ReferenceNeuron(spec)


BACKEND: Backend = Reference()
