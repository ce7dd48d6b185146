"""What a network knows when: accuracy over time, settling, first spikes, early exit.

Everything is computed from plain arrays, after the run: the logits of every step, the
spikes of the last spiking layer, the counts of a metered run. Times are in steps, never
in seconds; step 1 is the first. ``docs/latency.md`` has the formulas.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import CountingError, SpecError
from harness.contracts.ledger import CATEGORIES, Category, Layer, Measurement
from harness.energy import Entry, Ledger, bill
from harness.statistics import Interval, wilson_interval

Ties = Literal["first_class", "undecided"]
Silence = Literal["read_out", "undecided"]
Rule = Literal["margin", "confidence", "entropy"]
Encode = Literal["per_step", "cached"]
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
        undecided: Samples without a decision, after each step.
        settling_steps: ``[N]``; the step after which the decision no longer changes;
            T for a sample that ends undecided.
        cutoff_steps: ``[N]``; the first step after which the decision stays right; T for
            a sample that ends wrong.
        reference: The accuracy that is aimed at: another network's, or the final one.
        share: The part of it that suffices.
        steps_to_share: The first step with that accuracy; None if there is none.
    """

    accuracy: tuple[Accuracy, ...]
    undecided: tuple[int, ...]
    settling_steps: Integers
    cutoff_steps: Integers
    reference: float
    share: float
    steps_to_share: int | None

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


@dataclass(frozen=True, kw_only=True)
class ExitPoint:
    """One threshold's bargain on one set of samples.

    Attributes:
        threshold: In the rule's own unit.
        accuracy: Of the decisions at the exits.
        mean_steps: Until the exit.
        mean_cost: Until the exit, in the unit of the costs given; None if none were.
    """

    threshold: float
    accuracy: Accuracy
    mean_steps: float
    mean_cost: float | None


