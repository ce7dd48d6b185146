"""The command line's ``data`` verbs. Torch, pooch and PIL wait for the verb that needs them."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import discovery
from harness.cli.options import AsJson, DataRoot, Exit
from harness.contracts.errors import DataError, SpecError

if TYPE_CHECKING:
    from harness.data.fetch import Progress

data_app = typer.Typer(help="Get, check and look at data sets.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="One of `data list`.")]


@contextmanager
def downloads() -> Iterator["Progress"]:
    """Yield what shows how far downloads are, each as a bar."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done, total=total)

        yield progress


@data_app.command("list")
def list_datasets(*, as_json: AsJson = False) -> None:
    """List the data sets."""
    names = discovery.names("datasets")
    typer.echo(json.dumps(list(names)) if as_json else "\n".join(names))


@data_app.command()
def info(name: Name, *, as_json: AsJson = False) -> None:
    """Say what is known of a data set: licence, citation, sizes, checksums, split."""
    from harness.data.catalogue import about

    told = about(name)
    if as_json:
        typer.echo(json.dumps(told))
        return
    width = max(len(key) for key in told)
    for key, value in told.items():
        if isinstance(value, tuple) and value and isinstance(value[0], dict):
            for entry in value:
                line = "  ".join(f"{field} {item}" for field, item in entry.items())
                typer.echo(f"{key:{width}}  {line}")
        elif isinstance(value, tuple):
            typer.echo(f"{key:{width}}  {', '.join(map(str, value)) or 'none'}")
        else:
            typer.echo(f"{key:{width}}  {value}")


@data_app.command()
def fetch(name: Name, *, data_root: DataRoot = None) -> None:
    """Download a data set into the data root, check it and unpack it; an interrupt does no harm."""
    from harness.data.fetch import fetch as get

    with downloads() as progress:
        fetched = get(name, data_root, progress=progress)
    if not fetched.archives:
        typer.echo(f"{name} is there already: nothing needs to be fetched")
    for path in fetched.archives:
        typer.echo(f"{path}: as published")
    for note in fetched.provenance_notes:
        typer.echo(f"note: {note}", err=True)


@data_app.command()
def verify(
    name: Name,
    *,
    data_root: DataRoot = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Every file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read every file; say what differs, and how many do not. Exit code 1 if any differs."""
    from harness.data.catalogue import load
    from harness.data.verify import Tally
    from harness.data.verify import verify as check

    tally = Tally(data_root)
    for finding in check(name, data_root):
        tally.add(finding)
        if as_json:
            typer.echo(json.dumps(vars(finding)))
        elif verbose or not finding.ok:
            verdict = "ok   " if finding.ok else "WRONG"
            typer.echo(
                f"{verdict} {finding.path}\n      expected {finding.expected}\n"
                f"      found    {finding.found}"
            )
        sys.stdout.flush()
    if not as_json:
        for line in tally.lines():
            typer.echo(line)
        for note in load(name).provenance(data_root).notes if not tally.wrong.total() else ():
            typer.echo(f"note: {note}", err=True)
    if tally.wrong.total():
        raise typer.Exit(Exit.SOME_FAILED)


@data_app.command()
def preview(
    name: Name,
    *,
    data_root: DataRoot = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The PNG; default NAME.png here. Of text, a text file; default none."),
    ] = None,
    timesteps: Annotated[int, typer.Option(help="Frames to cut events into.")] = 4,
    predictions: Annotated[
        Path | None,
        typer.Option(help="A cell's predictions.npz: draw its tracker's boxes, in red."),
    ] = None,
) -> None:
    """Show what a person can judge: a contact sheet, or a video's labels and features over time.

    Of text, sentences of each class and their tokens are printed instead.
    """
    from harness.contracts.inputs import Tokens
    from harness.data.catalogue import load
    from harness.data.preview import predicted, readable, sheet

    dataset = load(name)
    if isinstance(dataset.card.input, Tokens):
        if predictions is not None:
            raise SpecError(f"{name} is text; --predictions draws a tracker's boxes")
        _print(readable(dataset, data_root), out)
        return
    path = out or Path(f"{name}.png")
    theirs = None if predictions is None else predicted(predictions)
    page = sheet(dataset, data_root, timesteps=timesteps, theirs=theirs)
    try:
        page.save(path, format="PNG")
    except OSError as error:
        raise _unwritable(path, error) from error
    typer.echo(f"{name}: {page.width}x{page.height} pixels -> {path}")


def _print(lines: Iterable[str], path: Path | None) -> None:
    content = "\n".join(lines)
    if path is None:
        typer.echo(content)
        return
    try:
        path.write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error
    typer.echo(f"sentences and tokens -> {path}")


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be written: {error}; choose another --out")
