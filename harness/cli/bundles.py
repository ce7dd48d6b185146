"""The command line's ``bundle``, ``merge`` and ``verify``: rows that travel."""

import json
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import RESULTS, RUNS, AsJson, DataRoot, Exit, Out, Results, Runs, SuiteName
from harness.cli.parsing import require_positive
from harness.contracts.errors import SpecError

if TYPE_CHECKING:
    from harness.engine.verification import Finding


def bundle(
    suite: SuiteName,
    *,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; default SUITE.bundle.zip.")
    ] = None,
    runs: Runs = RUNS,
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
        raise typer.Exit(Exit.SOME_FAILED)


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER_OR_BUNDLE...", help="Folders of runs, or bundles' files."),
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
        raise typer.Exit(Exit.SOME_FAILED)
    if not found.added and not found.replaced:
        raise typer.Exit(Exit.NOTHING_TO_DO)


def verify(  # noqa: PLR0913  one option an output
    source: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE_OR_FOLDER", help="A bundle's file, or a folder of runs."),
    ],
    *,
    samples: Annotated[
        int,
        typer.Option(
            help="Test samples of each row that its weights decide again, at most. (`reverify "
            "--sample` counts rows.)"
        ),
    ] = 1000,
    seed: Annotated[
        int | None, typer.Option(help="Of the draw of --samples; by default nobody can guess it.")
    ] = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Annotated[int, typer.Option(help="Rows at once.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds a row may take.")] = 600.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Every row.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hold rows to their predictions, weights and code; note in --out what came of it.

    Nothing of what it reads is executed. What is not verified is claimed, and says why. Exit
    code 1 if a row is contradicted by what came with it: `merge`, `report` and `publish` with
    the same --out leave it out.
    """
    from harness.engine import proofs, trust
    from harness.engine.bundle import opened
    from harness.engine.verification import verify as look
    from harness.store import Store, write_text

    for option, value in (("--samples", samples), ("--jobs", jobs), ("--timeout", timeout)):
        require_positive(option, value)
    if seed is not None and seed < 0:
        raise SpecError(f"--seed must not be negative, got {seed!r}; leave it out for the default")
    draw = secrets.randbelow(2**32) if seed is None else seed
    findings = []
    with opened(source) as evidence:
        write_text(out / "verify" / "seed", f"{draw}\n")  # before the first: can it be noted?
        for one in look(
            evidence,
            data_root,
            proofs=proofs.read(results, out),
            samples=samples,
            seed=draw,
            slots=jobs,
            timeout_s=timeout,
            logs=out / "verify",
        ):
            findings.append(one)
            _tell_finding(one, verbose=verbose, as_json=as_json)
            if one.level == "verified":
                trust.note_checked(Store(out), one.row, one.samples)
            elif one.level == "refused":
                trust.note_refused(Store(out), one.row, one.why)
    for words in evidence.refused:
        print(f"refused: {words}", file=sys.stderr)
    if not as_json:
        print(*_summary(findings, draw), sep="\n")
    if evidence.refused or any(one.level == "refused" for one in findings):
        raise typer.Exit(Exit.SOME_FAILED)
    if not findings:
        raise typer.Exit(Exit.NOTHING_TO_DO)


def _tell_finding(one: "Finding", *, verbose: bool, as_json: bool) -> None:
    if as_json:
        told = {"cell_id": one.row.cell_id, "level": one.level, "why": one.why}
        print(json.dumps(told | {"samples": one.samples}))
    elif verbose or one.level == "refused":
        print(f"{one.level:9} {one.row.cell_id} {one.row.cell.label}  {one.why}")


def _summary(findings: "list[Finding]", seed: int) -> Iterator[str]:
    """Yield how many rows are how far to be believed, and why no further."""
    levels = Counter(one.level for one in findings)
    counted = ", ".join(f"{count} {name}" for name, count in sorted(levels.items()))
    yield f"{counted or 'no rows'} (samples drawn with --seed {seed})"
    reasons = Counter(one.why for one in findings if one.level == "claimed")
    yield from (f"  {count} claimed: {why}" for why, count in reasons.most_common(5))
