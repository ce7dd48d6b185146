"""Norse: its LIF-box and integrate-and-fire steps."""

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
class Norse:
    """The simulator of the package ``norse``, imported when the first neuron is built."""

    name: str = "norse"

    @property
    def version(self) -> str:
        """Norse's own version."""
        return version("norse") if find_spec("norse") else "not installed"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None if Norse is installed: there is nothing it cannot mean."""
        return None if find_spec("norse") else "Norse is not installed; pip install norse"

    def neuron(self, spec: NeuronSpec, /) -> "nn.Module":
        """Return a layer of neurons.

        Raises:
            UnsupportedError: If Norse is not installed.
        """
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        from backends.norse.neuron import NorseNeuron

        return NorseNeuron(spec)


BACKEND: Backend = Norse()
