"""Intervals, paired comparisons, groups and ranks. No number without its uncertainty.

An interval over *samples* (Wilson) says how well one trained network is known; an interval
over *seeds* (Student's t) says how well a method is. Everything is two-sided, at 95 %.
Importing this, and asking for a Wilson interval, imports no SciPy. ``docs/statistics.md`` has
every rule, with what it takes for granted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from statistics import NormalDist, fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError

Verdict = Literal["better", "worse", "within noise", "unknown"]
Sameness = Literal["reproduced", "within noise", "lower", "higher", "unknown"]

ALPHA = 0.05
# The half-width is 2.5 standard deviations with 3 seeds and 1.2 with 5.
MIN_SEEDS_FOR_CLAIMS = 5
# With 5 pairs even equal signs have p = 2 / 2^5 > .05, whatever the values are.
MIN_PAIRS_FOR_RANKS = 6
# By how much a mean may miss a published number and still be that number: half a percentage
# point, about what published gains over the same method differ by between two seeds.
EQUIVALENCE_MARGIN = 0.005
_RESAMPLES = 10_000  # an error of at most .01 in a probability, two standard deviations
# What rounding to a step alone makes values deviate by: uniform over one step.
_ROUNDING = 1 / math.sqrt(12)


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
        p_t: Of the paired t test, under 0.05 where the interval excludes 0; None for one pair.
    """

    difference: Mean
    verdict: Verdict
    provisional: bool
    p_t: float | None


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """What runs say of a number that they should come out at.

    Attributes:
        difference: Mean and 95 % interval of the runs less that number.
        margin: How large a difference counts as none.
        p: Of the two one-sided t tests, the larger; None for one run.
        verdict: ``reproduced`` if ``p`` is under 0.05; else ``lower`` or ``higher`` if the 95 %
            interval excludes 0, and ``within noise`` if it does not: neither the same nor
            another can be shown. ``unknown`` for one run.
        provisional: Whether there are fewer runs than a claim needs.
    """

    difference: Mean
    margin: float
    p: float | None
    verdict: Sameness
    provisional: bool


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of the variance of single runs one source of it explains.

    Attributes:
        value: 0 to 1.
        interval: At 95 %, by the F distribution, cut at 0 and 1.
        runs: Seeds that were drawn again.
        provisional: Whether no candidate has the seeds that a claim needs.
    """

    value: float
    interval: Interval
    runs: int
    provisional: bool


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How candidates order on average over blocks, such as data set, T and seed.

    Attributes:
        mean_ranks: By candidate, 1 is best; ties share the mean of their places.
        blocks: How many were ranked.
        p: Of Friedman's test that all candidates are alike.
        critical_difference: Of mean ranks: two candidates further apart differ (Nemenyi).
        left_out: Candidates that lack a block.
    """

    mean_ranks: Mapping[str, float]
    blocks: int
    p: float
    critical_difference: float
    left_out: tuple[str, ...]


def wilson_interval(successes: int, trials: int) -> Interval:
    """Return the Wilson score interval of a fraction, which holds ``p = successes / trials``.

    All ``p0`` with ``(p - p0)^2 <= z^2 p0 (1 - p0) / n`` (Wilson 1927), a quadratic in ``p0``.

    Raises:
        SpecError: Unless ``0 <= successes <= trials`` and there is a trial.
    """
    if not (trials > 0 and 0 <= successes <= trials):
        raise SpecError(f"a fraction needs 0 <= successes <= trials, got {successes}/{trials}")
    p, z = successes / trials, NormalDist().inv_cdf(1 - ALPHA / 2)
    shrink = 1 + z**2 / trials
    middle = (p + z**2 / (2 * trials)) / shrink
    half = z * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2)) / shrink
    # Rounding may leave the estimate an ulp outside when it is 0 or 1.
    return Interval(max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p)))


