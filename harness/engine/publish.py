"""From finished cells to ``results/``: rows as evidence, leaderboards from rows alone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import report
from harness.contracts.errors import HarnessError
from harness.contracts.record import Cell, Row
from harness.engine import freshness, grid
from harness.engine.grid import Axes
from harness.store import Store, write_text


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was written.

    Attributes:
        rows: How many cells stand in the tables.
        files: Everything written.
        warnings: What a reader of the tables should know, a sentence each.
    """

    rows: int
    files: tuple[Path, ...]
    warnings: tuple[str, ...]


def publish(suite: str, /, *, runs: Path, results: Path, data_root: Path | None) -> Published:
    """Write the rows and leaderboards of ``suite`` into ``results/<suite>/``.

    Only rows of cells that the suite would ask for today are taken: an old recipe's row
    answers another question. Timesteps, seeds and simulators beyond the suite's own grid
    are welcome.
    """
    store, asked = Store(runs), grid.load_suite(suite)
    rows = [row for row in store.rows(suite) if _is_current(row, runs)]
    if not rows:
        return Published(rows=0, files=(), warnings=())
    rows.sort(key=_order)
    files = [
        *_write_rows(rows, results / suite),
        *report.write(
            rows,
            results / suite,
            command=f"nox -s leaderboard -- {suite}",
            baseline=asked.baseline,
            remarks=asked.notes,
        ),
    ]
    return Published(
        rows=len(rows),
        files=tuple(files),
        warnings=tuple(_warnings(suite, rows, store, data_root)),
    )


def _is_current(row: Row, runs: Path) -> bool:
    """Return whether the suite, asked today, would ask for exactly this cell."""
    cell = row.cell
    axes = Axes(
        methods=(cell.method,),
        timesteps=(cell.timesteps,),
        seeds=(cell.seed,),
        backends=(cell.backend,),
        models=(cell.model,),
        recipe=str(cell.recipe["name"]),
    )
    try:
        return grid.cells(cell.suite, axes, runs=runs)[0].cell_id == cell.cell_id
    except HarnessError:  # its method, recipe or simulator is no more
        return False


def _order(row: Row) -> tuple[object, ...]:
    cell = row.cell
    return cell.method, cell.recipe["name"], cell.model, cell.backend, cell.timesteps, cell.seed


def _write_rows(rows: Iterable[Row], folder: Path) -> list[Path]:
    by_method: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_method[row.cell.method].append(row)
    files = []
    for method, ours in by_method.items():
        files.append(folder / f"{method}.jsonl")
        write_text(files[-1], "".join(f"{row.to_json()}\n" for row in ours))
    return files


def _warnings(suite: str, rows: list[Row], store: Store, data_root: Path | None) -> Iterable[str]:
    cells: list[Cell] = [row.cell for row in rows]
    standings = freshness.standings(cells, store, data_root=data_root)
    if stale := sum(one.state == "stale" for one in standings):
        yield f"{stale} rows are stale; `python -m harness plan {suite}` says what moved"
    asked = {cell.cell_id for cell in grid.cells(suite, Axes(), runs=store.root)}
    if missing := len(asked - {cell.cell_id for cell in cells}):
        yield f"{missing} of {len(asked)} cells of the suite have not been run"
