"""The command line: ``python -m harness VERB``.

Exit codes: 0 done, 1 some cells failed, 2 bad input, 3 nothing to do. Whatever a verb
needs beyond names is imported in its own function: help, ``list`` and ``plan`` must not
wait for torch.
"""

import gc
import json
import os
import sys
from typing import Annotated, cast

import typer

from harness import discovery
from harness.cli import bundles, checking, publishing, running, simulators, teachers, watching
from harness.cli.boards import boards_app
from harness.cli.data import data_app
from harness.cli.exchange import export, import_app
from harness.cli.online import online
from harness.cli.options import RESULTS, RUNS, AsJson, DataRoot, Exit, Out, Results
from harness.contracts.errors import HarnessError, SpecError

app = typer.Typer(
    help="Measure methods that distil artificial into spiking networks, on any simulator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(teachers.teacher_app, name="teacher")
app.add_typer(data_app, name="data")
app.add_typer(boards_app)
app.add_typer(import_app, name="import")
for verb in (
    running.plan,
    running.run,
    running.tune,
    publishing.report,
    publishing.publish,
    watching.status,
    watching.logs,
    checking.probe,
    checking.compare,
    checking.reproduce,
    checking.reverify,
    checking.conform,
    bundles.bundle,
    bundles.merge,
    bundles.verify,
    export,
    online,
):
    app.command()(verb)


_LISTED = (*discovery.KINDS, "energies")


@app.command("list")
def list_plugins(
    kind: Annotated[str | None, typer.Argument(help=", ".join(_LISTED))] = None,
    *,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="`list methods` as a page, costs from results/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List suites, methods, models, data sets, simulators and energy models."""
    if as_markdown:
        if kind != "methods":
            raise SpecError(f"--markdown is for `list methods`, got {kind!r}")
        from harness.report.methods import page

        print(page(RESULTS), end="")
        return
    if kind is not None and kind not in _LISTED:
        raise SpecError(f"there is no kind {kind!r}; there are: {', '.join(_LISTED)}")
    found = {each: _listed(each) for each in ([kind] if kind else _LISTED)}
    if as_json:
        print(json.dumps(found))
        return
    for each, names in found.items():
        print(f"{each}: {', '.join(simulators.listed() if each == 'backends' else names)}")


def _listed(kind: str) -> list[str]:
    if kind == "energies":
        from harness import energy

        return list(energy.model_names())
    return list(discovery.names(cast("discovery.Kind", kind)))


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="How a cell's identity begins, or a name that `list` has."
        ),
    ],
    *,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Show one cell, or what a plug-in or an energy model says of itself.

    In short for people; --json has all of it.
    """
    if as_json:
        from harness.engine.show import about

        print(json.dumps(about(name, runs=out, published=results)))
        return
    from harness.engine.shown import told

    print(*told(name, runs=out, published=results, data_root=data_root), sep="\n")


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app()
    except (HarnessError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `harness list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(Exit.DONE)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(Exit.BAD_INPUT)
    finally:
        gc.freeze()  # or the interpreter, on its way out, looks through all rows for garbage
