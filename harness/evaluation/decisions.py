"""What a network knows when: decisions over time, settling, first spikes.

Everything is computed from plain arrays, after the run: the logits of every step and the
spikes of the last spiking layer. Times are in steps, never in seconds; step 1 is the first.
``docs/latency.md`` has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.contracts.ledger import Ledger
from harness.statistics import Interval, wilson_interval

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A tally of right answers.

    Attributes:
        correct: Samples that were right.
        samples: Samples that were asked.
    """

    correct: int
    samples: int

    @property
    def value(self) -> float:
        """The fraction, in [0, 1]."""
        return self.correct / self.samples

    @property
    def interval(self) -> Interval:
        """The Wilson interval of the fraction, 95 %."""
        return wilson_interval(self.correct, self.samples)


@dataclass(frozen=True, kw_only=True)
class OverTime:
    """How decisions develop.

    Attributes:
        accuracy: After each step.
        settling_steps: ``[N]``; the step after which the decision no longer changes.
        cutoff_steps: ``[N]``; the first step after which the decision stays right; T for
            a sample that ends wrong.
    """

    accuracy: tuple[Accuracy, ...]
    settling_steps: Integers
    cutoff_steps: Integers

    @property
    def area(self) -> float:
        """The area under accuracy over ``t / T``: the mean of the accuracies after each step."""
        return fmean(step.value for step in self.accuracy)

    @property
    def mean_settling_steps(self) -> float:
        """Mean of ``settling_steps``."""
        return float(self.settling_steps.mean())

    @property
    def mean_cutoff_steps(self) -> float:
        """Mean of ``cutoff_steps``."""
        return float(self.cutoff_steps.mean())


@dataclass(frozen=True, kw_only=True)
class FirstSpikes:
    """When the last spiking layer first fires.

    Attributes:
        spiking: ``[N]``; whether a sample makes it fire at all.
        steps: The first step with a spike, of the spiking samples alone, in their order.
    """

    spiking: NDArray[np.bool_]
    steps: Integers

    @property
    def silent(self) -> int:
        """Samples without any spike. They have no number of steps."""
        return int(np.count_nonzero(~self.spiking))

    @property
    def mean_steps(self) -> float | None:
        """Mean over the spiking samples; None if all are silent."""
        return float(self.steps.mean()) if len(self.steps) else None


def decide(
    logits: NDArray[Any],  # [T, N, K]
    /,
) -> Integers:
    """Return the decision after every step, ``[T, N]``.

    The decision after step t is the class with the largest mean logit of steps 1..t; of
    equals the first, as argmax has it.

    Raises:
        SpecError: If there is no logit, or one that is not finite.
    """
    values = checked_logits(logits)
    return np.stack([total.argmax(axis=1) for total in running_sums(values)])


def over_time(
    predictions: NDArray[Any],  # [T, N]
    labels: NDArray[Any],  # [N]
    /,
) -> OverTime:
    """Return how decisions, as ``decide`` returns them, develop from step to step.

    Raises:
        SpecError: If an array is empty or misshapen.
    """
    if predictions.ndim != 2 or not predictions.size or labels.shape != predictions.shape[1:]:
        raise SpecError(
            f"predictions must be [T, N] with labels [N], got shapes {predictions.shape} and "
            f"{labels.shape}; time goes first"
        )
    right = predictions == labels
    return OverTime(
        accuracy=tuple(accuracy_of(step) for step in right),
        settling_steps=_steps_until_stays(predictions == predictions[-1]),
        cutoff_steps=_steps_until_stays(right),
    )


def first_spikes(ledger: Ledger, /) -> FirstSpikes:
    """Return when each sample of a metered run first makes the last spiking layer fire.

    Raises:
        SpecError: If it has no neurons, the last ones ran for other steps, or samples were
            summed.
    """
    layers = [layer for layer in ledger.layers.values() if layer.neurons]
    if not layers:
        raise SpecError(f"none of {', '.join(ledger.layers)} is a layer of neurons")
    last = layers[-1]
    if last.steps != ledger.steps:
        raise SpecError(
            f"layer {last.name!r} ran {last.steps} steps and the network {ledger.steps}; "
            "its spikes have no step of the network"
        )
    if last.is_summed:
        raise SpecError("samples were summed; ask the ledger that measure returned")
    fired = last.tally["spikes"] > 0  # [N, T]
    spiking = np.asarray(fired.any(axis=1))
    return FirstSpikes(spiking=spiking, steps=fired[spiking].argmax(axis=1) + 1)


def running_sums(logits: NDArray[Any], /) -> Iterator[Numbers]:
    """Yield the sum of steps 1..t, ``[N, K]``, which orders classes as the mean does.

    Float64 adds float32 logits without rounding unless their sizes differ 2^29-fold, so
    a tie is one of the numbers and not of their rounding.
    """
    total = np.zeros(logits.shape[1:])
    for step in logits:
        total = total + step
        yield total


def _steps_until_stays(
    holds: NDArray[np.bool_],  # [T, N]
) -> Integers:
    """Return the first step from which on it holds to the end, T if it never does."""
    steps = np.arange(1, len(holds) + 1, dtype=np.int64)[:, None]
    found: Integers = np.minimum((~holds * steps).max(axis=0) + 1, len(holds))
    return found


def accuracy_of(right: NDArray[np.bool_], /) -> Accuracy:
    """Return the tally of ``right [N]``."""
    return Accuracy(correct=int(np.count_nonzero(right)), samples=len(right))


def checked_logits(logits: NDArray[Any], /) -> NDArray[Any]:
    """Return ``logits [T, N, K]``, or refuse what is none."""
    values = np.asarray(logits)
    if values.ndim != 3 or not values.size or values.shape[2] < 2:
        raise SpecError(
            f"logits must be [T, N, K] with a step, a sample and two classes, got shape "
            f"{values.shape}; pass those of every step, not their mean"
        )
    if values.dtype.kind not in "fiu":
        raise SpecError(f"logits must be real numbers, got {values.dtype}")
    if bad := sum(int(np.count_nonzero(~np.isfinite(step))) for step in values):
        raise SpecError(
            f"{bad} of {values.size} logits are not finite; a network that left the finite "
            "numbers has diverged: train it again, with a smaller learning rate"
        )
    return values
