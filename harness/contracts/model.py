"""A topology that several realisations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from harness.contracts.inputs import Classes, Image, Input

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a network answers.

    Attributes:
        logits: ``[T, N, K]``, or as the task has its answers, ``[T, N, ...]``; the answer is
            their mean over time.
        taps: What was asked for by name, each ``[T, N, C, ...]``; of a sequence of L places
            ``[T, N, C, L, 1]``, so that a 1x1 convolution or a mean over places means the same.
    """

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)


class Network(Protocol):
    """What ``Model.build`` returns: a ``torch.nn.Module`` called like this.

    One that can leave padding out of its work, in a way that no meter follows, has an attribute
    ``packs``, False: a teacher's is made True. One whose shortcuts are not ``standard`` has an
    attribute ``style`` (docs/models.md).
    """

    tap_channels: Mapping[str, int]

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits ``[T, N, K]`` that follow from ``signal`` ``[T, N, ...]``.

        It stands in the place of the tap ``name``, a stage or ``penultimate``.
        """
        ...

    def __call__(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        """Answer ``stimulus``: a static ``[N, ...]`` or frames ``[T, N, C, H, W]``.

        A static stimulus is a constant current: what stands before the first neuron
        runs once and is expanded to ``timesteps``. Frames bring their own ``T``,
        which must equal ``timesteps``. A tap named ``x.membrane`` is the membrane
        of the neuron that made ``x``, before its reset.

        Raises:
            UnsupportedError: If the membrane of a tap is asked for that no neuron made.
        """
        ...


class Model(Protocol):
    """A topology. One file under ``suites/models/`` provides exactly one, as ``MODEL``.

    One for something other than images says so: ``takes: ClassVar = Tokens``.
    """

    def build(
        self,
        activation: Callable[[], nn.Module],
        /,
        *,
        input: Any,
        output: Classes,
    ) -> nn.Module:
        """Return the topology with ``activation()`` in every slot, callable as a ``Network``.

        ReLU gives the artificial network, a simulator's neuron the spiking one. The
        realisations share parameter names. ``input`` is of the kind that the model takes.
        """
        ...


def style_of(network: nn.Module, /) -> str:
    """Return the style of a network's shortcuts; ``standard`` if it says none."""
    style: str = getattr(network, "style", "standard")
    return style


def taken_by(model: Model, /) -> type[Input]:
    """Return what a sample has to be for ``model``."""
    kind: type[Input] = getattr(model, "takes", Image)
    return kind
