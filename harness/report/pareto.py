"""Accuracy against a cost: which methods nothing is both cheaper and more accurate than."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness import energy
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.report import _words as words
from harness.report._answers import usual_energy
from harness.report._board import Leaderboard, Line, is_reconstructed, named
from harness.report._words import Column, table

Cost = Literal["energy", "operations", "latency", "timesteps"]
_TITLES: Mapping[Cost, str] = {
    "energy": "energy estimate",
    "operations": "synaptic operations",
    "latency": "latency (ms)",
    "timesteps": "T",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One line of a board with its cost.

    Attributes:
        line: With a number.
        cell: Any of its cells.
        cost: Of a sample: pJ, operations, ms or timesteps; None is unknown.
        on_front: Whether nothing of known cost is as cheap and as accurate, and better in one.
    """

    line: Line
    cell: Cell
    cost: float | None
    on_front: bool


def narrowed(
    board: Leaderboard, /, *, recipe: str | None = None, timesteps: Collection[int] | None = None
) -> Leaderboard:
    """Return what a board has of one training budget, and of some T.

    Args:
        board: Of one data set.
        recipe: The budget's name; None is the first that the suite has.
        timesteps: Which; None is all.

    Raises:
        SpecError: If nothing is left; names what there is.
    """
    known = list(dict.fromkeys(setting.cell.recipe_name for setting in board.settings))
    if recipe is not None and recipe not in known:
        raise SpecError(f"no row has the budget {recipe!r}; there are: {', '.join(known)}")
    settings = [one for one in board.settings if one.cell.recipe_name == (recipe or known[0])]
    steps = sorted({line.timesteps for one in settings for line in one.lines})
    asked = steps if timesteps is None else [step for step in steps if step in timesteps]
    if not asked:
        raise SpecError(f"no row has such a T; there are: {', '.join(map(str, steps))}")
    return replace(
        board,
        settings=tuple(
            replace(one, lines=tuple(line for line in one.lines if line.timesteps in asked))
            for one in settings
        ),
    )


def pareto(board: Leaderboard, cost: Cost, /, *, model: str | None = None) -> list[Point]:
    """Return every line that has a number, the cheapest first and the unknown last.

    Simulators that agree are one line, but for latency, in which they do not. Means are compared
    as they are: an interval may reach over the front. Beside it stand controls, entries with
    their authors' constants where tuning chose others and, where cost is time, networks of spike
    times, whose one step is none.

    Args:
        board: Of one data set; its students are alternatives.
        cost: What accuracy is set against.
        model: The energy model; None is the usual one.

    Raises:
        UnknownPluginError: If there is no such ``model``.
        SpecError: If no line has an energy by ``model``; says what has no price.
    """
    settings = [one if cost == "latency" else one.together for one in board.settings]
    lines = [line for one in settings for line in one.lines if line.answers]
    known = {name for line in lines for name in line.energies}
    if model is not None and model not in known:
        raise SpecError(_without_energy(lines, model))
    figure = _figure(cost, model or usual_energy(known) or "")
    costs = [figure(line) for line in lines]
    scores = [line.merit for line in lines]
    rated = [
        price if is_rated(line, cost) else None for line, price in zip(lines, costs, strict=True)
    ]
    front = _front([*zip(rated, scores, strict=True)])
    points = [
        Point(line=line, cell=line.answers[0].row.cell, cost=price, on_front=is_on)
        for line, price, is_on in zip(lines, costs, front, strict=True)
    ]
    return sorted(points, key=_order)


def is_rated(line: Line, cost: Cost, /) -> bool:
    """Return whether a line may stand on a front of ``cost``."""
    timeless = line.track == "continuous" and cost in ("latency", "timesteps")
    return line.is_rated and not timeless


