"""Whether the order of methods at one training budget is their order at another."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.contracts.method import Track
from harness.contracts.values import identifying
from harness.report._board import FREE, TRACKS, Leaderboard, Line, Setting
from harness.statistics import ALPHA, Interval

LEAST_METHODS = 10
LEAST_SEEDS = 3
# Three of four pairs of methods stand in the same order: tau is the share less its complement.
HOLDS_FROM = 0.5
_RESAMPLES = 2_000
# What two settings may differ in and still ask the same question of two budgets.
_BUDGET = {"recipe", "recipe_name", *FREE}


@dataclass(frozen=True, kw_only=True)
class Order:
    """The methods of one track at two budgets.

    Attributes:
        first: The smaller budget's recipe.
        second: The larger one's.
        steps: Of the optimiser, in each.
        track: Of the methods.
        timesteps: T.
        backend: The simulator.
        methods: That have all these seeds at both.
        seeds: That at least ``LEAST_METHODS`` have at both.
        tau: Kendall's tau-b of the mean accuracies; None where a budget orders nothing.
        interval: Of tau, when seeds are drawn anew; None below ``LEAST_SEEDS``.
        within: Mean tau of the two halves of the seeds within one budget: what noise
            leaves of an order that does not change; None below ``LEAST_SEEDS``.
    """

    first: str
    second: str
    steps: tuple[int, int]
    track: Track
    timesteps: int
    backend: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    tau: float | None
    interval: Interval | None
    within: float | None

    @property
    def holds(self) -> bool:
        """Whether at least three of four pairs keep their order, by all that is plausible."""
        return self.interval is not None and self.interval.low >= HOLDS_FROM


def orders(board: Leaderboard, /) -> list[Order]:
    """Return how the smallest and the largest budget of each question order its methods.

    Tracks with fewer than ``LEAST_METHODS`` methods at both are left out, as are entries
    with the authors' constants.
    """
    return [order for pair in pairs(board) for order in _orders(*pair)]


def pairs(board: Leaderboard, /) -> Iterator[tuple[Setting, Setting]]:
    """Yield the settings with the smallest and the largest budget of each question."""
    by_question: dict[str, list[Setting]] = defaultdict(list)
    for setting in board.settings:
        by_question[_question(setting)].append(setting)
    for _, asked in sorted(by_question.items()):
        asked.sort(key=_steps)
        if 0 < _steps(asked[0]) < _steps(asked[-1]):
            yield asked[0], asked[-1]


def sentence(board: Leaderboard, /) -> str:
    """Return whether the order of methods holds at another budget."""
    found = orders(board)
    if not found:
        return "Whether the order of methods holds at another training budget was not asked here."
    return " ".join(map(told, found))


def told(order: Order, /) -> str:
    """Return what one order says, a sentence or two."""
    small, large = order.steps
    head = (
        f"From `{order.first}` ({small:,} steps) to `{order.second}` ({large:,}), Kendall's tau of "
        f"the order of {len(order.methods)} methods ({order.track}, T = {order.timesteps}) is "
    )
    if order.tau is None:
        return f"{head}undefined: one of the two orders nothing."
    if order.interval is None or order.within is None:
        seeds = f"{len(order.seeds)} seed{'s' if len(order.seeds) > 1 else ''}"
        return f"{head}{order.tau:.2f} over {seeds}, too few to say whether the order holds."
    low, high = order.interval
    return (
        f"{head}{order.tau:.2f} ({low:.2f} to {high:.2f} over {len(order.seeds)} seeds): the order "
        f"{'holds' if order.holds else 'does not hold'}. Between halves of the seeds at one budget "
        f"it is {order.within:.2f}."
    )


def _question(setting: Setting) -> str:
    asked = {k: part for k, part in identifying(setting.cell).items() if k not in _BUDGET}
    # A budget in another precision or on other images is another question.
    recipe = {
        k: part
        for k, part in identifying(setting.cell.recipe).items()
        if k not in {"epochs", "learning_rate", "train_samples"}
    }
    return json.dumps(asked | {"recipe": recipe}, sort_keys=True)


def _steps(setting: Setting) -> int:
    """Return the steps of its longest training by the budget alone."""
    seen = [one.metrics.train_samples or 0 for one in setting.answers]
    return max(seen, default=0) // setting.cell.recipe.batch_size


def _orders(small: Setting, large: Setting) -> Iterable[Order]:
    common = sorted(small.tables.keys() & large.tables.keys(), reverse=True)
    # Of simulators the first alone: those that give the same decisions would say the same again.
    for table in sorted({table[0]: table for table in common}.values()):
        for track in TRACKS:
            if (order := _order(small, large, table, track)) is not None:
                yield order


def _order(small: Setting, large: Setting, table: tuple[int, str], track: Track) -> Order | None:
    known = [_known(one.tables[table], track) for one in (small, large)]
    common = {
        method: known[0][method].keys() & known[1][method].keys()
        for method in sorted(known[0].keys() & known[1].keys())
    }
    met = Counter(seed for seeds in common.values() for seed in seeds)
    seeds = sorted(seed for seed, methods in met.items() if methods >= LEAST_METHODS)
    methods = [method for method, own in common.items() if own.issuperset(seeds)]
    if not seeds or len(methods) < LEAST_METHODS:
        return None
    scores = np.array([[[one[name][seed] for seed in seeds] for name in methods] for one in known])
    return Order(
        first=small.cell.recipe_name,
        second=large.cell.recipe_name,
        steps=(_steps(small), _steps(large)),
        track=track,
        timesteps=table[0],
        backend=table[1],
        methods=tuple(methods),
        seeds=tuple(seeds),
        tau=_taus(*scores.mean(axis=2)[..., None])[0],
        interval=_interval(scores),
        within=_within(scores),
    )


def _known(lines: Iterable[Line], track: Track) -> dict[str, dict[int, float]]:
    """Return the scores of a track's methods, by method and seed."""
    return {
        line.method: line.by_seed() for line in lines if line.track == track and not line.authors
    }


