"""The command line: ``python -m harness VERB``.

Exit codes: 0 done, 1 some cells failed, 2 bad input, 3 nothing to do. Whatever a verb
needs beyond names is imported in its own function: help, ``list`` and ``plan`` must not
wait for torch.
"""

import json
import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness import discovery
from harness.cli.data import data_app
from harness.contracts.errors import HarnessError, SpecError, StoreError, UnsupportedError
from harness.contracts.neuron import NeuronSpec

if TYPE_CHECKING:
    from harness.contracts.backend import Backend
    from harness.contracts.record import Cell
    from harness.engine.freshness import Standing
    from harness.engine.grid import Axes
    from harness.engine.jobs import Conditions

app = typer.Typer(
    help="Measure methods that distil artificial into spiking networks, on any simulator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
teacher_app = typer.Typer(help="Teachers from elsewhere.", no_args_is_help=True)
app.add_typer(teacher_app, name="teacher")
app.add_typer(data_app, name="data")


class Exit(IntEnum):
    """What the shell is told."""

    DONE = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    NOTHING_TO_DO = 3


Names = Annotated[list[str] | None, typer.Option(help="Names; comma-separated or repeated.")]
Numbers = Annotated[
    list[str] | None, typer.Option(help="Whole numbers; comma-separated or repeated.")
]
RecipeName = Annotated[str | None, typer.Option(help="One of the suite's recipes.")]
DataRoot = Annotated[
    Path | None, typer.Option(envvar="SNN_DISTILL_DATA", help="Where data sets lie.")
]
Out = Annotated[Path, typer.Option(help="Where runs are kept.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value a line, for machines.")]
RUNS = Path("runs")


@app.command("list")
def list_plugins(
    kind: Annotated[str | None, typer.Argument(help=", ".join(discovery.KINDS))] = None,
    *,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="`list methods` as a page, costs from results/.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List suites, methods, models, data sets and simulators."""
    if as_markdown:
        if kind != "methods":
            raise SpecError(f"--markdown is for `list methods`, got {kind!r}")
        from harness.report.methods import page

        print(page(Path("results")), end="")
        return
    found = {str(each): list(discovery.names(each)) for each in discovery.KINDS}
    if kind is not None:
        if kind not in found:
            raise SpecError(f"there is no kind {kind!r}; there are: {', '.join(found)}")
        found = {kind: found[kind]}
    if as_json:
        print(json.dumps(found))
        return
    for each, names in found.items():
        print(f"{each}: {', '.join(names)}")


@app.command()
def plan(  # noqa: PLR0913  one option a filter
    suite: str,
    *,
    methods: Names = None,
    timesteps: Numbers = None,
    seeds: Numbers = None,
    backends: Names = None,
    models: Names = None,
    recipe: RecipeName = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Say of every cell whether it is fresh, missing, stale (and what moved) or failed."""
    axes = _axes(methods, timesteps, seeds, backends, models, recipe)
    standings = _standings(suite, axes, data_root, out)
    for one in standings:
        if as_json:
            told = {"cell_id": one.cell.cell_id, "state": one.state, "why": one.why}
            print(json.dumps(told | one.cell.columns()))
        else:
            print(f"{one.state:8} {one.cell.cell_id} {_name(one.cell)}", one.why, sep="  ")
    if not as_json:
        print(_summary(standings))


@app.command()
def run(  # noqa: PLR0913  one option a filter
    suite: str,
    *,
    methods: Names = None,
    timesteps: Numbers = None,
    seeds: Numbers = None,
    backends: Names = None,
    models: Names = None,
    recipe: RecipeName = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    jobs: Annotated[
        int | None, typer.Option(help="Cells at once; default one a core, or one a GPU.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a cell may take.")] = 7200.0,
    retry_failed: Annotated[bool, typer.Option(help="Run failed cells again.")] = False,
    deterministic: Annotated[bool, typer.Option(help="Refuse kernels that vary.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run every cell that is missing or stale; finished ones are kept."""
    axes = _axes(methods, timesteps, seeds, backends, models, recipe)
    _require_positive("--timeout", timeout)
    standings = _standings(suite, axes, data_root, out)
    due = [one.cell for one in standings if one.is_due or (retry_failed and one.has_failed)]
    left = [one for one in standings if one.has_failed and one.cell not in due]
    if due:
        slots = jobs or (1 if device.startswith("cuda") else os.cpu_count() or 1)
        _require_positive("--jobs", slots)
        conditions = _conditions(device, data_root, out, slots, deterministic=deterministic)
        failures = _conduct(due, conditions, slots, timeout, as_json=as_json)
    else:
        failures = 0
        print(f"nothing to do: {_summary(standings)}", file=sys.stderr if as_json else sys.stdout)
    if left:
        print(
            f"{len(left)} cells failed before and were left alone; --retry-failed runs them",
            file=sys.stderr,
        )
    if failures or left:
        raise typer.Exit(Exit.SOME_FAILED)
    if not due:
        raise typer.Exit(Exit.NOTHING_TO_DO)


@app.command()
def report(
    suite: str,
    *,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Annotated[Path, typer.Option(help="Where leaderboards are published.")] = Path(
        "results"
    ),
    as_json: AsJson = False,
) -> None:
    """Write the leaderboard of a suite, and the rows behind it, from finished cells."""
    from harness.engine.publish import publish

    published = publish(suite, runs=out, results=results, data_root=data_root)
    if published.rows == 0:
        print(f"nothing to do: {out} holds no rows of {suite}; run the suite first")
        raise typer.Exit(Exit.NOTHING_TO_DO)
    for warning in published.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps({"rows": published.rows, "files": [str(f) for f in published.files]}))
    else:
        print(f"{published.rows} rows -> {', '.join(str(file) for file in published.files)}")


@app.command()
def show(name: str, *, out: Out = RUNS, as_json: AsJson = False) -> None:
    """Show one cell (by its identity), or what a plug-in says of itself."""
    from harness.engine.show import about

    told = about(name, runs=out)
    if as_json:
        print(json.dumps(told))
        return
    width = max(len(key) for key in told)
    for key, value in told.items():
        print(f"{key:{width}}  {value if isinstance(value, str) else json.dumps(value)}")


@app.command()
def conform(backend: str, *, as_json: AsJson = False) -> None:
    """Hold one simulator to the laws every simulator must obey; print the errors measured."""
    from harness.neurons.conformance import conform as hold
    from harness.neurons.conformance import deviations_of

    simulator = _load_backend(backend)
    outcomes = hold(simulator, deviations=deviations_of(backend))
    if not any(outcome.cases for outcome in outcomes):
        raise UnsupportedError(
            f"{backend} could be held to no law: {simulator.unsupported(NeuronSpec())}"
        )
    for outcome in outcomes:
        if as_json:
            print(json.dumps(outcome.columns()))
        else:
            print(outcome.line())
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(Exit.SOME_FAILED)


@teacher_app.command("import")
def import_teacher(
    file: Path,
    *,
    model: Annotated[str, typer.Option(help="Its topology, one of the models.")],
    dataset: Annotated[str, typer.Option(help="What it was trained on.")],
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    as_json: AsJson = False,
) -> None:
    """Evaluate a published PyTorch checkpoint (weights only) and keep it as a teacher."""
    discovery.module_of("models", model)
    discovery.module_of("datasets", dataset)
    from harness.engine.teaching import import_checkpoint

    threads = os.cpu_count() or 1
    conditions = _conditions(device, data_root, out, 1, deterministic=False, threads=threads)
    found = import_checkpoint(file, model=model, dataset=dataset, conditions=conditions)
    if as_json:
        print(json.dumps({"test_accuracy": found.accuracy, "folder": str(found.folder)}))
    else:
        print(
            f"{model} on {dataset}: {100 * found.accuracy:.2f} % of {found.n_test} test samples, "
            f"with the normalisation of {found.normalisation}; kept in {found.folder}"
        )


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    try:
        app()
    except (HarnessError, BrokenPipeError) as error:
        if isinstance(error, BrokenPipeError):  # `harness list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(Exit.DONE)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(Exit.BAD_INPUT)


def _axes(
    methods: list[str] | None,
    timesteps: list[str] | None,
    seeds: list[str] | None,
    backends: list[str] | None,
    models: list[str] | None,
    recipe: str | None,
) -> "Axes":
    from harness.engine.grid import Axes

    return Axes(
        methods=_split(methods),
        timesteps=_numbers(timesteps, "--timesteps"),
        seeds=_numbers(seeds, "--seeds"),
        backends=_split(backends),
        models=_split(models),
        recipe=recipe,
    )


def _split(texts: list[str] | None) -> tuple[str, ...] | None:
    if not texts:
        return None
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


def _numbers(texts: list[str] | None, option: str) -> tuple[int, ...] | None:
    parts = _split(texts)
    if parts is None:
        return None
    try:
        return tuple(int(part) for part in parts)
    except ValueError:
        raise SpecError(
            f"{option} takes whole numbers like 1,2,4, got {','.join(parts)!r}"
        ) from None


def _require_positive(option: str, value: float) -> None:
    if not value > 0:
        raise SpecError(f"{option} must be positive, got {value!r}")


def _standings(suite: str, axes: "Axes", data_root: Path | None, out: Path) -> "list[Standing]":
    from harness.engine import freshness, grid
    from harness.store import Store

    cells = grid.cells(suite, axes, runs=out)
    return freshness.standings(cells, Store(out), data_root=data_root)


def _conditions(
    device: str,
    data_root: Path | None,
    out: Path,
    slots: int,
    *,
    deterministic: bool,
    threads: int | None = None,
) -> "Conditions":
    from harness.engine.jobs import Conditions

    return Conditions(
        runs=out.resolve(),
        data_root=data_root,
        device=device,
        threads=threads or max(1, (os.cpu_count() or 1) // slots),
        deterministic=deterministic,
        command=shlex.join(["python", "-m", "harness", *sys.argv[1:]]),
    )


def _conduct(
    due: "Sequence[Cell]",
    conditions: "Conditions",
    slots: int,
    timeout_s: float,
    *,
    as_json: bool,
) -> int:
    """Run ``due`` and tell what happens; return how many failed."""
    from harness.engine.progress import tell
    from harness.engine.scheduler import conduct

    happenings = conduct(due, conditions, slots=slots, timeout_s=timeout_s)
    try:
        with closing(happenings):
            return tell(happenings, cells=len(due), as_json=as_json)
    except KeyboardInterrupt:
        print("\ninterrupted; finished cells are kept, the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None


def _load_backend(name: str) -> "Backend":
    try:
        return cast("Backend", discovery.load("backends", name))
    except ModuleNotFoundError as error:
        raise StoreError(f"the simulator {name} is not installed: {error}") from error


def _name(cell: "Cell") -> str:
    from harness.engine.scheduler import name_of

    return name_of(cell)


def _summary(standings: "Sequence[Standing]") -> str:
    counted = Counter(one.state for one in standings)
    return f"{len(standings)} cells: " + ", ".join(f"{n} {state}" for state, n in counted.items())
