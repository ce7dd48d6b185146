"""The command line's ``status`` and ``logs``: what a run does, seen from another terminal."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import (
    RESULTS,
    RUNS,
    AsJson,
    DataRoot,
    Names,
    Numbers,
    Out,
    RecipeName,
    Results,
    Sets,
    Start,
    SuiteName,
    Untuned,
)
from harness.cli.parsing import axes_of
from harness.cli.standings import one_line, parts_of, published_in, standings_of

if TYPE_CHECKING:
    from harness.contracts.cell import Cell
    from harness.engine.freshness import Standing
    from harness.engine.grid import Axes
    from harness.engine.watch import Running

_LOOK_S = 2.0
_CLEAR = "\x1b[H\x1b[2J"


def status(  # noqa: PLR0913  one option a filter
    suite: SuiteName,
    *,
    methods: Names = None,
    timesteps: Numbers = None,
    seeds: Numbers = None,
    backends: Names = None,
    models: Names = None,
    recipe: RecipeName = None,
    untuned: Untuned = False,
    start: Start = None,
    sets: Sets = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until nothing runs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say how far a suite is: what runs and how far it is, what failed and why, what is left.

    It takes the filters of `run`, and may be asked while one runs, here or on another
    machine that writes into the same folder.
    """
    axes = axes_of(
        methods,
        timesteps,
        seeds,
        backends,
        models,
        recipe,
        as_chosen=not untuned,
        start=start,
        sets=sets,
    )
    clear = watch and not as_json and sys.stdout.isatty()
    while True:
        begun_s = time.monotonic()
        seen = _look(suite, axes, data_root, out, results)
        if as_json:
            print(json.dumps(seen.columns()))
        else:
            print(_CLEAR * clear + "\n".join(seen.lines()))
        sys.stdout.flush()
        if not watch or not seen.running:
            return
        # Looking at a large suite takes a while itself, and must not take a core from the run.
        time.sleep(max(_LOOK_S, 5 * (time.monotonic() - begun_s)))


def logs(
    cell: Annotated[str, typer.Argument(help="Its identity, or how that begins.")],
    *,
    out: Out = RUNS,
    follow: Annotated[bool, typer.Option("--follow", help="Go on while the cell runs.")] = False,
) -> None:
    """Print the newest log of a cell; `plan` and `status` list their identities."""
    from harness.engine import watch
    from harness.store import Store

    path = watch.log_of(Store(out), cell)
    print(path, file=sys.stderr)
    for part in watch.follow(path) if follow else [path.read_bytes()]:
        sys.stdout.write(part.decode(errors="replace"))
        sys.stdout.flush()


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One look at a suite.

    Attributes:
        suite: Its name.
        standings: Of its cells.
        running: Cells and teachers that some run has, with their names for people.
        parts: Which part of a cell that is due and does not run is done.
    """

    suite: str
    standings: "list[Standing]"
    running: "list[tuple[str, Running]]"
    parts: "list[tuple[Cell, float]]"

    def counts(self) -> dict[str, int]:
        """Return how many cells are in each state."""
        counted = Counter[str](one.state for one in self.standings)
        counted.update({"running": len(self.running), "partly": len(self.parts)})
        return {name: count for name, count in counted.items() if count}

    def lines(self) -> Iterator[str]:
        """Yield it for people, a line each."""
        counted = ", ".join(f"{count} {name}" for name, count in self.counts().items())
        yield f"{self.suite}: {len(self.standings)} cells: {counted}"
        for label, one in self.running:
            note = one.note
            if note is None:
                yield f"running  {one.cell_id} {label}"
                continue
            minutes = max(0.0, time.time() - note.began_s) / 60
            yield (
                f"running  {one.cell_id} {label}: {100 * note.part:.0f} % after {minutes:.1f} min "
                f"on {note.device} of {note.host}"
            )
        for cell, part in self.parts:
            yield f"partly   {cell.cell_id} {cell.label}: {100 * part:.0f} %"
        for each in self.standings:
            if each.has_failed:
                log = each.row.provenance.log_path if each.row else None
                why = one_line(each.why + (f" ({log})" if log else ""))
                yield f"{each.state:8} {each.cell.cell_id} {each.cell.label}: {why}"

    def columns(self) -> dict[str, object]:
        """Return it for machines."""
        return {
            "suite": self.suite,
            "cells": len(self.standings),
            "counts": self.counts(),
            "running": [
                {"cell_id": one.cell_id, "name": label, "part": one.note.part if one.note else None}
                for label, one in self.running
            ],
            "partly": [{"cell_id": cell.cell_id, "part": part} for cell, part in self.parts],
            "failed": [
                {"cell_id": one.cell.cell_id, "why": one.why}
                for one in self.standings
                if one.has_failed
            ],
        }


def _look(suite: str, axes: "Axes", data_root: Path | None, out: Path, results: Path) -> _Seen:
    from harness.contracts.cell import TEACHERS
    from harness.engine import watch
    from harness.engine.teachers import cell_of
    from harness.store import Store

    store = Store(out)
    standings = standings_of(suite, axes, published_in(suite, results), data_root, out, results)
    cells = {one.cell.cell_id: one.cell for one in standings}
    teachers = {one.teacher for one in cells.values() if one.teacher}
    cells |= {cell.cell_id: cell for cell in map(cell_of, teachers)}
    running = [
        (cells[one.cell_id].label, one)
        for place in (TEACHERS, suite)
        for one in watch.running(store, place)
        if one.cell_id in cells
    ]
    busy = {one.cell_id for _, one in running}
    parts = parts_of([cell for cell in cells.values() if cell.cell_id not in busy], out)
    return _Seen(
        suite=suite,
        standings=standings,
        running=running,
        parts=[(cells[cell_id], part) for cell_id, part in parts.items()],
    )