@dataclass(frozen=True, kw_only=True)
class Exits:
    """Where each sample leaves under one threshold.

    Attributes:
        rule: What is compared with the threshold.
        threshold: In the rule's own unit.
        steps: ``[N]``; 1 to T.
        predictions: ``[N]``; the decision at that step.
        accuracy: Of these.
        costs: ``[N]``; spent up to that step; None if no costs were given.
    """

    rule: Rule
    threshold: float
    steps: Integers
    predictions: Integers
    accuracy: Accuracy
    costs: Numbers | None

    @property
    def point(self) -> ExitPoint:
        """The means."""
        return ExitPoint(
            threshold=self.threshold,
            accuracy=self.accuracy,
            mean_steps=float(self.steps.mean()),
            mean_cost=None if self.costs is None else float(self.costs.mean()),
        )


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of one rule, fitted on validation data.

    Attributes:
        rule: What is compared with the threshold.
        policy: What counted as a decision.
        full: Accuracy on the validation data after all steps.
        chosen: By allowed loss of accuracy, in percentage points: the point with the
            fewest steps on the validation data.
        curve: Every candidate's point on the validation data, from always to never exiting.
    """

    rule: Rule
    policy: DecisionPolicy
    full: Accuracy
    chosen: Mapping[float, ExitPoint]
    curve: tuple[ExitPoint, ...]


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
    policy, values = policy or DecisionPolicy(), _checked_logits(logits)
    steps, samples, _ = values.shape
    predictions = np.empty((steps, samples), np.int64)
    for step, total in enumerate(_running_sums(values)):
        predictions[step] = total.argmax(axis=1)
        if policy.ties == "undecided":
            largest = total.max(axis=1, keepdims=True)
            predictions[step, (total == largest).sum(axis=1) > 1] = UNDECIDED
    if policy.silence == "undecided":
        if spikes is None:
            raise SpecError(
                "silence 'undecided' needs the spikes [N, T] of the last spiking layer, got "
                "None; pass output_spikes(measurement), or choose silence 'read_out'"
            )
        counts = _checked_table(spikes, "spikes", samples=samples, steps=steps)
        predictions[counts.cumsum(axis=1).T == 0] = UNDECIDED
    return predictions


def over_time(
    predictions: NDArray[Any],  # [T, N]
    labels: NDArray[Any],  # [N]
    /,
    *,
    reference: float | None = None,
    share: float = 0.99,
) -> OverTime:
    """Return how decisions develop from step to step.

    Args:
        predictions: After each step, as ``decide`` returns them.
        labels: The truth.
        reference: The accuracy to reach ``share`` of, such as the artificial network's;
            None for the final one.
        share: In (0, 1].

    Raises:
        SpecError: If an array is empty or misshapen, or a fraction is none.
    """
    decided, truth = _checked_predictions(predictions, labels)
    for name, value in (("reference", reference), ("share", share)):
        if value is not None and not 0 < value <= 1:
            raise SpecError(f"{name} must be a fraction in (0, 1], got {value!r}")
    right = decided == truth
    accuracy = tuple(_accuracy(step) for step in right)
    aim = accuracy[-1].value if reference is None else reference
    return OverTime(
        accuracy=accuracy,
        undecided=tuple(int(np.count_nonzero(step == UNDECIDED)) for step in decided),
        settling_steps=_settling_steps(decided),
        cutoff_steps=_steps_until_stays(right),
        reference=aim,
        share=share,
        steps_to_share=_first_step_with(accuracy, aim * share),
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


def accuracy_at_first_spike(
    first: FirstSpikes,
    predictions: NDArray[Any],  # [T, N]
    labels: NDArray[Any],  # [N]
    /,
) -> Accuracy:
    """Return the accuracy of what is decided at the first spike; silent samples are wrong.

    Raises:
        SpecError: If an array is empty or misshapen.
    """
    decided, truth = _checked_predictions(predictions, labels)
    if first.spiking.shape != truth.shape or np.any(first.steps > len(decided)):
        raise SpecError(
            f"first spikes of {len(first.spiking)} samples do not fit predictions of shape "
            f"{decided.shape}; take both from one run"
        )
    at_spike = decided[first.steps - 1, np.flatnonzero(first.spiking)]
    right = int(np.count_nonzero(at_spike == truth[first.spiking]))
    return Accuracy(correct=right, samples=len(truth))


def fit_thresholds(
    logits: NDArray[Any],  # [T, N, K], validation
    labels: NDArray[Any],  # [N], validation
    /,
    *,
    rule: Rule,
    policy: DecisionPolicy | None = None,
    spikes: NDArray[Any] | None = None,  # [N, T], validation
    allowed_drops: Sequence[float] = (0.0, 0.5, 1.0),
    quantiles: int = 101,
) -> Thresholds:
    """Return the thresholds that save most steps on *validation* data.

    Candidates are quantiles of the scores before the last step, and always and never
    exiting. Of those that lose no more than is allowed against all T steps, the one with
    the fewest mean steps is taken; of equals the most accurate, then the most patient.

    Args:
        logits: Never those that ``apply`` will judge.
        labels: Of the same samples.
        rule: What is compared with the threshold.
        policy: Of ties and silence.
        spikes: Of the last spiking layer, if silence matters.
        allowed_drops: Of accuracy, in percentage points.
        quantiles: How many thresholds to try, evenly over the scores.

    Raises:
        SpecError: As ``decide`` does; also for a drop outside [0, 100].
    """
    policy = policy or DecisionPolicy()
    if bad := [drop for drop in allowed_drops if not 0 <= drop <= 100]:
        raise SpecError(f"an allowed drop is in percentage points, 0 to 100, got {bad[0]!r}")
    if not allowed_drops or quantiles < 2:
        raise SpecError(
            f"fitting needs a drop and two quantiles, got {allowed_drops!r} and {quantiles!r}"
        )
    judged = _judge(logits, labels, rule=rule, policy=policy, spikes=spikes)
    candidates = _candidates(judged, quantiles)
    curve = tuple(_exits(judged, threshold, None).point for threshold in candidates)
    full = curve[-1].accuracy
    return Thresholds(
        rule=rule,
        policy=policy,
        full=full,
        chosen={drop: _cheapest(curve, full, drop) for drop in allowed_drops},
        curve=curve,
    )


def apply(
    rule: Rule,
    threshold: float,
    logits: NDArray[Any],  # [T, N, K]
    labels: NDArray[Any],  # [N]
    /,
    *,
    policy: DecisionPolicy | None = None,
    spikes: NDArray[Any] | None = None,  # [N, T]
    cumulative_costs: NDArray[Any] | None = None,  # [N, T]
) -> Exits:
    """Return where each sample exits and what it then answers.

    A sample exits at the first step at which it is decided and its score reaches the
    threshold, at step T otherwise.

    Args:
        rule: ``margin`` and ``confidence`` exit at or above the threshold, ``entropy``
            (in nats) at or below it.
        threshold: As ``fit_thresholds`` found it on other data.
        logits: Of every single step.
        labels: The truth.
        policy: Of ties and silence.
        spikes: Of the last spiking layer, if silence matters.
        cumulative_costs: Spent by each sample up to each step, such as
            ``energy_by_step(...).cumsum(axis=1)``.

    Raises:
        SpecError: As ``decide`` does; also if costs decrease or the threshold is not finite.
    """
    judged = _judge(logits, labels, rule=rule, policy=policy or DecisionPolicy(), spikes=spikes)
    return _exits(judged, threshold, _checked_costs(cumulative_costs, judged))


def exit_curve(
    rule: Rule,
    thresholds: Sequence[float],
    logits: NDArray[Any],  # [T, N, K]
    labels: NDArray[Any],  # [N]
    /,
    *,
    policy: DecisionPolicy | None = None,
    spikes: NDArray[Any] | None = None,  # [N, T]
    cumulative_costs: NDArray[Any] | None = None,  # [N, T]
) -> tuple[ExitPoint, ...]:
    """Return the point of every threshold, as ``apply`` does one. It chooses nothing."""
    judged = _judge(logits, labels, rule=rule, policy=policy or DecisionPolicy(), spikes=spikes)
    costs = _checked_costs(cumulative_costs, judged)
    return tuple(_exits(judged, threshold, costs).point for threshold in thresholds)


def output_spikes(measured: Measurement, /) -> Integers:
    """Return the spikes of the last spiking layer of a metered run, ``[N, T]``.

    Raises:
        SpecError: If it has no neurons, or the last ones ran for other steps.
    """
    layers = [layer for layer in measured.layers.values() if layer.neurons]
    if not layers:
        raise SpecError(f"none of {', '.join(measured.layers)} is a layer of neurons")
    if layers[-1].steps != measured.steps:
        raise SpecError(
            f"layer {layers[-1].name!r} ran {layers[-1].steps} steps and the network "
            f"{measured.steps}; its spikes have no step of the network"
        )
    return layers[-1].tally["spikes"].copy()


def counts_by_step(measured: Measurement, /, *, encode: Encode) -> dict[Category, Integers]:
    """Return each category of a metered run, ``[N, T]``, under a convention for encoding.

    What does not run for each step stands at step 1: an early exit cannot save it. The
    sums are those of ``measured.encoding``, exactly.

    Raises:
        CountingError: If the inputs of an encoding layer repeat in the middle of a run, so
            that only the sum of what would be cached is known.
    """
    tables = {
        category: np.zeros((measured.samples, measured.steps), np.int64) for category in CATEGORIES
    }
    for layer in measured.layers.values():
        for category, table in layer.tally.items():
            tables[category] += _over_steps(layer, category, table, measured.steps, encode)
    return tables


def energy_by_step(
    measured: Measurement, prices_pj: Mapping[str, float], /, *, encode: Encode
) -> Numbers:
    """Return picojoules of each sample in each step, ``[N, T]``.

    Args:
        measured: The metered run.
        prices_pj: By category; one without a price is free.
        encode: Convention for constant inputs.

    Raises:
        SpecError: If a price is no price or its category unknown.
        CountingError: If the measurement is partial, or as ``counts_by_step``.
    """
    for name, price in prices_pj.items():
        if name not in CATEGORIES:
            near = difflib.get_close_matches(name, CATEGORIES, n=1) or CATEGORIES
            raise SpecError(f"no category {name!r} to price; there are: {', '.join(near)}")
        if not 0 <= price < math.inf:
            raise SpecError(f"the price of {name} must be finite and not negative, got {price!r}")
    if measured.uncounted:
        gaps = ", ".join(f"{gap.operation} in {gap.layer}" for gap in measured.uncounted)
        raise CountingError(f"energy by step needs everything counted; uncounted: {gaps}")
    tables = counts_by_step(measured, encode=encode)
    energies = np.zeros((measured.samples, measured.steps))
    for category, table in tables.items():
        energies += prices_pj.get(category, 0.0) * table
    return energies


def model_energy_by_step(measured: Measurement, model_name: str, /) -> Numbers:
    """Return ``energy_by_step`` under an energy model that prices each operation by itself.

    Its mean over samples of the sum over steps is ``bill(measured, model_name).total_pj``.

    Raises:
        SpecError: If the model prices anything else, such as memory.
        UnknownPluginError: If there is no such model.
        CountingError: As ``energy_by_step``.
    """
    prices = category_prices(model_name)
    total = bill(measured, model_name).total_pj
    conventions: tuple[Encode, ...] = ("per_step", "cached")
    for encode in conventions:
        energies = energy_by_step(measured, prices, encode=encode)
        # Cached counts nowhere exceed those of every step, so equal sums are equal tables.
        # The tolerance is for sums in another order.
        if total is not None and math.isclose(energies.sum() / len(energies), total, rel_tol=1e-9):
            return energies
    raise SpecError(
        f"{model_name} bills {total!r} pJ, which is no sum of prices by operation; "
        "take a compute-only model such as horowitz_45nm_fp32:cached"
    )


def category_prices(model_name: str, /) -> dict[str, float]:
    """Return the picojoules that a model charges for one operation of each category.

    They are read off its bill of one operation of each, so they cannot differ from it.

    Raises:
        SpecError: If the model prices anything else, such as memory.
        UnknownPluginError: If there is no such model.
    """
    one = Entry(counts=dict.fromkeys(CATEGORIES, 1), operand="binary", steps=1)
    billed = bill(Ledger(samples=1, timesteps=1, layers={"one": one}), model_name)
    others = sorted(billed.by_category.keys() - set(CATEGORIES))
    if others or billed.unpriced:
        raise SpecError(
            f"{model_name} prices more than operations: "
            f"{', '.join((*others, *billed.unpriced))}; "
            "take a compute-only model such as horowitz_45nm_fp32:cached"
        )
    return dict(billed.by_category)


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """Decisions and how sure they are.

    Attributes:
        rule: Of the scores.
        never: A threshold that no score reaches.
        always: A threshold that every score reaches.
        predictions: ``[T, N]``.
        labels: ``[N]``.
        surest: ``[T, N]``; the largest score so far of a decided step, entropy negated.
        scores: Before the last step, of decided samples, in the rule's own unit.
    """

    rule: Rule
    never: float
    always: float
    predictions: Integers
    labels: Integers
    surest: Numbers
    scores: Numbers


def _judge(
    logits: NDArray[Any],
    labels: NDArray[Any],
    *,
    rule: Rule,
    policy: DecisionPolicy,
    spikes: NDArray[Any] | None,
) -> _Judged:
    if rule not in get_args(Rule):
        raise SpecError(f"an exit rule is {', '.join(get_args(Rule))}, got {rule!r}")
    values = _checked_logits(logits)
    classes = values.shape[2]
    predictions, truth = _checked_predictions(
        decide(values, policy=policy, spikes=spikes), labels, classes=classes
    )
    scores = np.empty(predictions.shape)
    for step, total in enumerate(_running_sums(values)):
        scores[step] = _score(total / (step + 1), rule)
    decided = predictions != UNDECIDED
    sure = np.where(decided, _sign(rule) * scores, -math.inf)
    # Probabilities lie in [0, 1], entropies in [0, ln K], give or take rounding.
    entropic = rule == "entropy"
    return _Judged(
        rule=rule,
        never=-1.0 if entropic else 2.0,
        always=2 * math.log(classes) if entropic else 0.0,
        predictions=predictions,
        labels=truth,
        surest=np.maximum.accumulate(sure, axis=0),
        scores=scores[:-1][decided[:-1]],
    )


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


def _candidates(judged: _Judged, quantiles: int) -> list[float]:
    """Return thresholds from always to never exiting."""
    found: list[float] = []
    if judged.scores.size:
        grid = np.linspace(0, 1, quantiles)
        # Attained values, not means of two: with a threshold between them nothing changes.
        found = np.quantile(judged.scores, grid, method="inverted_cdf").tolist()
    between = set(found) - {judged.always, judged.never}
    ordered = sorted(between, reverse=judged.rule == "entropy")
    return [judged.always, *ordered, judged.never]


def _cheapest(curve: tuple[ExitPoint, ...], full: Accuracy, drop: float) -> ExitPoint:
    # The slack keeps 0.7 % of 1000 samples at 7, where rounding makes it 6.999...
    enough = full.correct - math.floor(drop / 100 * full.samples + 1e-9)
    able = [point for point in reversed(curve) if point.accuracy.correct >= enough]
    return min(able, key=lambda point: (point.mean_steps, -point.accuracy.correct))


def _exits(judged: _Judged, threshold: float, costs: Numbers | None) -> Exits:
    if not math.isfinite(threshold):
        raise SpecError(
            f"the {judged.rule} threshold must be finite, got {threshold!r}; "
            f"{judged.never} never exits, {judged.always:.3g} always does"
        )
    last, samples = len(judged.predictions), np.arange(len(judged.labels))
    waiting = (judged.surest < _sign(judged.rule) * threshold).sum(axis=0)
    steps = np.minimum(waiting + 1, last).astype(np.int64)
    predictions = judged.predictions[steps - 1, samples]
    return Exits(
        rule=judged.rule,
        threshold=threshold,
        steps=steps,
        predictions=predictions,
        accuracy=_accuracy(predictions == judged.labels),
        costs=None if costs is None else costs[samples, steps - 1],
    )


def _running_sums(logits: NDArray[Any]) -> Iterator[Numbers]:
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


def _first_step_with(accuracy: tuple[Accuracy, ...], enough: float) -> int | None:
    # The slack is below 1 / N for any N: 0.99 * 0.9 must not ask for more than 0.891.
    reached = (
        step for step, at in enumerate(accuracy, start=1) if at.value >= enough * (1 - 1e-12)
    )
    return next(reached, None) if enough > 0 else None


def _accuracy(right: NDArray[np.bool_]) -> Accuracy:
    return Accuracy(correct=int(np.count_nonzero(right)), samples=len(right))


def _over_steps(
    layer: Layer, category: Category, table: Integers, steps: int, encode: Encode
) -> Integers:
    """Return ``[N, steps]`` of one category of one layer under a convention."""
    as_run = int(table.sum())
    wanted: int = getattr(getattr(layer.encoding, encode), category)
    if table.shape[1] != steps:
        if table.shape[1] == 1 and wanted == steps * as_run:
            return np.repeat(table, steps, axis=1)
        return _at_first_step(table.sum(axis=1), steps)
    if wanted == as_run:
        return table
    # The first step is never a repetition, so if it makes up the sum the others add nothing.
    if wanted == int(table[:, 0].sum()):
        return _at_first_step(table[:, 0], steps)
    raise CountingError(
        f"layer {layer.name!r} would cache some of its steps, and a measurement does not keep "
        "which; take the convention 'per_step' for a stimulus that moves"
    )


def _at_first_step(column: Integers, steps: int) -> Integers:
    table = np.zeros((len(column), steps), np.int64)
    table[:, 0] = column
    return table


def _checked_logits(logits: NDArray[Any]) -> NDArray[Any]:
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


def _checked_predictions(
    predictions: NDArray[Any], labels: NDArray[Any], *, classes: int | None = None
) -> tuple[Integers, Integers]:
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


def _checked_costs(costs: NDArray[Any] | None, judged: _Judged) -> Numbers | None:
    if costs is None:
        return None
    steps, samples = judged.predictions.shape
    numbers = _checked_table(costs, "cumulative costs", samples=samples, steps=steps)
    if np.any(np.diff(numbers, axis=1) < 0):
        raise SpecError("cumulative costs must not decrease over steps; pass costs.cumsum(axis=1)")
    return numbers
