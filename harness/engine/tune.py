"""The same number of trials for every method, on validation data alone.

After AlgoPerf (Dahl et al., arXiv 2306.07179): the search is part of the comparison. Every
method, baseline and controls included, is tried at the same points of two numbers, the
learning rate and the weight of its loss (``MethodCard.weight``); one that has no such
weight is tried at more learning rates instead. A trial trains with a seed that no board
has and is judged on the validation split; test data is not loaded into its answer. A point
may be tried with several seeds: few validation samples and one seed choose by chance. The
best is frozen beside the published rows, and boards are run with it at fresh seeds.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from harness import discovery
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.contracts.row import Row
from harness.contracts.task import FRACTION, Scale
from harness.contracts.tuning import Trial, Tuning
from harness.engine.grid import Axes, cells, load_suite
from harness.results import Published
from harness.store import Store

SEED = 1000
# Multiples of the suite's learning rate and of the loss' weight, the likeliest first.
WITH_WEIGHT = (
    *((1.0, 1.0), (3.0, 1.0), (1 / 3, 1.0), (9.0, 1.0)),
    *((1.0, 3.0), (1.0, 1 / 3), (3.0, 1 / 3), (1 / 3, 3.0)),
)
WITHOUT = tuple((3.0**power, 1.0) for power in (0, 1, -1, 2, -2, 0.5, -0.5, 1.5))


@dataclass(frozen=True, kw_only=True)
class Search:
    """All trials of one method on one model, in their order.

    Attributes:
        method: That is tried.
        model: On which.
        cells: Of the trials, those of one point together.
        repeats: How many these are: one a seed.
    """

    method: str
    model: str
    cells: tuple[Cell, ...]
    repeats: int = 1


def searches(
    suite: str,
    axes: Axes,
    store: Store,
    published: Published,
    /,
    *,
    trials: int | None = None,
    repeats: int | None = None,
) -> list[Search]:
    """Return what is to be tried of every method that ``axes`` choose: so many points and seeds.

    It is tried at the suite's middle T on the last of its simulators, or at the first T and
    on the last simulator that ``axes`` name. Points and seeds are as many as most methods had
    that were tuned before with this recipe, or else eight and one.

    Raises:
        SpecError: If there are not so many points, the board's seeds hold the search's, or a
            method was tuned with more.
    """
    asked = load_suite(suite)
    usual = _usual(published.tunings, axes.recipe or next(iter(asked.recipes)))
    trials = usual[0] if trials is None else trials
    repeats = usual[1] if repeats is None else repeats
    if not 1 <= trials <= len(WITH_WEIGHT):
        raise SpecError(f"--trials must be in 1..{len(WITH_WEIGHT)}, got {trials}")
    if repeats < 1:
        raise SpecError(f"--repeats must be at least 1, got {repeats}")
    kept = range(SEED, SEED + repeats)
    if taken := {*kept} & {*asked.seeds}:
        raise SpecError(f"suite {suite!r} has the seed {min(taken)}, which is kept for tuning")
    middle = asked.timesteps[len(asked.timesteps) // 2]
    plain = cells(
        suite,
        replace(
            axes,
            seeds=(SEED,),
            timesteps=(axes.timesteps or (middle,))[:1],
            backends=(axes.backends or asked.backends)[-1:],
            as_chosen=False,
        ),
        store,
        published,
    )
    for name in {cell.recipe_name for cell in plain}:
        if (where := asked.tuned_where(name)) != name:
            raise SpecError(
                f"{name!r} of suite {suite!r} takes the choices of {where!r}: tune that"
            )
    found = [
        Search(
            method=cell.method,
            model=cell.model,
            cells=tuple(
                replace(_trial(cell, *point), seed=seed)
                for point in points(cell.method)[:trials]
                for seed in kept
            ),
            repeats=repeats,
        )
        for cell in plain
    ]
    for search in found:
        _refuse_less(search, published.tunings)
    return found


def _refuse_less(search: Search, before: Iterable[Tuning]) -> None:
    """Refuse to replace a choice among more trials, and with it rows that rest on it."""
    asked = search.method, search.model, search.cells[0].recipe_name
    known = next((one for one in before if _asked(one) == asked), None)
    if known is not None and len(known.trials) > len(search.cells):
        raise SpecError(
            f"{known.method} was chosen among {known.points} points of {known.repeats} seeds, and "
            f"{len(search.cells)} trials would replace that: give --trials {known.points} "
            f"--repeats {known.repeats} or more, or take its line out of the suite's tuning.jsonl"
        )


def _usual(before: Iterable[Tuning], recipe: str) -> tuple[int, int]:
    """Return how many points and seeds most methods were tried with."""
    tried = (one for one in before if one.recipe_name == recipe and one.trials)
    had = Counter((one.points, one.repeats) for one in tried)
    return max(had, key=had.__getitem__, default=(len(WITH_WEIGHT), 1))


def points(method: str) -> Sequence[tuple[float, float]]:
    """Return the multiples of learning rate and weight at which ``method`` is tried."""
    return WITH_WEIGHT if _weight(method) else WITHOUT


def _weight(method: str) -> str:
    card = discovery.method_card(method)
    return card.weight if card else ""


def _trial(cell: Cell, rate: float, weight: float) -> Cell:
    name = _weight(cell.method)
    params: dict[str, Any] = dict(cell.params)
    if name and weight != 1:
        params[name] = _rounded(params[name] * weight)
    recipe = replace(cell.recipe, learning_rate=_rounded(cell.recipe.learning_rate * rate))
    return replace(cell, params=params, recipe=recipe, judged="validation")


def _rounded(number: float) -> float:
    """Return three significant digits: a choice that people can write down."""
    return float(f"{number:.3g}")


def chosen(search: Search, store: Store, /) -> Tuning | None:
    """Return the choice, or None while a trial has no row of its own.

    The point with the best mean on the validation split is chosen, of equals the earliest; one
    that diverged or failed at a seed is no choice, and a method of which nothing succeeded
    keeps its defaults.
    """
    found = [store.known(cell) for cell in search.cells]
    if any(row is None or row.status == "machine" for row in found):
        return None
    trials = [_told(row) for row in found if row is not None]
    many = search.repeats
    by_point = [trials[at : at + many] for at in range(0, len(trials), many)]
    scale = next((row.metrics.scale for row in found if row and row.metrics), FRACTION)
    best, *_ = max(by_point, key=lambda point: _merit(point, scale))
    first = search.cells[0]
    return Tuning(
        method=search.method,
        model=search.model,
        recipe_name=first.recipe_name,
        seed=SEED,
        timesteps=first.timesteps,
        backend=str(first.backend),
        learning_rate=best.learning_rate,
        params=best.params,
        trials=tuple(trials),
        repeats=search.repeats,
    )


def _merit(point: Sequence[Trial], scale: Scale) -> float:
    known = [scale.merit(trial.accuracy) for trial in point if trial.accuracy is not None]
    return round(fmean(known), 12) if len(known) == len(point) else -math.inf


def _told(row: Row) -> Trial:
    return Trial(
        learning_rate=row.cell.recipe.learning_rate,
        params={name: row.cell.params[name]} if (name := _weight(row.cell.method)) else {},
        cell_id=row.cell_id,
        status=row.status,
        accuracy=row.metrics.score if row.metrics else None,
    )


def frozen(before: Iterable[Tuning], now: Iterable[Tuning], /) -> list[Tuning]:
    """Return all choices, the new ones in the place of older ones, in order of names."""
    return sorted({_asked(one): one for one in (*before, *now)}.values(), key=_asked)


def _asked(one: Tuning) -> tuple[str, str, str]:
    return one.method, one.model, one.recipe_name
