"""Leaving early: rules, thresholds fitted on validation data, what ran until the exit.

``docs/latency.md`` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.contracts.ledger import Encode, Ledger
from harness.evaluation.decisions import (
    Accuracy,
    Integers,
    Numbers,
    accuracy_of,
    checked_logits,
    decide,
    running_sums,
)

Rule = Literal["margin", "confidence", "entropy"]
ALLOWED_DROPS = (0.0, 0.5, 1.0)  # of accuracy, in percentage points
_QUANTILES = np.linspace(0, 1, 101)
# What scores are multiples of: another machine's rounding is a hundred-thousandth of it.
_GRID = 2.0**-34


@dataclass(frozen=True, kw_only=True)
class ExitPoint:
    """One threshold's bargain on one set of samples.

    Attributes:
        threshold: In the rule's own unit.
        accuracy: Of the decisions at the exits.
        mean_steps: Until the exit.
    """

    threshold: float
    accuracy: Accuracy
    mean_steps: float


@dataclass(frozen=True, kw_only=True)
class Exits:
    """Where each sample leaves under one threshold.

    Attributes:
        threshold: In the rule's own unit.
        steps: ``[N]``; 1 to T.
        accuracy: Of the decisions at these.
    """

    threshold: float
    steps: Integers
    accuracy: Accuracy

    @property
    def point(self) -> ExitPoint:
        """The means."""
        return ExitPoint(
            threshold=self.threshold, accuracy=self.accuracy, mean_steps=float(self.steps.mean())
        )


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of one rule, fitted on validation data.

    Attributes:
        curve: Every candidate's point there, from always to never exiting.
    """

    curve: tuple[ExitPoint, ...]

    @property
    def full(self) -> Accuracy:
        """Accuracy on the validation data after all steps."""
        return self.curve[-1].accuracy

    def cheapest(self, drop: float, /) -> ExitPoint:
        """Return the point with the fewest steps that loses at most ``drop`` percentage points.

        Of equals it is the most accurate, then the most patient.
        """
        # The slack keeps 0.7 % of 1000 samples at 7, where rounding makes it 6.999...
        enough = self.full.correct - math.floor(drop / 100 * self.full.samples + 1e-9)
        able = [point for point in reversed(self.curve) if point.accuracy.correct >= enough]
        return min(able, key=lambda point: (point.mean_steps, -point.accuracy.correct))


def fit_thresholds(
    logits: NDArray[Any],  # [T, N, K], validation
    labels: NDArray[Any],  # [N], validation
    /,
    *,
    rule: Rule,
) -> Thresholds:
    """Return what every threshold brings on *validation* data.

    Candidates are quantiles of the scores before the last step, and always and never
    exiting.

    Args:
        logits: Never those that ``apply`` will judge.
        labels: Of the same samples.
        rule: What is compared with the threshold.

    Raises:
        SpecError: As ``decide`` does.
    """
    judged = _judge(logits, labels, rule)
    return Thresholds(curve=tuple(_points(judged, _candidates(judged))))


def apply(
    rule: Rule,
    threshold: float,
    logits: NDArray[Any],  # [T, N, K]
    labels: NDArray[Any],  # [N]
    /,
) -> Exits:
    """Return where each sample exits and what it then answers.

    A sample exits at the first step at which its score reaches the threshold, at step T
    otherwise.

    Args:
        rule: ``margin`` and ``confidence`` exit at or above the threshold, ``entropy``
            (in nats) at or below it.
        threshold: As ``fit_thresholds`` found it on other data.
        logits: Of every single step.
        labels: The truth.

    Raises:
        SpecError: As ``decide`` does.
    """
    return _exits(_judge(logits, labels, rule), threshold)


