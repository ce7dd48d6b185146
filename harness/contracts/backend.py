"""A simulator, as the harness sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.contracts.neuron import NeuronSpec


class Neuron(Protocol):
    """What ``Backend.neuron`` returns: a ``SpikingNeuron`` called like this."""

    spec: NeuronSpec

    def __call__(self, current: Tensor, /, record: list[Tensor] | None = None) -> Tensor:
        """Return the spikes of ``current``, both ``[T, N, ...]``, same dtype and device.

        Every call starts from rest. The memory layout of each step is kept, in the
        gradient too. If ``record`` is given, the membrane before reset
        ``[T, N, ...]`` is appended to it, with its gradient.
        """
        ...


class Backend(Protocol):
    """A simulator. One folder under ``backends/`` provides exactly one, as ``BACKEND``."""

    @property
    def name(self) -> str:
        """The folder's name."""
        ...

    @property
    def version(self) -> str:
        """The simulator's own version."""
        ...

    def unsupported(self, spec: NeuronSpec, /) -> str | None:
        """Return why ``spec`` cannot be meant here, in words, or None if it can."""
        ...

    def neuron(self, spec: NeuronSpec, /) -> nn.Module:
        """Return a fresh layer of such neurons, callable as a ``Neuron``.

        Raises:
            UnsupportedError: With the words of ``unsupported``.
        """
        ...
