"""From finished cells to ``results/``: rows as evidence, leaderboards from rows alone."""

import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from zipfile import BadZipFile

import numpy as np

from harness import discovery, report, results
from harness.contracts.cell import TEACHERS
from harness.contracts.errors import StoreError
from harness.contracts.row import Row
from harness.contracts.suite import Suite
from harness.engine import freshness, grid, proofs
from harness.engine.compare import unlike
from harness.engine.grid import STARTS, Axes
from harness.engine.teachers import cell_of
from harness.evaluation.decisions import over_time
from harness.results import Published
from harness.store import PREDICTIONS, Store

# What NumPy raises for a file that is no archive of plain arrays.
_UNREADABLE = (
    *(OSError, EOFError, LookupError, MemoryError, TypeError, ValueError),
    *(BadZipFile, zlib.error),
)


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What was written.

    Attributes:
        rows: How many cells stand in the tables.
        files: Everything written.
        warnings: What a reader of the tables should know, a sentence each.
        refused: Rows that were left out, each with its file and what is wrong with it.
    """

    rows: int
    files: tuple[Path, ...]
    warnings: tuple[str, ...]
    refused: tuple[str, ...]


def publish(
    suite: str,
    /,
    *,
    runs: Path,
    folder: Path,
    data_root: Path | None,
    page: bool = False,
    figures: report.Kind | None = None,
) -> Publication:
    """Write rows and leaderboards of ``suite`` into ``folder / suite``, page and figures if asked.

    A row made here stands for its cell, unless the one published already is fresh and differs
    in nothing but times; so what is reproduced changes no file. Only rows of cells that the
    suite would ask for today are taken: an old recipe's row answers another question.
    Timesteps, seeds and simulators beyond the suite's own grid are welcome. A row that cannot
    be read, or that the predictions beside it contradict, is refused by name.
    """
    found = _gathered(suite, runs, folder, data_root)
    if not found.rows:
        return Publication(rows=0, files=(), warnings=(), refused=tuple(found.refused))
    rows, teachers, store, before = found.rows, found.teachers, found.store, found.before
    code = _code([*rows, *teachers], store, before)
    files = [
        *results.write(folder / suite, before, rows, teachers, code),
        *report.write(
            rows,
            folder / suite,
            teachers=teachers,
            command=f"nox -s leaderboard -- {suite}",
            suite=cautioned(grid.load_suite(suite), rows),
            page=page,
            figures=figures,
        ),
    ]
    now = Published(teachers={row.cell_id: row for row in teachers}, code=code)
    stale = found.stale_now(rows, now)
    asked = {cell.cell_id for cell in grid.cells(suite, Axes(), store, before)}
    warnings = tuple(_warnings(suite, len(stale), len(asked - found.known)))
    return Publication(
        rows=len(rows), files=tuple(files), warnings=warnings, refused=tuple(found.refused)
    )


def _sound(store: Store, suite: str, refused: list[str]) -> Iterator[Row]:
    """Yield the rows of ``suite`` made here; ``refused`` takes why others are left out."""
    damaged: list[StoreError] = []
    for row in store.rows(suite, damaged=damaged):
        if wrong := contradiction(store.folder(row.cell) / PREDICTIONS, row):
            refused.append(wrong)
        else:
            yield row
    refused += map(str, damaged)


def contradiction(path: Path, row: Row, /) -> str | None:
    """Return how the predictions in ``path``, if they are there, contradict ``row``."""
    if row.metrics is None or row.cell.judged != "test" or not path.exists():
        return None
    try:
        # NumPy closes no file of its own that turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = over_time(stored["predictions"], stored["labels"]).accuracy
    except _UNREADABLE as error:
        return f"{path} holds no predictions: {error}; run cell {row.cell_id} again"
    said, scored = row.metrics.test_accuracy, found[-1]
    by_step = row.metrics.accuracy_by_step or (said,)
    if row.metrics.n_test == scored.samples and by_step == tuple(
        step.value for step in found[-len(by_step) :]
    ):
        return None
    return (
        f"{path.with_name('row.json')}: accuracy {said!r} of {row.metrics.n_test} samples, but the "
        f"predictions beside it give {scored.value!r} of {scored.samples}, or differ in an earlier "
        f"step; run cell {row.cell_id} again"
    )


def cautioned(suite: Suite, rows: Sequence[Row], /) -> Suite:
    """Return ``suite`` with what its board cannot support, where it says nothing itself.

    A board may do without if its baseline reached what the literature has for it.
    """
    known = suite.literature
    if suite.caution:
        return suite
    if known is None:
        words = (
            f"What the literature has for `{suite.baseline}` on this student and at this budget is "
            "not known here: whether it was trained as well as it can be is open."
        )
        return replace(suite, caution=words)
    found = [
        row.metrics.test_accuracy
        for row in rows
        if row.metrics
        and (row.cell.method, row.cell.timesteps) == (suite.baseline, known.timesteps)
    ]
    if found and fmean(found) >= known.accuracy - known.margin:
        return suite
    reached = f"reached {100 * fmean(found):.2f} %" if found else "has no row"
    words = (
        f"`{suite.baseline}` {reached} at T = {known.timesteps}, where the literature has "
        f"{100 * known.accuracy:.2f} % ({known.where}): these rows support no order of methods."
    )
    return replace(suite, caution=words)


def beside(
    suite: str,
    /,
    *,
    runs: Path,
    folder: Path,
    data_root: Path | None,
    page: bool = False,
    figures: report.Kind | None = None,
) -> Publication:
    """Write leaderboards into ``runs / suite``: one's own rows, marked, beside the published ones.

    Which row stands for a cell is as in ``publish``; nothing in ``folder`` is changed.
    """
    found = _gathered(suite, runs, folder, data_root)
    if not found.rows:
        return Publication(rows=0, files=(), warnings=(), refused=tuple(found.refused))
    files = report.write(
        found.rows,
        runs / suite,
        teachers=found.teachers,
        command=f"python -m harness report {suite} --beside",
        suite=cautioned(grid.load_suite(suite), found.rows),
        page=page,
        figures=figures,
        mine=found.mine,
    )
    return Publication(
        rows=len(found.rows), files=tuple(files), warnings=(), refused=tuple(found.refused)
    )


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    """What a board is made from.

    Attributes:
        store: What was run here.
        before: What is published.
        stale_now: Tells which rows of a publication are stale.
        known: Cells that have a row.
        mine: Those whose row was made here.
        rows: Of the cells that the suite would ask for today, in the order of the board.
        teachers: Their rows.
        refused: What was left out, and why.
    """

    store: Store
    before: Published
    stale_now: Callable[[Iterable[Row], Published], list[Row]]
    known: set[str]
    mine: set[str]
    rows: list[Row]
    teachers: list[Row]
    refused: list[str]


def _gathered(suite: str, runs: Path, folder: Path, data_root: Path | None) -> _Gathered:
    store, before = Store(runs), results.published(suite, results=folder, strict=False)
    refused = list(map(str, before.damaged))
    stale_now = partial(freshness.stale, verified=proofs.read(folder, runs), data_root=data_root)
    known, mine = _joined(suite, store, before, stale_now, refused)
    rows = sorted(_current(suite, list(known.values()), store, before), key=_order)
    own = list(_sound(store, TEACHERS, refused)) if rows else []
    taught = [*before.teachers.values(), *own]
    old = stale_now(taught, before)
    return _Gathered(
        store=store,
        before=before,
        stale_now=stale_now,
        known=set(known),
        mine=mine,
        rows=rows,
        teachers=_teachers(rows, taught, old),
        refused=refused,
    )


def _joined(
    suite: str,
    store: Store,
    before: Published,
    stale_now: Callable[[Iterable[Row], Published], Iterable[Row]],
    refused: list[str],
) -> tuple[dict[str, Row], set[str]]:
    """Return the row that stands for each cell, and the cells whose row was made here."""
    old = {row.cell_id for row in stale_now(before.rows.values(), before)}
    known, mine = dict(before.rows), set()
    for row in _sound(store, suite, refused):
        if row.cell.judged != "test" or row.status == "machine":
            continue
        there = known.get(row.cell_id)
        if there is None or there.cell_id in old or unlike(there, row):
            known[row.cell_id] = row
            mine.add(row.cell_id)
    return known, mine


def outdated(suite: str, /, *, folder: Path, data_root: Path | None) -> list[str]:
    """Return the names of leaderboards in ``folder / suite`` that its rows do not give.

    They are made again beside copies of the rows; the files themselves stay as they are.
    """
    with TemporaryDirectory() as made:
        again = Path(made)
        there = folder / suite
        shutil.copytree(there, again / suite)
        for proof in folder.glob("*.jsonl"):
            shutil.copy(proof, again)
        page = (there / "leaderboard.html").exists()
        found = publish(suite, runs=again / "runs", folder=again, data_root=data_root, page=page)
        tables = [file.name for file in found.files if file.stem == "leaderboard"]
        return [name for name in tables if _bytes(there / name) != _bytes(again / suite / name)]


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _current(suite: str, rows: Sequence[Row], store: Store, before: Published) -> Iterable[Row]:
    """Yield the rows of cells that the suite, asked today, would ask for exactly so."""
    asked = set()
    for recipe, start in product(grid.load_suite(suite).recipes, STARTS):
        cells = [row.cell for row in rows if row.cell.recipe_name == recipe]
        axes = Axes(
            # A method, model or simulator may be no more.
            methods=_known("methods", {cell.method for cell in cells}),
            models=_known("models", {cell.model for cell in cells}),
            backends=_known("backends", {str(cell.backend) for cell in cells}),
            timesteps=tuple({cell.timesteps for cell in cells}),
            seeds=tuple({cell.seed for cell in cells}),
            recipe=recipe,
            start=start,
        )
        if cells:
            asked |= {cell.cell_id for cell in grid.cells(suite, axes, store, before)}
    return (row for row in rows if row.cell_id in asked)


def _known(kind: discovery.Kind, names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names & set(discovery.names(kind))))


def _order(row: Row) -> tuple[object, ...]:
    cell = row.cell
    return cell.method, cell.recipe_name, cell.model, cell.backend, cell.timesteps, cell.seed


def _teachers(rows: Iterable[Row], known: Iterable[Row], old: Sequence[Row]) -> list[Row]:
    """Return the row of each teacher that ``rows`` name, of those ``known``."""
    cells = {cell_of(row.cell.teacher).cell_id for row in rows if row.cell.teacher}
    named = {row.provenance.teacher_sha256 for row in rows}
    stale = set(map(id, old))
    found: dict[str, list[Row]] = {}
    for row in known:
        found.setdefault(row.cell_id, []).append(row)
    # Of two, the one that the rows learnt from, and of equal weights the one that is not stale.
    return [
        max(
            found[name],
            key=lambda row: (row.provenance.weights_sha256 in named, id(row) not in stale),
        )
        for name in sorted(cells & found.keys())
    ]


def _code(rows: Sequence[Row], store: Store, before: Published) -> dict[str, Mapping[str, str]]:
    """Return the modules of each fingerprint that ``rows`` carry."""
    made = [row.provenance for row in rows]
    fps = {fp for one in made for fp in (one.train_fp, one.measure_fp) if fp}
    known = {fp: store.code(fp) or before.code.get(fp) for fp in sorted(fps)}
    return {fp: modules for fp, modules in known.items() if modules}


def _warnings(suite: str, stale: int, missing: int) -> Iterable[str]:
    if stale:
        yield f"{stale} rows are stale; `python -m harness plan {suite}` says what moved"
    if missing:
        yield f"{missing} cells of the suite have not been run"
