"""Intervals, paired comparisons and ranks. No number without its uncertainty.

An interval over *samples* (Wilson, bootstrap) says how well one trained network is
known; an interval over *seeds* (Student's t) says how well a method is. Everything
is two-sided, at 95 % unless told otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, stdev  # exact: three equal runs have deviation 0, not 1e-16
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError

Verdict = Literal["better", "worse", "within noise", "unknown"]

# With five pairs the smallest two-sided p of a rank or sign-flip test is 2/2^5 = 0.0625.
MIN_PAIRS_FOR_SIGNIFICANCE = 6
# The half-width is 2.5 standard deviations with 3 seeds and 1.2 with 5.
MIN_SEEDS_FOR_CLAIMS = 5


class Interval(NamedTuple):
    """A range of plausible values, ends included."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether ``value`` is plausible."""
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        """Half the distance between the ends."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds and how well it is known.

    Attributes:
        value: The arithmetic mean.
        deviation: Of single runs, with ``n - 1``; None for one run.
        interval: Student's t; None for one run, which says nothing of the spread.
        n: Runs.
    """

    value: float
    deviation: float | None
    interval: Interval | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What pairs say of ``ours - theirs``. Higher is better.

    Attributes:
        difference: Mean and interval of the differences.
        verdict: ``within noise`` if the interval includes 0; ``unknown`` for one pair.
        provisional: Whether there are fewer pairs than a claim needs.
        p_t: Of the paired t test; None under six pairs.
        p_sign_flip: Of the exact sign-flip permutation test; None under six pairs.
    """

    difference: Mean
    verdict: Verdict
    provisional: bool
    p_t: float | None
    p_sign_flip: float | None


@dataclass(frozen=True, kw_only=True)
class McNemar:
    """Two classifiers on the same samples.

    Attributes:
        only_first: Samples that only the first got right.
        only_second: Samples that only the second got right.
        p: Exact two-sided probability of so uneven a split if both are as good.
    """

    only_first: int
    only_second: int
    p: float


def wilson_interval(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a fraction, which holds ``successes / trials``.

    Raises:
        SpecError: Unless ``0 <= successes <= trials`` and there is a trial.
    """
    from scipy.stats import binomtest

    if not (trials > 0 and 0 <= successes <= trials):
        raise SpecError(f"a fraction needs 0 <= successes <= trials, got {successes}/{trials}")
    found = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    # Rounding may leave the estimate an ulp outside when it is 0 or 1.
    estimate = successes / trials
    return Interval(min(float(found.low), estimate), max(float(found.high), estimate))


def mean_over_seeds(
    values: Sequence[float], *, resolution: float = 0.0, confidence: float = 0.95
) -> Mean:
    """Return the mean with Student's t interval.

    Accuracies come in steps of ``resolution = 1 / n_test``, so three equal ones do not
    mean that nothing varies: the deviation is never taken below the
    ``resolution / sqrt(12)`` that such rounding alone causes.

    Raises:
        SpecError: If there is no value, or one that is not finite.
    """
    from scipy.stats import t

    _refuse_bad(values, at_least=1, what="a mean")
    middle = mean(values)
    if len(values) == 1:
        return Mean(value=middle, deviation=None, interval=None, n=1)
    deviation = stdev(values)
    known = max(deviation, resolution / math.sqrt(12)) / math.sqrt(len(values))
    half = known * float(t.ppf((1 + confidence) / 2, len(values) - 1))
    return Mean(
        value=middle,
        deviation=deviation,
        interval=Interval(middle - half, middle + half),
        n=len(values),
    )


