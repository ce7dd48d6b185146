"""What a network knows when: decisions over time, settling, first spikes.

Everything is computed from plain arrays, after the run: the logits of every step and the
spikes of the last spiking layer. Times are in steps, never in seconds; step 1 is the first.
``docs/latency.md`` has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.contracts.ledger import Ledger
from harness.statistics import Interval, wilson_interval

Ties = Literal["first_class", "undecided"]
Silence = Literal["read_out", "undecided"]
Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]

UNDECIDED = -1  # no class, so always wrong


@dataclass(frozen=True, kw_only=True)
class DecisionPolicy:
    """What counts as a decision. The defaults are those of the headline accuracy.

    Attributes:
        ties: Of classes with equal largest logits: ``first_class`` takes the one with
            the smallest index, as argmax does; ``undecided`` takes none.
        silence: Of a sample for which the last spiking layer has not fired so far:
            ``read_out`` takes what the read-out answers, its biases; ``undecided`` none.
    """

    ties: Ties = "first_class"
    silence: Silence = "read_out"

    def __post_init__(self) -> None:
        for name, known in (("ties", get_args(Ties)), ("silence", get_args(Silence))):
            if (choice := getattr(self, name)) not in known:
                raise SpecError(
                    f"DecisionPolicy.{name} must be {' or '.join(known)}, got {choice!r}"
                )


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
        settling_steps: ``[N]``; the step after which the decision no longer changes;
            T for a sample that ends undecided.
        cutoff_steps: ``[N]``; the first step after which the decision stays right; T for
            a sample that ends wrong.
    """

    accuracy: tuple[Accuracy, ...]
    settling_steps: Integers
    cutoff_steps: Integers

    @property
    def area(self) -> float:
        """The area under accuracy over ``t / T``: the mean of the accuracies after each step."""
        samples = self.accuracy[0].samples * len(self.accuracy)
        return sum(step.correct for step in self.accuracy) / samples

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
    *,
    policy: DecisionPolicy | None = None,
    spikes: NDArray[Any] | None = None,  # [N, T]
) -> Integers:
    """Return the decision after every step, ``[T, N]``; ``UNDECIDED`` where there is none.

    The decision after step t is the class with the largest mean logit of steps 1..t.

    Args:
        logits: Of every single step, not yet averaged.
        policy: Of ties and silence.
        spikes: Of the last spiking layer, a number for each sample and step.

    Raises:
        SpecError: If an array is empty, misshapen or not finite, or silence matters and
            there are no spikes.
    """
    policy, values = policy or DecisionPolicy(), checked_logits(logits)
    steps, samples, _ = values.shape
    predictions = np.empty((steps, samples), np.int64)
    for step, total in enumerate(running_sums(values)):
        predictions[step] = total.argmax(axis=1)
        if policy.ties == "undecided":
            largest = total.max(axis=1, keepdims=True)
            predictions[step, (total == largest).sum(axis=1) > 1] = UNDECIDED
    if policy.silence == "undecided":
        if spikes is None:
            raise SpecError(
                "silence 'undecided' needs the spikes [N, T] of the last spiking layer, got "
                "None; pass output_spikes(ledger), or choose silence 'read_out'"
            )
        counts = _checked_table(spikes, "spikes", samples=samples, steps=steps)
        predictions[counts.cumsum(axis=1).T == 0] = UNDECIDED
    return predictions


def over_time(
    predictions: NDArray[Any],  # [T, N]
    labels: NDArray[Any],  # [N]
    /,
) -> OverTime:
    """Return how decisions, as ``decide`` returns them, develop from step to step.

    Raises:
        SpecError: If an array is empty or misshapen.
    """
    decided, truth = checked_predictions(predictions, labels)
    right = decided == truth
    return OverTime(
        accuracy=tuple(accuracy_of(step) for step in right),
        settling_steps=_settling_steps(decided),
        cutoff_steps=_steps_until_stays(right),
    )


def first_spikes(
    spikes: NDArray[Any],  # [N, T]
    /,
) -> FirstSpikes:
    """Return when each sample first makes the last spiking layer fire.

    Raises:
        SpecError: If ``spikes`` is empty, misshapen, negative or not finite.
    """
    fired = _checked_table(spikes, "spikes") > 0
    spiking = np.asarray(fired.any(axis=1))
    return FirstSpikes(spiking=spiking, steps=fired[spiking].argmax(axis=1).astype(np.int64) + 1)


def output_spikes(ledger: Ledger, /) -> Integers:
    """Return the spikes of the last spiking layer of a metered run, ``[N, T]``.

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
    return last.tally["spikes"].copy()


def running_sums(logits: NDArray[Any], /) -> Iterator[Numbers]:
    """Yield the sum of steps 1..t, ``[N, K]``, which orders classes as the mean does.

    Float64 adds float32 logits without rounding unless their sizes differ 2^29-fold, so
    a tie is one of the numbers and not of their rounding.
    """
    total = np.zeros(logits.shape[1:])
    for step in logits:
        total = total + step
        yield total


def _settling_steps(
    predictions: Integers,  # [T, N]
) -> Integers:
    last = predictions[-1]
    # Who ends undecided has not settled, however early that began.
    return _steps_until_stays((predictions == last) & (last != UNDECIDED))


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


def checked_predictions(
    predictions: NDArray[Any], labels: NDArray[Any], /, *, classes: int | None = None
) -> tuple[Integers, Integers]:
    """Return predictions ``[T, N]`` and labels ``[N]``, or refuse what are none."""
    decided, truth = np.asarray(predictions), np.asarray(labels)
    if decided.ndim != 2 or not decided.size or truth.shape != decided.shape[1:]:
        raise SpecError(
            f"predictions must be [T, N] with labels [N], got shapes {decided.shape} and "
            f"{truth.shape}; time goes first"
        )
    for name, values in (("predictions", decided), ("labels", truth)):
        if not np.issubdtype(values.dtype, np.integer):
            raise SpecError(f"{name} must be integer classes, got {values.dtype}")
    if truth.min() < 0 or (classes is not None and truth.max() >= classes):
        upper = "" if classes is None else f" to {classes - 1}"
        raise SpecError(
            f"labels must be classes, 0{upper}, got {truth.min()} to {truth.max()}; "
            f"{UNDECIDED} is kept for no decision"
        )
    return decided.astype(np.int64), truth.astype(np.int64)


def _checked_table(
    table: NDArray[Any], what: str, *, samples: int | None = None, steps: int | None = None
) -> Numbers:
    shape = np.shape(table)
    if len(shape) != 2 or not np.size(table) or (samples or shape[0], steps or shape[1]) != shape:
        wanted = f"[N, T] = [{samples or 'N'}, {steps or 'T'}]"
        raise SpecError(f"{what} must be {wanted}, got shape {shape}; samples go first here")
    numbers = np.asarray(table, dtype=np.float64)
    if not np.all(np.isfinite(numbers)) or numbers.min() < 0:
        raise SpecError(f"{what} must be finite and not negative; count or measure them again")
    return numbers
