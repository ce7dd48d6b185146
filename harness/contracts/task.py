"""What is asked of a sample, how an answer is taught, and how right it is."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import Field

from harness.contracts.errors import SpecError
from harness.contracts.values import value

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.contracts.dataset import Samples, Source


@value
class Scale:
    """What numbers a metric has: fractions of which more is better, unless it says otherwise.

    Attributes:
        unit: ``%`` is a fraction, which tables tell in per cent; ``px`` is told as it is.
        higher_is_better: Whether it is.
        least: The lowest there can be.
        most: The highest; None is without end.
    """

    unit: Annotated[str, Field(pattern=r"^(%|[A-Za-zµ][A-Za-zµ0-9/ ]{0,19})$")] = "%"
    higher_is_better: bool = True
    least: float = 0.0
    most: float | None = 1.0

    def __post_init__(self) -> None:
        if self.is_fraction and (self.least, self.most) != (0.0, 1.0):
            raise SpecError(
                f"a metric in % is a fraction, from 0 to 1, and not from {self.least} to "
                f"{self.most}; give its numbers another unit"
            )
        if self.most is not None and not self.least < self.most:
            raise SpecError(f"a metric needs least < most, got {self.least} and {self.most}")

    @property
    def is_fraction(self) -> bool:
        """Whether its numbers are fractions, which are told in per cent."""
        return self.unit == "%"

    @property
    def factor(self) -> float:
        """What tables multiply its numbers by."""
        return 100.0 if self.is_fraction else 1.0

    @property
    def points(self) -> str:
        """What tables tell differences in."""
        return "points" if self.is_fraction else self.unit

    def told(self, score: float, /) -> str:
        """Return a score with its unit, to two decimals, as command lines tell it."""
        return f"{self.factor * score:.2f} {self.unit}"

    def merit(self, score: float, /) -> float:
        """Return a number that is higher for what is better."""
        return score if self.higher_is_better else -score

    def holds(self, score: float, /) -> bool:
        """Return whether there can be such a score."""
        return self.least <= score and (self.most is None or score <= self.most)

    def __str__(self) -> str:
        return f"{self.least:g} to {'infinity' if self.most is None else format(self.most, 'g')}"


FRACTION = Scale()


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A task's headline.

    Attributes:
        name: Short, for a column: ``accuracy``, ``mAP``.
        title: In words.
        scale: Its unit, which direction is better, and its bounds.
    """

    name: str
    title: str
    scale: Scale = FRACTION


@dataclass(frozen=True, kw_only=True)
class Score:
    """How right decisions are.

    Attributes:
        value: In the task's metric.
        low: Lower end of its 95 % interval over independent units.
        high: Upper end.
        units: How many of these there are: samples, videos, sequences.
        further: Other metrics by name, fractions all.
    """

    value: float
    low: float
    high: float
    units: int
    further: Mapping[str, float] = field(default_factory=dict)


class Losses(Protocol):
    """The part of a task that methods ask."""

    def supervised(
        self,
        decided: Tensor,  # [N, ...]: an answer with time averaged away
        target: Tensor,  # [N, ...]
        /,
    ) -> Tensor:
        """Return how far an answer is from the label, a scalar, in nats unless said."""
        ...

    def divergence(
        self,
        decided: Tensor,  # [N, ...]
        answer: Tensor,  # [N, ...]: the teacher's
        /,
        *,
        temperature: float,
    ) -> Tensor:
        """Return how far the student's answer is from the teacher's, likewise."""
        ...


class Task(Losses, Protocol):
    """One file under ``suites/tasks/`` provides exactly one, as ``TASK``."""

    @property
    def metric(self) -> MetricSpec:
        """The headline."""
        ...

    @property
    def gives(self) -> tuple[str, ...]:
        """What a method may need: ``classes`` is one class a sample, told by a softmax.

        A literal in the file: planning reads it without importing.
        """
        ...

    def decide(
        self,
        logits: NDArray[Any],  # [T, N, ...] of every step
        /,
    ) -> NDArray[Any]:
        """Return the decision after every step, ``[T, N, ...]``."""
        ...

    def score(
        self,
        decisions: NDArray[Any],  # [N, ...] after one step
        targets: NDArray[Any],  # [N, ...]
        groups: NDArray[Any] | None,  # [N]: the unit each sample belongs to; None is each its own
        /,
    ) -> Score:
        """Return how right decisions are; the interval resamples whole units."""
        ...

    def alike(
        self,
        ours: NDArray[Any],  # [N, ...]
        theirs: NDArray[Any],  # [N, ...]
        /,
    ) -> NDArray[Any]:
        """Return of which samples two networks decide alike, bool ``[N]``."""
        ...


@runtime_checkable
class Driven(Protocol):
    """A task whose next stimulus depends on the last answer, as a tracker's does."""

    def drive(
        self, samples: Samples | Source, timesteps: int, /
    ) -> Generator[Tensor, Tensor, NDArray[Any]]:
        """Yield one stimulus after the other, being sent the answer ``[T, n, ...]`` to each.

        Stimuli are raw, ``[n, ...]``: whoever drives shows them as the student sees them.
        It returns the decisions after every step, ``[T, N, ...]``.
        """
        ...
