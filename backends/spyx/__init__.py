"""Spyx: its leaky step in JAX, compiled, with JAX's gradient."""

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
class Spyx:
    """The simulator of the package ``spyx``, imported when the first neuron is built."""

    name: str = "spyx"

    @property
    def version(self) -> str:
        """Spyx's own version."""
        return version("spyx") if find_spec("spyx") else "not installed"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None if Spyx is installed: there is nothing it cannot mean."""
        if find_spec("spyx"):
            return None
        return "Spyx is not installed; pip install 'spyx>=1.0'"

    def neuron(self, spec: NeuronSpec, /) -> "nn.Module":
        """Return a layer of neurons.

        Raises:
            UnsupportedError: If Spyx is not installed.
        """
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        from backends.spyx.neuron import SpyxNeuron

        return SpyxNeuron(spec)


BACKEND: Backend = Spyx()