def spent(
    ledger: Ledger,
    steps: Integers,  # [N]
    /,
) -> dict[Encode, dict[str, int]]:
    """Return all operations until each sample's exit, by convention for encoding and category.

    What does not run for each step stands at step 1: an early exit cannot save it.
    ``harness.energy.operations_pj`` prices them.

    Raises:
        SpecError: If samples were summed, or ``steps`` are not those of the ledger's.
    """
    if steps.shape != (ledger.samples,):
        raise SpecError(f"a ledger of {ledger.samples} samples has exits of {steps.shape} samples")
    ran = np.arange(ledger.steps) < steps[:, None]  # [N, T]
    found: dict[Encode, dict[str, int]] = {}
    for encode in get_args(Encode):
        sums = {name: int(table[ran].sum()) for name, table in ledger.tally(encode).items()}
        found[encode] = {name: count for name, count in sums.items() if count}
    return found


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Decisions and how sure they are.

    Attributes:
        rule: Of the scores.
        never: A threshold that no score reaches.
        always: A threshold that every score reaches.
        predictions: ``[T, N]``.
        labels: ``[N]``.
        surest: ``[T, N]``; the largest score so far, entropy negated.
        scores: Before the last step, in the rule's own unit.
    """

    rule: Rule
    never: float
    always: float
    predictions: Integers
    labels: Integers
    surest: Numbers
    scores: Numbers


def _judge(logits: NDArray[Any], labels: NDArray[Any], rule: Rule) -> _Judged:
    values = checked_logits(logits)
    means = (total / step for step, total in enumerate(running_sums(values), start=1))
    scores = on_grid(np.stack([_score(mean, rule) for mean in means]))
    # Probabilities lie in [0, 1], entropies in [0, ln K], give or take rounding.
    entropic = rule == "entropy"
    return _Judged(
        rule=rule,
        never=-1.0 if entropic else 2.0,
        always=2 * math.log(values.shape[2]) if entropic else 0.0,
        predictions=decide(values),
        labels=labels,
        surest=np.maximum.accumulate(_sign(rule) * scores, axis=0),
        scores=scores[:-1].ravel(),
    )


def on_grid(scores: float | Numbers, /) -> Numbers:
    """Return scores or thresholds as they are compared: but for rounding."""
    rounded: Numbers = np.round(np.asarray(scores) / _GRID) * _GRID
    return rounded


def _score(means: Numbers, rule: Rule) -> Numbers:
    """Return the rule's figure for the softmax of ``means [N, K]``."""
    shifted = means - means.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    if rule == "entropy":
        # Rounding may leave a certain answer an ulp below 0.
        entropies: Numbers = np.maximum(-(np.exp(log_p) * log_p).sum(axis=1), 0.0)
        return entropies
    ordered = np.exp(np.partition(log_p, -2, axis=1)[:, -2:])  # second, first
    return ordered[:, 1] if rule == "confidence" else ordered[:, 1] - ordered[:, 0]


def _sign(rule: Rule) -> int:
    return -1 if rule == "entropy" else 1


def _candidates(judged: _Judged) -> list[float]:
    """Return thresholds from always to never exiting."""
    found: list[float] = []
    if judged.scores.size:
        # Attained values, not means of two: with a threshold between them nothing changes.
        found = np.quantile(judged.scores, _QUANTILES, method="inverted_cdf").tolist()
    between = set(found) - {judged.always, judged.never}
    ordered = sorted(between, reverse=judged.rule == "entropy")
    return [judged.always, *ordered, judged.never]


def _points(judged: _Judged, thresholds: list[float]) -> Iterator[ExitPoint]:
    steps = _steps(judged, np.array(thresholds)[:, None])  # [thresholds, N]
    right = judged.predictions == judged.labels
    stay_right = right[steps - 1, np.arange(len(judged.labels))]
    means = steps.mean(axis=1).tolist()
    for threshold, correct, mean in zip(thresholds, stay_right, means, strict=True):
        yield ExitPoint(threshold=threshold, accuracy=accuracy_of(correct), mean_steps=mean)


def _steps(
    judged: _Judged,
    threshold: float | NDArray[np.float64],  # or [thresholds, 1]
) -> Integers:
    """Return the step at which each sample exits, ``[N]`` or ``[thresholds, N]``."""
    reached = _sign(judged.rule) * on_grid(threshold)
    steps = np.ones(np.broadcast_shapes(np.shape(threshold), judged.labels.shape), np.int64)
    for surest in judged.surest[:-1]:
        steps += surest < reached
    return steps


def _exits(judged: _Judged, threshold: float) -> Exits:
    samples = np.arange(len(judged.labels))
    steps = _steps(judged, threshold)
    right = judged.predictions[steps - 1, samples] == judged.labels
    return Exits(threshold=threshold, steps=steps, accuracy=accuracy_of(right))
