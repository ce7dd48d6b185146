"""How the cells of a suite stand, and what is told of it."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts.errors import DataError, StoreError

if TYPE_CHECKING:
    from harness.contracts.cell import Cell
    from harness.engine.forecast import Forecast
    from harness.engine.freshness import Standing
    from harness.engine.grid import Axes
    from harness.results import Published


def published_in(suite: str, results: Path) -> "Published":
    """Return what is published, and say which of its lines are no rows."""
    from harness.results import published

    known = published(suite, results=results, strict=False)
    for line in known.damaged:
        print(f"damaged: {line}", file=sys.stderr)
    return known


def left_out(suite: str, axes: "Axes") -> bool:
    """Say which methods cannot be asked, and return whether there is one."""
    from harness.engine import grid

    broken = grid.unreadable(suite, axes)
    tell_left_out(broken)
    return bool(broken)


def tell_left_out(broken: Mapping[str, str]) -> None:
    """Say of each method that cannot be read what is wrong with its file."""
    for words in broken.values():
        print(f"left out: {words}", file=sys.stderr)


def tell_overruled(suite: str, axes: "Axes", known: "Published") -> None:
    """Say which settings stand in the place of what tuning chose."""
    from harness.engine import grid

    for words in grid.overruled(suite, axes, known):
        print(f"set: {words}", file=sys.stderr)


def standings_of(
    suite: str,
    axes: "Axes",
    known: "Published",
    data_root: Path | None,
    out: Path,
    results: Path,
    *,
    trust: bool = True,
) -> "list[Standing]":
    """Return how each cell stands; without ``trust``, as if nothing were published."""
    from harness.engine import freshness, grid, proofs
    from harness.results import Published
    from harness.store import Store

    store = Store(out)
    return freshness.standings(
        grid.cells(suite, axes, store, known),
        store,
        known if trust else Published(),
        proofs.read(results, out),
        data_root=data_root,
    )


def due_teachers(
    due: "Sequence[Cell]",
    data_root: Path | None,
    out: Path,
    results: Path,
    *,
    tried_again: Callable[["Standing"], bool] = lambda _: False,
) -> "list[Standing]":
    """Return how the teachers of ``due`` stand that have to be trained first.

    What its task gives no meaning is skipped, and trains none. One that has failed is trained
    again if it is ``tried_again``.

    Raises:
        StoreError: If one is to be imported and has not been, or is stale: its students would
            be, too, as soon as they were made.
    """
    from harness.engine import freshness, proofs, teachers
    from harness.engine.meaning import unmeant
    from harness.results import Published
    from harness.store import Store

    store = Store(out)
    taught = {(cell.teacher, cell.method, cell.dataset) for cell in due if cell.teacher}
    identities = {teacher for teacher, *asked in taught if not unmeant(*asked)}
    if not identities:
        return []
    asked = {teachers.cell_of(identity).cell_id: identity for identity in identities}
    cells = map(teachers.cell_of, asked.values())
    found = freshness.standings(
        cells, store, Published(), proofs.read(results, out), data_root=data_root
    )

    def has_to_be(one: "Standing") -> bool:
        if one.state == "failed" and asked[one.cell.cell_id].recipe is not None:
            return tried_again(one)
        return one.is_due or not teachers.ready(store, one.cell)

    due_here = [one for one in found if has_to_be(one)]
    for one in due_here:
        identity = asked[one.cell.cell_id]
        if identity.recipe is not None:
            continue
        if one.state != "stale" or not teachers.ready(store, one.cell):
            raise teachers.not_imported(identity.model, identity.dataset, store)
        raise StoreError(
            f"the imported {one.cell.label} in {out} is stale ({one.why}), and so would its "
            "students be; import it again: python -m harness teacher import FILE "
            f"--model {identity.model} --dataset {identity.dataset} --out {out}"
        )
    return due_here


def no_data_for(due: "Sequence[Cell]", data_root: Path | None) -> str:
    """Return which data set or text of ``due`` is not here, and the remedy; nothing if all are."""
    from harness.engine.freshness import no_data

    asked = dict.fromkeys((cell.dataset, cell.unlabelled) for cell in due)
    found = (no_data(dataset, data_root, text) for dataset, text in asked)
    return next(filter(None, found), "")


def require_data(cells: "Sequence[Cell]", data_root: Path | None) -> None:
    """Refuse once what each of ``cells`` would fail for."""
    if words := no_data_for(cells, data_root):
        raise DataError(words)


def forecast_of(known: "Published", standings: "Sequence[Standing]") -> "Forecast":
    """Return what rows tell of times and memory: those made here first."""
    from harness.engine.forecast import Forecast

    here = [one.row for one in standings if one.row is not None and one.state != "published"]
    there = (*known.rows.values(), *known.teachers.values())
    return Forecast(here, otherwise=Forecast(there))


def summary(standings: "Sequence[Standing]", teachers: "Sequence[Standing]" = ()) -> str:
    """Return how many stand how, and how many ``teachers`` are trained before."""
    counted = Counter(one.state for one in standings)
    told = ", ".join(f"{n} {state}" for state, n in counted.items())
    before = f"; {len(teachers)} teacher{'s' * (len(teachers) > 1)} before them" if teachers else ""
    return f"{len(standings)} cells: {told}{before}"


@lru_cache
def needs_in_words(seconds: float | None, gpu_bytes: int | None) -> str:
    """Return what a cell will need; nothing if its time is not known."""
    from harness.engine.forecast import in_words

    memory = f", {gpu_bytes / 2**30:.1f} GiB of a GPU" if gpu_bytes else ""
    return "" if seconds is None else f"about {in_words(seconds)}{memory}"


def ahead_in_words(due_s: "Sequence[float | None]", device: str) -> str:
    """Return how much work is due, and of how many cells nobody knows how long they take."""
    from harness.engine.forecast import in_words

    known = [seconds for seconds in due_s if seconds is not None]
    unknown = len(due_s) - len(known)
    told = [f"about {in_words(sum(known))} of work on {device}, one at a time"] if known else []
    if unknown:
        told.append(f"no row tells how long {unknown} of them take on {device}")
    return "".join(f"; {words}" for words in told)


def ended_so(one: "Standing", statuses: tuple[str, ...]) -> bool:
    """Return whether a cell was run and ended in one of ``statuses``."""
    return one.row is not None and one.row.status in statuses


def one_line(words: str) -> str:
    """Return what a row says, wherever that comes from, so that a terminal shows and obeys none."""
    from harness.report import visible

    return " ".join(visible(words).split())


def parts_of(cells: "Sequence[Cell]", out: Path) -> dict[str, float]:
    """Return which part of each of ``cells`` is done, of those that have a checkpoint."""
    from harness.engine.partly import fraction, progress_of
    from harness.store import Store

    store = Store(out)
    begun = {suite: store.begun(suite) for suite in {cell.suite for cell in cells}}
    parts = {
        cell.cell_id: fraction(progress_of(store, cell))
        for cell in cells
        if cell.cell_id in begun[cell.suite]
    }
    return {cell_id: part for cell_id, part in parts.items() if part}


def partly_in_words(cells: "Sequence[Cell]", out: Path) -> str:
    """Return how many of ``cells`` have a checkpoint to go on from."""
    from harness.engine.partly import progress_of
    from harness.store import Store

    partly = sum(progress_of(Store(out), cell) is not None for cell in cells)
    return f", {partly} partly" if partly else ""
