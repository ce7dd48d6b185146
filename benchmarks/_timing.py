"""Alternating rounds: what is compared is timed under the same load of the machine."""

import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

MORE, LESS = "more is better", "less is better"
# The unit of a tracked number says which direction is good; a test holds every one to it.
TIMES_AS_FAST = f"times as fast, {MORE}"
TIMES_AS_MUCH = f"times as much, {LESS}"
_RESAMPLES = 2000


def seconds(action: Callable[[], object], clock: Callable[[], float] | None = None) -> float:
    """Return what one call takes by ``clock``, by default the one on the wall."""
    clock = clock or time.perf_counter
    begun = clock()
    action()
    return clock() - begun


def alternating(
    actions: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds of every action in every round; every other round runs backwards."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds):
        names = list(actions)
        for name in names if turn % 2 == 0 else reversed(names):
            taken[name].append(seconds(actions[name], clock))
    return taken


def times_as_fast(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int = 5
) -> float:
    """Return their median seconds over ours."""
    taken = alternating({"ours": ours, "theirs": theirs}, rounds)
    return statistics.median(taken["theirs"]) / statistics.median(taken["ours"])


def interval(ratios: list[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median, from a fixed draw."""
    values = np.asarray(ratios)
    drawn = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), (0.025, 0.975))
    return float(low), float(high)