def explanation(points: Sequence[Point], cost: Cost, /, *, model: str | None = None) -> str:
    """Return what a reader of the table must know, in sentences."""
    known = {name for one in points for name in one.line.energies}
    figures: Mapping[Cost, str] = {
        "energy": f"Energy is an estimate by `{model or usual_energy(known)}` (docs/energy.md).",
        "operations": "Operations: AC, MAC and products of spikes as they ran (docs/metering.md).",
        "latency": (
            "Latency is the simulator's on the host: the median of a batch of one, in the cell's "
            "precision (docs/latency.md); it moves with the machine's load."
        ),
        "timesteps": "",
    }
    told = [
        figures[cost],
        (
            "A star compares means: neighbours need not differ. Controls, entries with their "
            "authors' constants and, where cost is time, networks of spike times stand beside the "
            "front."
        ),
    ]
    if any(is_reconstructed(one.line.file) for one in points):
        told.append("†: the loss is reconstructed.")
    return " ".join(filter(None, told))


def _without_energy(lines: Sequence[Line], model: str) -> str:
    """Return why no line has an energy by ``model``: what the first that was counted has."""
    energy.described(model)  # is there one?
    rows = (answer.row for line in lines for answer in line.answers)
    row = next((row for row in rows if row.ledger is not None), None)
    if row is None or row.ledger is None:
        return f"no line has an energy by {model}: none has counts"
    lacking = "; ".join(energy.unpriced(row.ledger, model))
    return f"{model} has no price for {words.visible(lacking)} (as {row.cell.label})"


def to_markdown(board: Leaderboard, points: Sequence[Point], cost: Cost, /) -> str:
    """Return the points of ``board`` as a table; a star is on the front."""
    text = words.energy if cost == "energy" else words.quantity
    if cost in ("latency", "timesteps"):
        text = words.figure
    columns: list[Column[Point]] = [
        Column("front", lambda one: "*" if one.on_front else ""),
        Column("method", lambda one: named(one.line.method), left=True),
        Column("track", lambda one: "control" if one.line.control else one.line.track, left=True),
        Column("student", lambda one: words.text(one.cell.model), left=True),
        Column("budget", lambda one: words.text(one.cell.recipe_name), left=True),
        *([] if cost == "timesteps" else [Column[Point]("T", lambda one: str(one.line.timesteps))]),
        Column("simulator", lambda one: words.text(one.line.backend), left=True),
        Column("accuracy %", lambda one: one.line.told),
        Column(_TITLES[cost], lambda one: text(one.cost)),
        Column("seeds", lambda one: one.line.outcome(), left=True),
    ]
    return words.of_metric(table(points, columns), board.metric, board.scale)


def to_plain(point: Point, /) -> dict[str, Any]:
    """Return a point for programs."""
    line, cell = point.line, point.cell
    low, high = line.interval or (None, None)
    return {
        "method": line.method,
        "track": line.track,
        "loss": line.loss,
        "dataset": cell.dataset,
        "model": cell.model,
        "recipe": cell.recipe_name,
        "timesteps": line.timesteps,
        "backend": line.backend,
        "score": line.accuracy and line.accuracy.value,
        "low": low,
        "high": high,
        "cost": point.cost,
        "on_front": point.on_front,
    }


def _figure(cost: Cost, model: str) -> Callable[[Line], float | None]:
    figures: Mapping[Cost, Callable[[Line], float | None]] = {
        "energy": lambda line: line.energies.get(model),
        "operations": Line.operations,
        "latency": lambda line: line.timing("latency_ms_b1"),
        "timesteps": lambda line: float(line.timesteps),
    }
    return figures[cost]


def _front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Return of each (cost, score) whether no other is as good in both and better in one."""
    known = sorted({(cost, -score) for cost, score in points if cost is not None})
    front, best = set(), float("inf")
    for cost, worse in known:
        if worse < best:
            front.add((cost, -worse))
            best = worse
    return [point in front for point in points]


def _order(point: Point) -> tuple[Any, ...]:
    line = point.line
    price = float("inf") if point.cost is None else point.cost
    return price, -line.merit, line.method, line.timesteps, line.backend
