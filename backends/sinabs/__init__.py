"""Sinabs: its leaky step, firing once at most."""

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.neuron import NeuronSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Sinabs:
    """The simulator of the package ``sinabs``, imported when the first neuron is built."""

    name: str = "sinabs"

    @property
    def version(self) -> str:
        """Sinabs's own version."""
        return version("sinabs") if find_spec("sinabs") else "not installed"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None if Sinabs is installed: there is nothing it cannot mean."""
        if find_spec("sinabs"):
            return None
        return "Sinabs is not installed; pip install 'sinabs>=3.1.3'"

    def neuron(self, spec: NeuronSpec, /) -> "nn.Module":
        """Return a layer of neurons.

        Raises:
            UnsupportedError: If Sinabs is not installed.
        """
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        from backends.sinabs.neuron import SinabsNeuron

        return SinabsNeuron(spec)


BACKEND: Backend = Sinabs()
