"""What a person sees at the end of a run or report: accuracies in short, and what failed.

A terminal has no room for a leaderboard: simulators are averaged over, seeds too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean

from harness import statistics
from harness.contracts.cell import Cell
from harness.contracts.row import Row
from harness.contracts.values import spell
from harness.report._board import resolution_of
from harness.report._labels import told_apart
from harness.report._words import accuracy, visible
from harness.results import Trust

_REASONS, _WIDTH = 5, 100
# Whose a line is, the least trusted first.
_WHOSE: Mapping[Trust, str] = {
    "claimed": "merged, claimed",
    "verified": "merged, verified",
    "here": "yours",
}


def table(rows: Iterable[Row], /, *, mine: Mapping[str, Trust] | None = None) -> list[str]:
    """Return a line a method, best first: mean score in the task's metric by T, over seeds.

    Half of the 95 % t interval stands with it where there are two seeds; where cells ended
    without a number, how many of how many have one. Lines with a row of ``mine`` are marked: as
    yours, or as merged with how far to believe it.
    """
    rows = list(rows)
    labels = _labels(rows)
    by_place: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_place[labels[row.cell_id]][row.cell.timesteps].append(row)
    steps = sorted({row.cell.timesteps for row in rows})
    levels = mine or {}
    whose: dict[str, set[Trust]] = defaultdict(set)
    for row in rows:
        if row.cell_id in levels:
            whose[labels[row.cell_id]].add(levels[row.cell_id])
    ordered = sorted(by_place, key=lambda name: (-_best(by_place[name].values()), name))
    told = next((row.metrics for row in rows if row.metrics), None)
    metric = f"{told.metric} {told.scale.unit}" if told else "accuracy %"
    lines = [["", metric, *(f"T = {step}" for step in steps)]]
    for name in ordered:
        found = (_told(by_place[name].get(step, [])) for step in steps)
        mark = next((words for level, words in _WHOSE.items() if level in whose[name]), "")
        lines.append([mark, visible(name), *found])
    return _aligned(lines if any(whose.values()) else [line[1:] for line in lines])


def best(rows: Iterable[Row], asked: Collection[tuple[int, int]], /, *, many: int = 3) -> list[str]:
    """Return the methods with the best mean score at those ``(T, seed)``.

    One that has no number at some of them is none.
    """
    found: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        place = row.cell.timesteps, row.cell.seed
        if row.metrics and place in asked:
            merit = row.metrics.scale.merit(row.metrics.score)
            found[row.cell.method][place].append(merit)
    means = {
        method: fmean(fmean(values) for values in places.values())
        for method, places in found.items()
        if len(places) == len(asked)
    }
    return sorted(means, key=lambda method: (-means[method], method))[:many]


def failures(rows: Iterable[Row], /) -> list[str]:
    """Return what went wrong, the most frequent first: a line a status and reason."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.status not in ("ok", "skipped"):
            found[row.status, (row.error or "").splitlines()[0]].append(row)
    ordered = sorted(found, key=lambda key: (-len(found[key]), key))
    lines = [
        visible(
            f"{len(found[key])} {key[0]}: {_few(found[key])}: {key[1][:_WIDTH]}"
            + (f" ({log})" if (log := found[key][0].provenance.log_path) else "")
        )
        for key in ordered[:_REASONS]
    ]
    if more := ordered[_REASONS:]:
        lines.append(f"and {len(more)} other reasons")
    return lines


def _few(rows: Sequence[Row]) -> str:
    names = sorted({row.cell.method for row in rows})
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _labels(rows: Sequence[Row]) -> dict[str, str]:
    """Return a name for what seeds, T and simulators are averaged over, by cell."""
    cells: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for row in rows:
        cells[row.cell.method, row.cell.model].append(row.cell)
    several = len({row.cell.model for row in rows}) > 1
    found = {}
    for rivals in cells.values():
        for cell in rivals:
            name = spell(cell.method, told_apart(cell, rivals, cell.spelt))
            found[cell.cell_id] = f"{name} on {cell.model}" if several else name
    return found


def _best(places: Iterable[Sequence[Row]]) -> float:
    return max(map(_merit, places), default=-math.inf)


def _merit(rows: Sequence[Row]) -> float:
    scales = (row.metrics.scale for row in rows if row.metrics)
    return next((scale.merit(fmean(_scores(rows))) for scale in scales), -math.inf)


def _scores(rows: Sequence[Row]) -> list[float]:
    """Return the accuracy of each seed with numbers, simulators averaged."""
    by_seed: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row.metrics:
            by_seed[row.cell.seed].append(row.metrics.score)
    return [fmean(by_seed[seed]) for seed in sorted(by_seed)]


def _told(rows: Sequence[Row]) -> str:
    found, known = _scores(rows), [row.metrics for row in rows if row.metrics]
    lacking = f" ({len(known)} of {len(rows)})" if len(known) < len(rows) else ""
    if not known:
        return "/".join(sorted({row.status for row in rows})) or "—"
    mean = statistics.mean_over_seeds(found, resolution=resolution_of(known))
    widest = max((one.score_high - one.score_low) / 2 for one in known)
    return accuracy(mean, widest, known[0].scale) + lacking


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
