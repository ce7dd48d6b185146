"""The options that several verbs have, and what the shell is told at the end."""

import shlex
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from harness.engine.jobs import Conditions

RUNS, RESULTS = Path("runs"), Path("results")

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="One of `list suites`.")]
CellId = Annotated[
    str,
    typer.Argument(metavar="CELL", help="Its identity, as `plan` lists it, or how that begins."),
]
BackendName = Annotated[str, typer.Argument(metavar="BACKEND", help="One of `list backends`.")]
Names = Annotated[list[str] | None, typer.Option(help="Names; comma-separated or repeated.")]
Numbers = Annotated[
    list[str] | None, typer.Option(help="Whole numbers; comma-separated or repeated.")
]
Start = Annotated[
    Literal["teacher"] | None,
    typer.Option("--start", help="teacher: give students its weights first, whatever the method."),
]
RecipeName = Annotated[str | None, typer.Option(help="One of the suite's recipes.")]
DataRoot = Annotated[
    Path | None, typer.Option(envvar="SNN_DISTILL_DATA", help="Where data sets lie.")
]
Out = Annotated[Path, typer.Option(help="The folder of runs; `bundle` calls it --runs.")]
Runs = Annotated[Path, typer.Option(help="The folder of runs; other verbs call it --out.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value a line, for machines.")]
Results = Annotated[Path, typer.Option(help="Where rows and leaderboards are published.")]
Untuned = Annotated[
    bool, typer.Option(help="The suite's learning rate and the methods' defaults, not the tuned.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="An axis of one method: logit_kd.weight=1,2. Repeatable."),
]

Devices = Annotated[
    list[str] | None, typer.Option(help="Several GPUs, as cuda:0,cuda:1; instead of --device.")
]
Jobs = Annotated[
    str | None,
    typer.Option(
        help="Cells at once, on all devices; default one a core, or one a GPU. auto: as many "
        "as a GPU's memory holds, by what rows of their kind needed."
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        help="What a cell may take, as 90s, 14m, 2h or seconds; default: as long as it likes, but "
        "not two hours without anything new."
    ),
]
Box = Annotated[
    str | None,
    typer.Option("--for", help="End in such a time, as 90s, 14m or 2h; go on another time."),
]
CheckpointEvery = Annotated[
    str, typer.Option(help="How much training may be lost to a kill, as 30s or 2m.")
]


class Exit(IntEnum):
    """What the shell is told."""

    DONE = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    NOTHING_TO_DO = 3


def conditions_of(
    device: str, data_root: Path | None, out: Path, *, deterministic: bool, threads: int
) -> "Conditions":
    """Return where cells run, and the command that was given."""
    from harness.engine.jobs import Conditions

    return Conditions(
        runs=out.resolve(),
        data_root=data_root,
        device=device,
        threads=threads,
        deterministic=deterministic,
        command=shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
    )