def _taus(
    first: NDArray[np.float64],  # [method, draw]
    second: NDArray[np.float64],
) -> list[float | None]:
    """Return what ``rank_stability`` says of two judges, for thousands of draws at once."""
    # Means of equal sums are equal, in whatever order they were added.
    first, second = np.round(first, 12), np.round(second, 12)
    agreeing, ours, theirs = np.zeros((3, first.shape[1]))
    for place in range(1, len(first)):
        mine, others = (np.sign(one[place] - one[:place]) for one in (first, second))
        agreeing += (mine * others).sum(axis=0)
        ours += np.abs(mine).sum(axis=0)
        theirs += np.abs(others).sum(axis=0)
    scale = np.sqrt(ours * theirs)
    return [a / s if s else None for a, s in zip(agreeing.tolist(), scale.tolist(), strict=True)]


def _interval(scores: NDArray[np.float64]) -> Interval | None:
    """Return the range of tau when seeds are drawn anew, the same for all methods.

    A percentile bootstrap with a fixed stream. Drawn seeds are noisier than those they are
    drawn from, so that it lies rather too low than too high.

    Args:
        scores: ``[budget, method, seed]``.
    """
    seeds = scores.shape[-1]
    if seeds < LEAST_SEEDS:
        return None
    draws = np.random.default_rng(0).multinomial(seeds, np.full(seeds, 1 / seeds), size=_RESAMPLES)
    unique, times = np.unique(draws, axis=0, return_counts=True)
    means = scores @ unique.T / seeds  # [budget, method, draw]
    known = np.repeat([tau or 0.0 for tau in _taus(*means)], times)
    low, high = np.quantile(known, [ALPHA / 2, 1 - ALPHA / 2])
    return Interval(float(low), float(high))


def _halves(seeds: int) -> list[list[int]]:
    """Return every half of so many seeds; if those are too many, some, by a fixed stream."""
    half = seeds // 2
    if math.comb(seeds, half) <= _RESAMPLES:
        return [list(one) for one in combinations(range(seeds), half)]
    rng = np.random.default_rng(0)
    return [rng.permutation(seeds)[:half].tolist() for _ in range(_RESAMPLES)]


def _within(scores: NDArray[np.float64]) -> float | None:
    """Return the mean tau of the ways to halve the seeds of either budget."""
    seeds = scores.shape[-1]
    if seeds < LEAST_SEEDS:
        return None
    halves = np.array(_halves(seeds))  # [half, seed]
    others = np.array([np.delete(np.arange(seeds), half) for half in halves])
    taus = [_taus(one[:, halves].mean(axis=2), one[:, others].mean(axis=2)) for one in scores]
    return float(np.mean([tau or 0.0 for budget in taus for tau in budget]))
