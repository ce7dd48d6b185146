"""The command line's ``bundle`` and ``merge``: rows that travel."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Where runs are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value, for machines.")]
RUNS = Path("runs")
_SOME_FAILED, _NOTHING_TO_DO = 1, 3


def bundle(
    suite: str,
    *,
    out: Annotated[Path | None, typer.Option(help="The file; default SUITE.bundle.zip.")] = None,
    runs: Out = RUNS,
    weights: Annotated[
        bool, typer.Option("--weights", help="With the weights, so that others can verify it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the rows of a suite, and all that speaks for them, as one file to be sent."""
    from harness.engine import bundle as engine

    made = engine.write(suite, runs, out or Path(f"{suite}.bundle.zip"), weights=weights)
    for words in made.refused:
        print(f"refused: {words}", file=sys.stderr)
    if as_json:
        told = {"file": str(made.path), "rows": made.rows, "teachers": made.teachers}
        print(json.dumps(told | {"file_bytes": made.file_bytes}))
    else:
        size = f"{made.file_bytes / 1e6:.2f} MB"
        print(f"{made.rows} rows and {made.teachers} teachers, {size} -> {made.path}")
    if made.refused:
        raise typer.Exit(_SOME_FAILED)


def merge(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FOLDER_OR_BUNDLE...", help="Of other machines.")
    ],
    *,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Bring rows of other machines into your folder of runs; they keep saying where they ran.

    Two rows of one cell with other numbers are a conflict: both are shown, and nothing is
    brought in. What is merged is claimed until `verify` has held it to its weights.
    """
    from harness.engine.bundle import opened
    from harness.engine.merging import merge as bring_in

    with ExitStack() as held:
        found = bring_in([held.enter_context(opened(source)) for source in sources], out)
    for words in found.refused:
        print(f"refused: {words}", file=sys.stderr)
    for conflict in found.conflicts:
        print(*conflict.lines(), sep="\n", file=sys.stderr)
    for row in found.busy:
        print(f"left: {row.cell.label} runs here now; merge again", file=sys.stderr)
    came = {
        "added": len(found.added),
        "replaced": len(found.replaced),
        "same": len(found.same),
        "busy": len(found.busy),
        "conflicts": len(found.conflicts),
        "refused": len(found.refused),
    }
    if as_json:
        print(json.dumps(came))
    elif found.conflicts:
        print(
            f"{len(found.conflicts)} conflicts, nothing was merged: delete the rows you do not "
            "want, or merge into another --out",
            file=sys.stderr,
        )
    else:
        counted = ", ".join(f"{count} {what}" for what, count in came.items() if count)
        print(f"{counted or 'no rows'} -> {out}")
    if found.conflicts or found.busy or found.refused:
        raise typer.Exit(_SOME_FAILED)
    if not found.added and not found.replaced:
        raise typer.Exit(_NOTHING_TO_DO)
