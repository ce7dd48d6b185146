"""Who shares a batch: one device, as ever, or several that see a part of it each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from torch import Tensor, nn

from harness.contracts.model import Output

Look = Callable[[Tensor, Sequence[str]], Output]


class Team(Protocol):
    """The devices that share each batch, as one of them sees it.

    Attributes:
        rank: Which this is; the first measures and writes.
        size: How many there are.
        eager: Why no CUDA graph holds a step of theirs; empty for one alone.
    """

    rank: int
    size: int
    eager: str

    def looking(self, look: Look, network: nn.Module, /) -> Look:
        """Return what answers the whole batch, when every device has a share of it.

        ``network`` is what ``look`` trains.
        """
        ...

    def whole(self, part: Tensor, /) -> Tensor:
        """Return ``[N, ...]`` of all devices' shares, each ``[n, ...]``, without a gradient."""
        ...

    def answered(self, look: Callable[[], Output], /) -> Output:
        """Return what ``look`` answers to the shares of all devices, with its gradient.

        Raises:
            UnsupportedError: If it draws random numbers, which would be others for each share.
        """
        ...

    def average(self, modules: Iterable[nn.Module], /) -> None:
        """Give all devices the mean of their gradients."""
        ...

    def refuse_unlike(self, modules: Iterable[nn.Module], /) -> None:
        """Refuse a training whose modules are not the same on all devices.

        Raises:
            UnsupportedError: If they are not.
        """
        ...


class Alone:
    """One device, which sees whole batches."""

    rank, size, eager = 0, 1, ""

    def looking(self, look: Look, _network: nn.Module, /) -> Look:
        """Return ``look``."""
        return look

    def whole(self, part: Tensor, /) -> Tensor:
        """Return ``part``."""
        return part

    def answered(self, look: Callable[[], Output], /) -> Output:
        """Look."""
        return look()

    def average(self, modules: Iterable[nn.Module], /) -> None:
        """Do nothing."""

    def refuse_unlike(self, modules: Iterable[nn.Module], /) -> None:
        """Do nothing."""


ALONE: Team = Alone()