def mean_over_seeds(values: Sequence[float], *, resolution: float = 0.0) -> Mean:
    """Return the mean with Student's t interval.

    Accuracies come in steps of ``resolution = 1 / n_test``, so three equal ones do not
    mean that nothing varies: the deviation is never taken below the
    ``resolution / sqrt(12)`` that such rounding alone causes.

    Raises:
        SpecError: If there is no value, or one that is not finite.
    """
    _refuse_bad(values, at_least=1, what="a mean")
    middle, deviation = _mean_and_deviation(values)
    if deviation is None:
        return Mean(value=middle, deviation=None, interval=None, n=1)
    half = _standard_error(deviation, len(values), resolution) * critical_t(len(values))
    return Mean(
        value=middle,
        deviation=deviation,
        interval=Interval(middle - half, middle + half),
        n=len(values),
    )


@cache
def critical_t(runs: int, *, hypotheses: int = 1) -> float:
    """Return how many standard errors a mean of ``runs`` must lie from 0 to be significant.

    ``hypotheses`` are tested together: this is Holm's bar for the first of them.
    """
    from scipy.special import stdtrit  # scipy.stats would cost the command line a second

    return float(stdtrit(runs - 1, 1 - ALPHA / hypotheses / 2))


def compare_paired(
    ours: Sequence[float], theirs: Sequence[float], *, resolution: float = 0.0
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
    step = resolution * math.sqrt(2)
    difference = mean_over_seeds(differences, resolution=step)
    return Comparison(
        difference=difference,
        verdict=_verdict(difference),
        provisional=difference.n < MIN_SEEDS_FOR_CLAIMS,
        p_t=_p_of_t(difference, step),
    )


def equivalence(
    values: Sequence[float],
    target: float,
    /,
    *,
    margin: float = EQUIVALENCE_MARGIN,
    resolution: float = 0.0,
) -> Equivalence:
    """Test whether the mean of ``values`` is ``target``, give or take ``margin``.

    Two one-sided t tests (Schuirmann 1987): that the difference is above ``-margin`` and that
    it is below ``margin``, each at 5 %; both hold where the 90 % interval lies within the
    margin. ``target`` is taken as it is printed, without an uncertainty of its own.

    Raises:
        SpecError: If there is no value, one is not finite, or the margin is not positive.
    """
    if not margin > 0:
        raise SpecError(f"an equivalence needs a positive margin, got {margin!r}")
    difference = mean_over_seeds([one - target for one in values], resolution=resolution)
    p = _p_of_equivalence(difference, margin, resolution)
    return Equivalence(
        difference=difference,
        margin=margin,
        p=p,
        verdict=_sameness(difference, p),
        provisional=difference.n < MIN_SEEDS_FOR_CLAIMS,
    )


def rounding_share(
    draws: Mapping[str, Sequence[Sequence[float]]], /, *, resolution: float = 0.0
) -> Share | None:
    """Return how much of the variance over seeds is there when the same seed runs again.

    A seed drawn anew has another number of threads, say, which sums in another order. One-way
    analysis of variance with random effects, within candidates: ``F`` is the mean square between
    seeds over that within them, and ``k / (F + k - 1)`` for ``k`` draws of each is one less the
    intraclass correlation, whose exact interval this is (Shrout and Fleiss 1979, case 1).

    Args:
        draws: By candidate, the draws of each seed; a candidate with one seed does not count.
        resolution: The step in which values come: draws are not taken to be known better than
            that, so that equal ones still have an upper end.

    Returns:
        None below six seeds drawn again, and where neither seed nor rounding moves anything.

    Raises:
        SpecError: Unless every seed has the same number of draws, two or more.
    """
    counted = [values for values in draws.values() if len(values) > 1]
    runs = sum(map(len, counted))
    if runs < MIN_PAIRS_FOR_RANKS:
        return None
    sizes = {len(one) for values in counted for one in values}
    if len(sizes) != 1 or min(sizes) < 2:
        raise SpecError(f"each seed needs as many draws, two or more; got {sorted(sizes)}")
    (k,) = sizes
    between, within = _mean_squares(counted)
    if between == within == 0:
        return None
    above, below = runs - len(counted), runs * (k - 1)
    floor = max(within, (resolution * _ROUNDING) ** 2)
    return Share(
        value=_within_share(between, within, k),
        interval=Interval(
            _within_share(between * _critical_f(below, above), within, k),
            _within_share(between / _critical_f(above, below), floor, k),
        ),
        runs=runs,
        provisional=max(map(len, counted)) < MIN_SEEDS_FOR_CLAIMS,
    )


def holm(p_values: Sequence[float], /) -> tuple[float, ...]:
    """Return the p values adjusted for their number, by Holm's step-down, in order given.

    The i-th smallest of m is multiplied by ``m - i + 1``, and is not below the one before it.
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for left, index in zip(
        range(len(p_values), 0, -1), np.argsort(p_values, kind="stable"), strict=True
    ):
        least = max(least, min(1.0, left * p_values[index]))
        adjusted[index] = least
    return tuple(adjusted)


def mcnemar(ours: int, theirs: int, /) -> float:
    """Return p of McNemar's test (1947) that two networks are right equally often, two-sided.

    Of the samples that one of them alone answers right, each is then as likely to be either's:
    binomial with 1/2, exact at any number. Samples that both or none answer right say nothing.

    Args:
        ours: Samples that the first alone answers right.
        theirs: Samples that the second alone answers right.

    Raises:
        SpecError: If a count is negative.
    """
    if min(ours, theirs) < 0:
        raise SpecError(f"samples are counted from 0, got {ours} and {theirs}")
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(ours, theirs), ours + theirs, 0.5)))


def significance_groups(
    scores: Mapping[str, Mapping[int, float]], /, *, resolution: float = 0.0
) -> dict[str, int]:
    """Return each candidate's group, 1 and up, in a table where higher is better.

    Every two candidates are compared by a paired t test over the keys (seeds) that both
    have, if there are two or more; Holm adjusts the p values over all pairs. In group 1 are
    those that no other is significantly better than; in group 2 likewise, without those of
    group 1; and so on. A candidate with a single value is in no group.

    Raises:
        SpecError: If a value is not finite.
    """
    names = sorted(scores)
    keys = sorted({key for values in scores.values() for key in values})
    told = [value for values in scores.values() for value in values.values()]
    _refuse_bad(told, at_least=0, what="a comparison")
    # [candidate, key], nan where it has none
    table = np.array([[scores[name].get(key, math.nan) for key in keys] for name in names])
    found: list[tuple[str, str, float]] = []  # winner, loser, p
    for place, name in enumerate(names):
        means, ps = _paired_with(table[place], table[place + 1 :], resolution * math.sqrt(2))
        found += [
            (name, other, p) if mean > 0 else (other, name, p)
            for other, mean, p in zip(names[place + 1 :], means, ps, strict=True)
            if not math.isnan(p)
        ]
    adjusted = holm([p for *_, p in found])
    better: dict[str, set[str]] = defaultdict(set)
    for (winner, loser, _), p in zip(found, adjusted, strict=True):
        if p < ALPHA:
            better[loser].add(winner)
    return _peeled([name for name, values in scores.items() if len(values) > 1], better)


def compare_common(
    ours: Mapping[int, float], theirs: Mapping[int, float], *, resolution: float = 0.0
) -> Comparison | None:
    """Compare over the keys (seeds) that both have; None if there is none."""
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    return compare_paired(
        [ours[key] for key in common], [theirs[key] for key in common], resolution=resolution
    )


def rank_stability(
    orders: Mapping[str, Sequence[float | None]], /
) -> dict[tuple[str, str], float | None]:
    """Return Kendall's tau-b of every pair of judges, over what both of them judged.

    ``(agreeing - contrary) / sqrt(n1 n2)`` over pairs of candidates, of which the first judge
    orders ``n1`` and the second ``n2``; None where one of them orders nothing.

    Args:
        orders: By judge (an energy model) a value for each candidate (a method), in the same
            order for all; None where the judge has none.
    """
    if not orders:
        return {}
    judges = sorted(orders)
    values = np.array([orders[judge] for judge in judges], dtype=np.float64)  # None becomes nan
    first, second = np.triu_indices(values.shape[-1], k=1)
    signs = np.sign(values[:, first] - values[:, second])  # [judge, pair]
    known = ~np.isnan(signs)
    signs = np.where(known, signs, 0.0)
    agreeing = signs @ signs.T  # [judge, judge], less the contrary
    ordered = np.abs(signs) @ known.T  # by the first, of the pairs that the second knows
    scale = np.sqrt(ordered * ordered.T)
    return {
        (judges[i], judges[j]): float(agreeing[i, j] / scale[i, j]) if scale[i, j] else None
        for i, j in combinations(range(len(judges)), 2)
    }


def ranking(scores: Mapping[str, Mapping[Hashable, float]], /) -> Ranking | None:
    """Return mean ranks where higher is better, with Friedman's and Nemenyi's tests.

    ``critical_difference = q sqrt(k (k + 1) / (6 N))`` for ``k`` candidates and ``N`` blocks,
    ``q`` the Studentized range over ``sqrt(2)`` (Demsar 2006, equation 4). Candidates that lack
    a block which another has are left out.

    Returns:
        None below six blocks or three candidates.
    """
    blocks = sorted({block for values in scores.values() for block in values}, key=repr)
    whole = sorted(name for name, values in scores.items() if len(values) == len(blocks))
    if len(blocks) < MIN_PAIRS_FOR_RANKS or len(whole) < 3:
        return None
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    values = np.array([[scores[name][block] for block in blocks] for name in whole])
    ranks = rankdata(-values, axis=0)  # [candidate, block]
    count = len(whole)
    alike = bool((values == values[0]).all())  # the test divides 0 by 0 then
    quantile = studentized_range.ppf(1 - ALPHA, count, math.inf) / math.sqrt(2)
    return Ranking(
        mean_ranks=dict(zip(whole, ranks.mean(axis=1).tolist(), strict=True)),
        blocks=len(blocks),
        p=1.0 if alike else float(friedmanchisquare(*values).pvalue),
        critical_difference=float(quantile * math.sqrt(count * (count + 1) / (6 * len(blocks)))),
        left_out=tuple(sorted(scores.keys() - set(whole))),
    )


def probability_of_best(scores: Mapping[str, Mapping[int, float]], /) -> dict[str, float]:
    """Return how often each candidate has the highest mean when seeds are drawn anew.

    A bootstrap over the seeds that all candidates have, the same draws for all, with a fixed
    stream; candidates that tie share. It says who leads in data like these, not by how much.

    Returns:
        Nothing below six common seeds.
    """
    common = sorted(
        set.intersection(*(set(values) for values in scores.values())) if scores else ()
    )
    if len(common) < MIN_PAIRS_FOR_RANKS:
        return {}
    values = np.array([[scores[name][seed] for seed in common] for name in scores])
    means = values @ _redrawn(len(common)).T / len(common)  # [candidate, resample]
    first = means >= means.max(axis=0) - 1e-12  # sums in another order may differ by an ulp
    shares = (first / first.sum(axis=0)).mean(axis=1)
    return dict(zip(scores, shares.tolist(), strict=True))


@lru_cache(maxsize=8)  # all tables of a board have as many seeds
def _redrawn(seeds: int) -> NDArray[np.int64]:
    """Return how often each of so many seeds is drawn, ``[resample, seed]``, by a fixed stream."""
    rng = np.random.default_rng(0)
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=_RESAMPLES)


def _peeled(names: Iterable[str], better: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the number of the round in which nothing better is left."""
    rounds: dict[str, int] = {}
    left, number = set(names), 1
    while left:
        # Over unlike seeds three may beat each other in a circle: none is first, so all are.
        best = {name for name in left if not better.get(name, set()) & left} or left
        rounds |= dict.fromkeys(best, number)
        left, number = left - best, number + 1
    return rounds


def _verdict(difference: Mean) -> Verdict:
    if difference.interval is None:
        return "unknown"
    if difference.interval.holds(0.0):
        return "within noise"
    return "better" if difference.value > 0 else "worse"


def _sameness(difference: Mean, p: float | None) -> Sameness:
    if difference.interval is None or p is None:
        return "unknown"
    if p < ALPHA:
        return "reproduced"
    if difference.interval.holds(0.0):
        return "within noise"
    return "higher" if difference.value > 0 else "lower"


def _mean_squares(groups: Sequence[Sequence[Sequence[float]]]) -> tuple[float, float]:
    """Return the mean squares between the seeds of a group, and within seeds."""
    runs = sum(map(len, groups))
    k = len(groups[0][0])
    means = [[fmean(draws) for draws in seeds] for seeds in groups]
    apart = math.fsum((one - fmean(group)) ** 2 for group in means for one in group)
    inside = math.fsum(
        (draw - fmean(draws)) ** 2 for seeds in groups for draws in seeds for draw in draws
    )
    return k * apart / (runs - len(groups)), inside / (runs * (k - 1))


def _within_share(between: float, within: float, k: int) -> float:
    """Return ``k / (F + k - 1)`` of ``F = between / within``, at most 1."""
    return min(1.0, k * within / (between + (k - 1) * within)) if within else 0.0


def _critical_f(first: int, second: int) -> float:
    """Return the 97.5 % point of F with so many degrees of freedom above and below."""
    from scipy.special import fdtri

    return float(fdtri(first, second, 1 - ALPHA / 2))


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    middle = fmean(values)
    if len(values) == 1:
        return middle, None
    if min(values) == max(values):  # equal runs deviate by 0, not by 1e-16
        return values[0], 0.0
    squares = math.fsum((value - middle) ** 2 for value in values)
    return middle, math.sqrt(squares / (len(values) - 1))


def _standard_error(deviation: float, runs: int, resolution: float) -> float:
    return max(deviation, resolution * _ROUNDING) / math.sqrt(runs)


def _p_of_t(difference: Mean, resolution: float) -> float | None:
    from scipy.special import stdtr

    if difference.deviation is None:
        return None
    error = _standard_error(difference.deviation, difference.n, resolution)
    if error == 0:
        return 1.0 if difference.value == 0 else 0.0
    return float(2 * stdtr(difference.n - 1, -abs(difference.value) / error))


def _paired_with(
    ours: NDArray[np.float64],  # [key]
    theirs: NDArray[np.float64],  # [candidate, key]
    step: float,
) -> tuple[list[float], list[float]]:
    """Return what ``compare_common`` says of each: the mean of ``ours - theirs``, and p.

    For thousands of pairs; nan is no value, and p is nan below two pairs of keys.
    """
    from scipy.special import stdtr

    differences = ours - theirs
    known = ~np.isnan(differences)
    runs = known.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # below two pairs, and of 0 over 0
        means = np.where(known, differences, 0.0).sum(axis=1) / runs
        squares = np.where(known, (differences - means[:, None]) ** 2, 0.0).sum(axis=1)
        deviations = np.sqrt(squares / (runs - 1))
        errors = np.maximum(deviations, step * _ROUNDING) / np.sqrt(runs)
        ps = 2 * stdtr(runs - 1, -np.abs(means) / errors)
    ps = np.where(errors == 0, means == 0, ps)
    return means.tolist(), ps.tolist()


def _p_of_equivalence(difference: Mean, margin: float, resolution: float) -> float | None:
    from scipy.special import stdtr

    if difference.deviation is None:
        return None
    room = margin - abs(difference.value)
    error = _standard_error(difference.deviation, difference.n, resolution)
    if error == 0:
        return 0.0 if room > 0 else 1.0
    return float(stdtr(difference.n - 1, -room / error))


def _refuse_bad(values: Sequence[float], *, at_least: int, what: str) -> None:
    if len(values) < at_least:
        raise SpecError(f"{what} needs at least {at_least} values, got {len(values)}")
    if not all(map(math.isfinite, values)):
        raise SpecError(f"{what} needs finite values, got {list(values)!r}; None is no number")
