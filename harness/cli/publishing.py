"""``report`` and ``publish``: the board with one's own rows in it, and the one for everybody."""

import gc
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.options import RESULTS, RUNS, AsJson, DataRoot, Exit, Out, Results, SuiteName

if TYPE_CHECKING:
    from harness.contracts.row import Row
    from harness.engine.freshness import Standing
    from harness.engine.publish import Publication
    from harness.results import Trust

Page = Annotated[bool, typer.Option(help="Write leaderboard.html, too.")]
Figures = Annotated[
    Literal["svg", "png", "pdf"] | None,
    typer.Option(help="Write every figure as such a file, too."),
]


def report(  # noqa: PLR0913  one option an output
    suite: SuiteName,
    *,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Show these variants, too: logit_kd.temperature=2,4,8."),
    ] = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    page: Page = True,
    figures: Figures = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing; exit code 1 if published tables are out of date."
        ),
    ] = False,
    baseline: Annotated[
        str | None, typer.Option(help="Set all methods beside this one, not their tracks'.")
    ] = None,
    group: Annotated[
        Literal["backend", "model", "track"] | None, typer.Option(help="A table each of these.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the board of a suite into runs/SUITE: your rows, marked, beside the published ones.

    Nothing under results/ changes; `publish` does that.
    """
    gc.disable()  # half a million small values that all live to the end, and what is imported
    from harness.engine import publish as engine
    from harness.engine.settings import settings_of

    if check:
        _tell_outdated(engine.outdated(suite, folder=results, data_root=data_root), as_json=as_json)
        return
    found = engine.beside(
        suite,
        runs=out,
        folder=results,
        data_root=data_root,
        page=page,
        figures=figures,
        settings=settings_of(sets or ()),
        baseline=baseline,
        group=group,
    )
    _tell_trouble(found, f"neither {out} nor {results} holds rows of {suite}; run the suite first")
    if as_json:
        _tell_machine(found)
    else:
        _tell_mine(suite, found)
        verbs = ("here alone:", "here instead of the published:", "left out:")
        _tell_files(found, found.changes.lines(verbs))
    if found.refused:
        raise typer.Exit(Exit.SOME_FAILED)


def publish(  # noqa: PLR0913  one option an output
    suite: SuiteName,
    *,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    page: Page = True,
    figures: Figures = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Take none of your rows: write the tables anew.")
    ] = False,
    claimed: Annotated[
        bool, typer.Option("--claimed", help="Also merged rows that `verify` has not verified.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add your finished rows to results/SUITE, and write its board anew.

    Nothing published is lost; what was added, replaced and left is said.
    """
    gc.disable()
    from harness.engine import publish as engine

    found = engine.publish(
        suite,
        runs=None if tables else out,
        folder=results,
        data_root=data_root,
        page=page,
        figures=figures,
        claimed=claimed,
    )
    where = f"{results} holds no" if tables else f"neither {out} nor {results} holds"
    _tell_trouble(found, f"{where} rows of {suite}; run the suite first")
    if as_json:
        _tell_machine(found)
    else:
        changed = found.changes.lines()
        _tell_files(
            found, changed or ["no row changed" if tables else "there are no rows of yours"]
        )
    if found.refused:
        raise typer.Exit(Exit.SOME_FAILED)


def _tell_trouble(found: "Publication", nothing: str) -> None:
    """Say what was refused and what a reader should know; leave if there are no rows."""
    for refused in found.refused:
        print(f"refused: {refused}", file=sys.stderr)
    if not found.rows:
        for line in found.changes.lines():
            print(line, file=sys.stderr)
        print(f"nothing to do: {nothing}", file=sys.stderr)
        raise typer.Exit(Exit.SOME_FAILED if found.refused else Exit.NOTHING_TO_DO)
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _tell_machine(found: "Publication") -> None:
    changes = found.changes
    told = {
        "rows": len(found.rows),
        "files": [str(file) for file in found.files],
        "added": [row.cell_id for row in changes.added],
        "replaced": {row.cell_id: why for row, why in changes.replaced},
        "left": {row.cell_id: why for row, why in changes.left},
    }
    print(json.dumps(told))


def _tell_mine(suite: str, found: "Publication") -> None:
    """Show one's own methods with the suite's baseline and the best of the same tracks.

    Each training budget has a table. Second entries of others stay on the board.
    """
    second = found.authors.difference(found.mine)
    budgets: dict[str, list[Row]] = {}
    for row in found.rows:
        if row.cell_id not in second:
            budgets.setdefault(row.cell.recipe_name, []).append(row)
    for rows in budgets.values():
        _tell_budget(suite, rows, found.mine, several=len(budgets) > 1)


def _tell_budget(
    suite: str, rows: "Sequence[Row]", mine: Mapping[str, "Trust"], *, several: bool
) -> None:
    from harness.engine import glance, grid
    from harness.report._labels import track_of

    yours = [row.cell for row in rows if row.cell_id in mine]
    if not yours:
        return
    asked = {(cell.timesteps, cell.seed) for cell in yours}
    tracks = {track_of(cell.method) for cell in yours}
    rows = [row for row in rows if (row.cell.timesteps, row.cell.seed) in asked]
    alike = [row for row in rows if track_of(row.cell.method) in tracks]
    methods = {cell.method for cell in yours}
    shown = {*methods, grid.load_suite(suite).baseline, *glance.best(alike, asked)}
    if several:
        print(f"training budget {yours[0].recipe_name}:")
    print(*glance.table((r for r in rows if r.cell.method in shown), mine=mine), sep="\n")


def _tell_files(found: "Publication", changed: Iterable[str]) -> None:
    for line in changed:
        print(line)
    boards = [file for file in found.files if file.stem == "leaderboard"]
    first = next((file for file in boards if file.suffix == ".html"), boards[0])
    others = len(found.files) - 1
    print(f"{len(found.rows)} rows -> {first} and {others} files beside it")


def _tell_outdated(names: list[str], *, as_json: bool) -> None:
    """Say which tables are out of date; exit code 1 if any is."""
    if as_json:
        print(json.dumps({"outdated": names}))
    else:
        print(f"out of date: {', '.join(names)}" if names else "all tables are those of their rows")
    if names:
        raise typer.Exit(Exit.SOME_FAILED)


def tell_results(standings: "Iterable[Standing]") -> None:
    """Show what a run has brought: accuracies in short, and what failed, with why."""
    from harness.engine import glance

    # A row that was read back knows less of its label than the cell that was asked.
    rows = [
        replace(one.row, cell=one.cell)
        for one in standings
        if one.row is not None and not one.is_due
    ]
    if rows:
        print(*glance.table(rows), *glance.failures(rows), sep="\n")
