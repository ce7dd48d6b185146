"""snnTorch: its leaky neuron, told when to reset."""

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
class SnnTorch:
    """The simulator of the package ``snntorch``, imported when the first neuron is built."""

    name: str = "snntorch"

    @property
    def version(self) -> str:
        """The package's own version."""
        return version("snntorch") if find_spec("snntorch") else "not installed"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None if snnTorch is installed: there is nothing it cannot mean."""
        if find_spec("snntorch"):
            return None
        return "snnTorch is not installed; pip install 'snntorch>=1.0'"

    def neuron(self, spec: NeuronSpec, /) -> "nn.Module":
        """Return a layer of neurons.

        Raises:
            UnsupportedError: If snnTorch is not installed.
        """
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        from backends.snntorch.neuron import SnnTorchNeuron

        return SnnTorchNeuron(spec)


BACKEND: Backend = SnnTorch()
