"""What is asked of a sample, how an answer is taught, and how right it is."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from harness.contracts.dataset import Samples, Source


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A task's headline: a fraction, of which more is better.

    Attributes:
        name: Short, for a column: ``accuracy``, ``mAP``.
        title: In words.
        unit: What the fraction is of, in per cent: ``% of sentences``.
    """

    name: str
    title: str
    unit: str = "%"


@dataclass(frozen=True, kw_only=True)
class Score:
    """How right decisions are.

    Attributes:
        value: In the task's metric.
        low: Lower end of its 95 % interval over independent units.
        high: Upper end.
        units: How many of these there are: samples, videos, sequences.
        further: Other metrics by name, fractions too.
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
    def gives(self) -> frozenset[str]:
        """What a method may need: ``classes`` is one class a sample, told by a softmax."""
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
