"""SpikingJelly: its stateless multi-step neurons, on CUDA with its fastest kernels."""

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
class SpikingJelly:
    """The simulator of the package ``spikingjelly``, imported when the first neuron is built."""

    name: str = "spikingjelly"

    @property
    def version(self) -> str:
        """SpikingJelly's own version."""
        return version("spikingjelly") if find_spec("spikingjelly") else "not installed"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        """Return None if SpikingJelly is installed: there is nothing it cannot mean."""
        if find_spec("spikingjelly"):
            return None
        return "SpikingJelly is not installed; pip install 'spikingjelly>=2.0,<2.1'"

    def neuron(self, spec: NeuronSpec, /) -> "nn.Module":
        """Return a layer of neurons.

        Raises:
            UnsupportedError: If SpikingJelly is not installed.
        """
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        from backends.spikingjelly.neuron import SpikingJellyNeuron

        return SpikingJellyNeuron(spec)


BACKEND: Backend = SpikingJelly()