def bootstrap(
    values: Sequence[float] | NDArray[Any],  # [sample]
    statistic: Callable[..., Any] = np.mean,
    *,
    seed: int,
    resamples: int = 9_999,
    confidence: float = 0.95,
) -> Interval:
    """Return the bias-corrected accelerated bootstrap interval over samples.

    ``statistic`` takes ``axis``. Where all values agree there is nothing to
    resample and the interval is that point.

    Raises:
        SpecError: For fewer than two values, or one that is not finite.
    """
    from scipy.stats import bootstrap as resample

    _refuse_bad(values, at_least=2, what="a bootstrap")
    data = np.asarray(values, dtype=np.float64)
    if np.all(data == data[0]):
        point = float(statistic(data, axis=0))
        return Interval(point, point)
    found = resample(
        (data,),
        statistic,
        n_resamples=resamples,
        batch=max(1, 10_000_000 // data.size),  # bounds the memory at 80 MB
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def compare_paired(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    resolution: float = 0.0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two methods over the same seeds, pair by pair.

    ``resolution`` is that of one value; a difference rounds twice, so its deviation is
    not taken below ``resolution / sqrt(6)``.

    Raises:
        SpecError: If there is no pair, the lengths differ, or a value is not finite.
    """
    if len(ours) != len(theirs):
        raise SpecError(f"pairs need equal lengths, got {len(ours)} and {len(theirs)}")
    _refuse_bad([*ours, *theirs], at_least=2, what="a comparison")
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    difference = mean_over_seeds(
        differences, resolution=resolution * math.sqrt(2), confidence=confidence
    )
    enough = difference.n >= MIN_PAIRS_FOR_SIGNIFICANCE
    return Comparison(
        difference=difference,
        verdict=_verdict(difference),
        provisional=difference.n < MIN_SEEDS_FOR_CLAIMS,
        p_t=_p_of_t(differences) if enough else None,
        p_sign_flip=sign_flip_p(differences) if enough else None,
    )


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the exact two-sided p of the sign-flip permutation test of the mean.

    The fraction of all ``2^n`` choices of signs whose mean is at least as far from 0.

    Raises:
        SpecError: Under six pairs, where no result could be significant at 5 %; over
            20, whose choices would take minutes.
    """
    count = len(differences)
    if not MIN_PAIRS_FOR_SIGNIFICANCE <= count <= 20:
        raise SpecError(
            f"a sign-flip test needs {MIN_PAIRS_FOR_SIGNIFICANCE} to 20 pairs, got {count}; "
            "under six p cannot fall below 0.0625: run more seeds"
        )
    _refuse_bad(differences, at_least=1, what="a sign-flip test")
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    observed = abs(math.fsum(differences))
    # Adding in another order moves a sum by some ulp; without slack equal sums would differ.
    slack = 1e-12 * math.fsum(abs(difference) for difference in differences)
    return float(np.mean(np.abs(sums) >= observed - slack))


def mcnemar(
    first: NDArray[np.bool_],  # [sample]
    second: NDArray[np.bool_],  # [sample]
) -> McNemar:
    """Return the exact McNemar test of two classifiers' correctness on the same samples.

    Raises:
        SpecError: Unless both judge the same, positive number of samples.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    if first.shape != second.shape or first.size == 0:
        raise SpecError(f"McNemar needs the same samples, got {first.shape} and {second.shape}")
    only_first = int(np.count_nonzero(first & ~second))
    only_second = int(np.count_nonzero(~first & second))
    # Where both agree carries no information; the exact test reads the diagonal alone.
    p = test([[0, only_first], [only_second, 0]], exact=True).pvalue
    return McNemar(only_first=only_first, only_second=only_second, p=min(1.0, float(p)))


def holm(p_values: Sequence[float], /) -> tuple[float, ...]:
    """Return the p values adjusted for their number, by Holm's step-down, in order given."""
    if not p_values:
        return ()
    from statsmodels.stats.multitest import multipletests

    return tuple(float(p) for p in multipletests(p_values, method="holm")[1])


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two orders, or None where one of them orders nothing.

    Raises:
        SpecError: If the lengths differ or a value is not finite.
    """
    from scipy.stats import kendalltau

    if len(first) != len(second):
        raise SpecError(f"two orders need equal lengths, got {len(first)} and {len(second)}")
    _refuse_bad([*first, *second], at_least=0, what="an order")
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(kendalltau(first, second).statistic)


def rank_stability(
    orders: Mapping[str, Mapping[str, float | None]], /
) -> dict[tuple[str, str], float | None]:
    """Return Kendall's tau of every pair of judges, over what both of them judged.

    Args:
        orders: By judge (an energy model) the value of each candidate (a method); None
            where the judge has none.
    """
    taus = {}
    for one, other in combinations(sorted(orders), 2):
        pairs = [
            (value, orders[other].get(name))
            for name, value in sorted(orders[one].items())
            if value is not None
        ]
        both = [(mine, theirs) for mine, theirs in pairs if theirs is not None]
        taus[one, other] = kendall_tau([mine for mine, _ in both], [his for _, his in both])
    return taus


def friedman(scores: Sequence[Sequence[float]], /) -> float:
    """Return the p of Friedman's test that methods ``[method][block]`` rank alike.

    The chi-square is corrected for ties, as SciPy's is and Demsar's 2006 formula is not.

    Raises:
        SpecError: For fewer than three methods.
    """
    from scipy.stats import friedmanchisquare

    if len(scores) < 3:
        raise SpecError(f"Friedman's test needs three methods, got {len(scores)}; compare in pairs")
    return float(friedmanchisquare(*scores).pvalue)


def ranks_with_ties(
    scores: Mapping[str, Mapping[int, float]], /, *, resolution: float = 0.0
) -> dict[str, int]:
    """Return each candidate's rank: one more than the number that are clearly better.

    Candidates are paired by key (the seed). Whose interval of the difference includes 0
    is not clearly better, so whatever noise cannot separate shares a rank.
    """
    return {
        name: 1 + sum(_beats(other, ours, resolution) for other in scores.values())
        for name, ours in scores.items()
    }


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half: a quarter is cut off at either end."""
    from scipy.stats import trim_mean

    _refuse_bad(values, at_least=1, what="an interquartile mean")
    return float(trim_mean(np.asarray(values, dtype=np.float64), 0.25))


def _beats(ours: Mapping[int, float], theirs: Mapping[int, float], resolution: float) -> bool:
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return False
    found = compare_paired(
        [ours[key] for key in common], [theirs[key] for key in common], resolution=resolution
    )
    return found.verdict == "better"


def _verdict(difference: Mean) -> Verdict:
    if difference.interval is None:
        return "unknown"
    if difference.interval.holds(0.0):
        return "within noise"
    return "better" if difference.value > 0 else "worse"


def _p_of_t(differences: Sequence[float]) -> float:
    from scipy.stats import ttest_1samp

    if len(set(differences)) == 1:
        # No spread at all: t is infinite, or 0/0 where nothing differs.
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def _refuse_bad(values: Sequence[float] | NDArray[Any], *, at_least: int, what: str) -> None:
    if len(values) < at_least:
        raise SpecError(f"{what} needs at least {at_least} values, got {len(values)}")
    if not np.all(np.isfinite(np.asarray(values, dtype=np.float64))):
        raise SpecError(f"{what} needs finite values, got {list(values)!r}; None is no number")
