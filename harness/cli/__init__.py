"""The command line: ``python -m harness VERB``.

Exit codes: 0 done, 1 some cells failed, 2 bad input, 3 nothing to do. Whatever a verb
needs beyond names is imported in its own function: help, ``list`` and ``plan`` must not
wait for torch.
"""

import gc
import json
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from harness import discovery
from harness.cli import bundles, simulators, teachers, watching
from harness.cli.boards import boards_app
from harness.cli.data import data_app
from harness.cli.exchange import export, import_app
from harness.cli.online import online
from harness.cli.options import (
    RESULTS,
    RUNS,
    AsJson,
    DataRoot,
    Device,
    Exit,
    Names,
    Numbers,
    Out,
    RecipeName,
    Results,
    Sets,
    Start,
    Untuned,
    conditions_of,
)
from harness.cli.publishing import publish, report, tell_results
from harness.contracts.errors import HarnessError, SpecError, StoreError, UnsupportedError
from harness.contracts.neuron import NeuronSpec

if TYPE_CHECKING:
    from harness.contracts.backend import Backend
    from harness.contracts.cell import Cell
    from harness.engine.engines import Engine, RunJobs
    from harness.engine.forecast import Forecast
    from harness.engine.freshness import Standing
    from harness.engine.grid import Axes
    from harness.engine.jobs import Conditions
    from harness.engine.places import Places
    from harness.engine.settings import Settings
    from harness.engine.tune import Search
    from harness.results import Published

app = typer.Typer(
    help="Measure methods that distil artificial into spiking networks, on any simulator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(teachers.teacher_app, name="teacher")
app.add_typer(data_app, name="data")
app.add_typer(boards_app)
app.command()(report)
app.command()(publish)
app.command()(watching.status)
app.command()(watching.logs)
app.command()(bundles.bundle)
app.command()(bundles.merge)
app.command()(bundles.verify)
app.add_typer(import_app, name="import")
app.command()(export)
app.command()(online)


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

        print(page(RESULTS), end="")
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
        print(f"{each}: {', '.join(simulators.listed() if each == 'backends' else names)}")


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
    untuned: Untuned = False,
    start: Start = None,
    sets: Sets = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Say of every cell: fresh, published, missing, stale (and what moved), failed or damaged.

    Of those that are due also how long they will take on such a device, and what they need of
    a GPU's memory, where rows of their kind tell. Exit code 1 if a row cannot be read.
    """
    gc.disable()  # as in ``report``
    axes = _axes(
        methods, timesteps, seeds, backends, models, recipe, as_chosen=not untuned, start=start
    )
    axes = replace(axes, settings=_settings(sets))
    _left_out(suite, axes)
    if words := simulators.missing(axes.backends or ()):
        print(words, file=sys.stderr)
    known = _published(suite, results)
    _tell_overruled(suite, axes, known)
    standings = _standings(suite, axes, known, data_root, out, results)
    due = any(one.is_due for one in standings)
    forecast = _forecast(known, standings) if due else None
    expected_s, lines = 0.0, []
    for one in standings:
        seconds = forecast.seconds(one.cell, device) if forecast and one.is_due else None
        gpu_bytes = forecast.gpu_bytes(one.cell, device) if forecast and one.is_due else None
        expected_s += seconds or 0.0
        if as_json:
            told = {"cell_id": one.cell.cell_id, "state": one.state, "why": one.why}
            needs = {"seconds": seconds, "gpu_bytes": gpu_bytes, "trust": one.trust}
            lines.append(json.dumps(told | needs | json.loads(one.cell.identity())))
        else:
            level = one.trust if one.trust in ("claimed", "verified") else ""
            words = "; ".join(filter(None, (level, one.why, _needs(seconds, gpu_bytes))))
            lines.append(f"{one.state:9} {one.cell.cell_id} {one.cell.label}  {words}")
    if not as_json:
        lines.append(_summary(standings) + _ahead(expected_s, device))
    print(*lines, sep="\n", end="\n" * bool(lines))
    if known.damaged or any(one.state == "damaged" for one in standings):
        raise typer.Exit(Exit.SOME_FAILED)


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
    untuned: Untuned = False,
    start: Start = None,
    sets: Sets = None,
    device: Device = "cpu",
    devices: Annotated[
        list[str] | None, typer.Option(help="Several GPUs, as cuda:0,cuda:1; instead of --device.")
    ] = None,
    gpus_per_cell: Annotated[
        int, typer.Option(help="GPUs that share each batch of a cell; on a cpu, processes.")
    ] = 1,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Annotated[
        str | None,
        typer.Option(
            help="Cells at once, on all devices; default one a core, or one a GPU. auto: as many "
            "as a GPU's memory holds, by what rows of their kind needed."
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(help="Of each cell; more round float32 sums in another order.")
    ] = 1,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a cell may take; default 7200, and no limit for a teacher."),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option("--for", help="End in such a time, as 90s, 14m or 2h; go on another time."),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="1/4 to 4/4: a quarter of the cells, on each machine one.")
    ] = None,
    checkpoint_every: Annotated[
        str, typer.Option(help="How much training may be lost to a kill, as 30s or 2m.")
    ] = "2m",
    engine: Annotated[str, typer.Option(help="local, or ray: the nodes of a cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of the cluster, HOST:PORT; default that of this machine.")
    ] = None,
    gpu_share: Annotated[
        float, typer.Option(help="The part of a GPU that a cell on a cluster is given.")
    ] = 1.0,
    again: Annotated[bool, typer.Option(help="Run what is published, too.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Run failed cells again.")] = False,
    retry: Annotated[
        list[str] | None,
        typer.Option(help="Run those again that ended so: timeout, oom, failed or diverged."),
    ] = None,
    deterministic: Annotated[bool, typer.Option(help="Refuse kernels that vary.")] = True,
    as_json: AsJson = False,
) -> None:
    """Run every cell that is missing or stale; finished and published ones are kept."""
    axes = _axes(
        methods, timesteps, seeds, backends, models, recipe, as_chosen=not untuned, start=start
    )
    until_s = time.monotonic() + _seconds("--for", box)
    checkpoint_s = _seconds("--checkpoint-every", checkpoint_every)
    axes = replace(axes, shard=_shard(shard), settings=_settings(sets))
    _require_positive("--timeout", math.inf if timeout is None else timeout)
    _require_positive("--threads", threads)
    _require_positive("--gpus-per-cell", gpus_per_cell)
    if engine != "local" and gpus_per_cell > 1:
        raise SpecError(f"--gpus-per-cell is for --engine local, got --engine {engine}")
    asked = _first_of_each(_devices(device, devices), gpus_per_cell)
    slots = _slots(jobs, asked[0], devices=len(asked), together=gpus_per_cell)
    if engine != "local" and jobs is None:
        slots = sys.maxsize  # the engine knows how much room there is
    retried = _statuses(retry)
    place = _place(engine, address, asked[0], threads=threads, gpu_share=gpu_share)
    left_out = _left_out(suite, axes)
    known = _published(suite, results)
    _tell_overruled(suite, axes, known)
    standings = _standings(suite, axes, known, data_root, out, results, trust=not again)
    due = [
        one.cell
        for one in standings
        if one.is_due or (one.has_failed and (retry_failed or _ended_so(one, retried)))
    ]
    left = [one for one in standings if one.has_failed and one.cell not in due]
    failures = 0
    if due:
        for each in asked if engine == "local" else ():
            _require_device(each, gpus_per_cell)
        simulators.require(cell.backend for cell in due)
        conditions = conditions_of(
            asked[0], data_root, out, deterministic=deterministic, threads=threads
        )
        conditions = replace(conditions, checkpoint_s=checkpoint_s, devices=gpus_per_cell)
        cells = [*_due_teachers(due, data_root, out, results), *due]
        forecast = _forecast(known, standings)
        with place as run_jobs:
            failures = _conduct(
                cells,
                conditions,
                slots,
                timeout,
                until_s=until_s,
                places=_places(
                    asked, forecast, out, packed=jobs == "auto", decides=engine == "local"
                ),
                forecast=forecast,
                run_jobs=run_jobs,
                as_json=as_json,
            )
        after = _standings(suite, axes, known, data_root, out, results, trust=not again)
        if undone := sum(one.is_due for one in after):
            failures += undone
            done = f"{len(after) - undone} of {len(after)} done"
            print(f"{done}{_partly(cells, out)} (resume with the same command)", file=sys.stderr)
        if not as_json:
            tell_results(after)
        _tell_agreement(known, [one.cell for one in standings], out, as_json=as_json)
    else:
        print(f"nothing to do: {_summary(standings)}", file=sys.stderr if as_json else sys.stdout)
    if left:
        print(
            f"{len(left)} cells failed before and were left alone; --retry-failed runs them, "
            "--retry timeout those that ran into their limit",
            file=sys.stderr,
        )
    if failures or left or left_out:
        raise typer.Exit(Exit.SOME_FAILED)
    if not due:
        raise typer.Exit(Exit.NOTHING_TO_DO)


@app.command()
def reverify(
    suite: str,
    *,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Annotated[int | None, typer.Option(help="Canaries at once; default one a core.")] = None,
    sample: Annotated[
        int | None, typer.Option(help="Only so many rows, whether their code moved or not.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that moved code still means the same: compute canaries, not cells, again.

    Proofs are noted beside the rows they are about. Exit code 1 if a canary came out
    otherwise, 3 if no code moved.
    """
    from harness.engine import reverify as engine

    slots = _slots(jobs, "cpu")
    rows = engine.suspects(suite, out, results, sample=sample)
    if not rows:
        print(
            f"nothing to do: no code of {suite} moved", file=sys.stderr if as_json else sys.stdout
        )
        raise typer.Exit(Exit.NOTHING_TO_DO)
    outcomes: Counter[str] = Counter()
    for found in engine.note(rows, out, results, data_root, slots=slots):
        outcomes[found.outcome] += 1
        if as_json:
            told = {"cell_id": found.row.cell_id, "outcome": found.outcome, "words": found.words}
            print(json.dumps(told))
        elif found.outcome != "same":
            print(f"{found.outcome:10} {found.row.cell_id} {found.row.cell.label}: {found.words}")
    if not as_json:
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        print(f"{len(rows)} canaries: {counted}")
    if outcomes.keys() & {"moved", "no verdict"}:
        raise typer.Exit(Exit.SOME_FAILED)


@app.command()
def tune(  # noqa: PLR0913  one option a filter
    suite: str,
    *,
    trials: Annotated[int, typer.Option(help="Of every method, 1 to 8.")] = 8,
    methods: Names = None,
    timesteps: Numbers = None,
    backends: Names = None,
    models: Names = None,
    recipe: RecipeName = None,
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Annotated[
        int | None, typer.Option(help="Trials at once; default one a core, or one a GPU.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds a trial may take; default 7200, and no limit for a teacher."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search learning rate and loss weight, as much for every method, on validation data.

    The choice is frozen in results/SUITE/tuning.jsonl with its trials; `plan` and `run`
    go by it from then on. A search that was cut short goes on with the same command.
    """
    from harness.engine import freshness, proofs
    from harness.engine import tune as engine
    from harness.results import Published, freeze, published
    from harness.store import Store

    axes = _axes(methods, timesteps, None, backends, models, recipe)
    store, known = Store(out), published(suite, results=results)
    found = engine.searches(suite, axes, store, known, trials=trials)
    standings = freshness.standings(
        [cell for search in found for cell in search.cells],
        store,
        Published(),
        proofs.read(results, out),
        data_root=data_root,
    )
    due = [one.cell for one in standings if one.is_due]
    forecast = _forecast(known, standings)
    _tell_search(found, due, forecast, device)
    failures = 0
    if due:
        slots = _slots(jobs, device)
        _require_device(device)
        simulators.require(cell.backend for cell in due)
        conditions = conditions_of(device, data_root, out, deterministic=True, threads=1)
        cells = [*_due_teachers(due, data_root, out, results), *due]
        failures = _conduct(cells, conditions, slots, timeout, as_json=as_json, forecast=forecast)
    choices = [engine.chosen(search, store) for search in found]
    path = freeze(suite, engine.frozen(known.tunings, filter(None, choices)), results=results)
    print(f"{sum(map(bool, choices))} choices -> {path}", file=sys.stderr)
    if failures:
        raise typer.Exit(Exit.SOME_FAILED)


@app.command()
def compare(
    then: Annotated[str, typer.Argument(help="A folder of runs or results, or a git revision.")],
    now: Annotated[str, typer.Argument(help="Another.")],
    *,
    suite: Annotated[str, typer.Option(help="Whose rows.")] = "digits",
    as_json: AsJson = False,
) -> None:
    """Say which cells of two sets of rows have equal numbers, and how far the others are."""
    from harness.engine.compare import compare as hold
    from harness.engine.compare import rows_of

    found = hold(rows_of(then, suite), rows_of(now, suite))
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(found)))
        return
    print(found.line(then))
    for one in found.differences:
        spread = "one seed" if one.half_width is None else f"seeds ± {100 * one.half_width:.2f}"
        points = 100 * (one.now - one.then)
        print(f"{one.cell_id} {one.label}: {points:+.2f} points ({spread})")
    for label, before, after in found.status:
        print(f"{label}: {before}, now {after}")
    if found.only_then or found.only_now:
        print(f"{found.only_then} cells only in {then}, {found.only_now} only in {now}")


@app.command()
def reproduce(
    cell_id: str,
    *,
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    timeout: Annotated[float, typer.Option(help="Seconds it may take.")] = 7200.0,
    as_json: AsJson = False,
) -> None:
    """Run the very cell of a known row again and say whether its numbers come out."""
    from harness.engine.reproduce import reproduce as run_again
    from harness.engine.show import find

    row = find(cell_id, runs=out, published=results)
    if row is None:
        raise SpecError(f"no row {cell_id!r} under {out} or {results}; `plan` lists them")
    threads, deterministic = row.provenance.threads or 1, row.provenance.deterministic is not False
    conditions = conditions_of(device, data_root, out, deterministic=deterministic, threads=threads)
    found = run_again(row, conditions, timeout_s=timeout)
    then, now = (one.metrics.score if one.metrics else None for one in (row, found.now))
    if as_json:
        told = {"cell_id": cell_id, "likeness": found.likeness, "words": found.words}
        print(json.dumps(told | {"then": then, "now": now}))
    else:
        print(f"{row.cell.label}: {found.likeness}; accuracy {then}, here {now}", found.words)
    if found.likeness == "different":
        raise typer.Exit(Exit.SOME_FAILED)


@app.command()
def show(
    name: str, *, out: Out = RUNS, results: Results = RESULTS, as_json: AsJson = False
) -> None:
    """Show one cell (by its identity), or what a plug-in says of itself."""
    from harness.engine.show import about

    told = about(name, runs=out, published=results)
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
    *,
    as_chosen: bool = True,
    start: Literal["teacher"] | None = None,
) -> "Axes":
    from harness.engine.grid import Axes

    return Axes(
        methods=_split(methods, "--methods"),
        timesteps=_numbers(timesteps, "--timesteps"),
        seeds=_numbers(seeds, "--seeds"),
        backends=_split(backends, "--backends"),
        models=_split(models, "--models"),
        recipe=recipe,
        as_chosen=as_chosen,
        start=start,
    )


def _split(texts: list[str] | None, option: str) -> tuple[str, ...] | None:
    if not texts:
        return None
    parts = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    if not parts:
        raise SpecError(f"{option} names none; name some, or leave it out for all")
    return parts


def _numbers(texts: list[str] | None, option: str) -> tuple[int, ...] | None:
    parts = _split(texts, option)
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
        raise SpecError(f"{option} must be positive, got {value!r}; leave it out for the default")


def _slots(jobs: str | int | None, device: str, *, devices: int = 1, together: int = 1) -> int:
    """Return how many cells run at once, on so many devices or of so many processes each."""
    cores = os.cpu_count() or 1
    if jobs is None:
        return devices if device.startswith("cuda") else max(1, cores // together)
    if jobs == "auto" and device.startswith("cuda"):
        return max(devices, cores)
    if not re.fullmatch("-?[0-9]+", str(jobs)):
        raise SpecError(f"--jobs takes a number, or auto on a GPU, got {jobs!r} for {device}")
    _require_positive("--jobs", int(jobs))
    return int(jobs)


def _devices(device: str, devices: list[str] | None) -> tuple[str, ...]:
    """Return where cells run; several devices are GPUs by number, each once."""
    several = _split(devices, "--devices")
    if several is None:
        return (device,)
    if len(set(several)) != len(several) or not all(
        re.fullmatch("cuda:[0-9]+", d) for d in several
    ):
        raise SpecError(f"--devices takes GPUs like cuda:0,cuda:1, got {','.join(several)!r}")
    return several


def _first_of_each(devices: tuple[str, ...], together: int) -> tuple[str, ...]:
    """Return the first GPU of each cell that has so many, one after the other."""
    if len(devices) == 1:
        return devices
    firsts = devices[::together]
    numbers = [int(first.partition(":")[2]) + more for first in firsts for more in range(together)]
    if devices != tuple(f"cuda:{number}" for number in numbers):
        raise SpecError(
            f"--gpus-per-cell {together} takes as many GPUs in a row for each cell, as "
            f"cuda:0,cuda:1 for two; got --devices {','.join(devices)}"
        )
    return firsts


def _places(
    devices: tuple[str, ...], forecast: "Forecast", out: Path, *, packed: bool, decides: bool
) -> "Places":
    from harness.engine.places import Places, free_bytes

    if not packed:
        return Places(devices=devices, decides=decides)
    room = free_bytes(devices, out / "memory.txt")
    return Places(devices=devices, room=room, need=forecast.gpu_bytes, decides=decides)


_RETRIED = ("timeout", "oom", "failed", "diverged")


def _statuses(retry: list[str] | None) -> tuple[str, ...]:
    asked = _split(retry, "--retry") or ()
    if unknown := [one for one in asked if one not in _RETRIED]:
        raise SpecError(f"--retry takes {', '.join(_RETRIED)}, got {unknown[0]!r}")
    return asked


def _ended_so(one: "Standing", statuses: tuple[str, ...]) -> bool:
    return one.row is not None and one.row.status in statuses


def _forecast(known: "Published", standings: "Sequence[Standing]") -> "Forecast":
    """Return what rows tell of times and memory: those made here first."""
    from harness.engine.forecast import Forecast

    here = [one.row for one in standings if one.row is not None and one.state != "published"]
    there = (*known.rows.values(), *known.teachers.values())
    return Forecast(here, otherwise=Forecast(there))


@lru_cache
def _needs(seconds: float | None, gpu_bytes: int | None) -> str:
    from harness.engine.forecast import in_words

    memory = f", {gpu_bytes / 2**30:.1f} GiB of a GPU" if gpu_bytes else ""
    return "" if seconds is None else f"about {in_words(seconds)}{memory}"


def _ahead(seconds: float, device: str) -> str:
    from harness.engine.forecast import in_words

    return f"; about {in_words(seconds)} of work on {device}, one at a time" if seconds else ""


def _partly(cells: "Sequence[Cell]", out: Path) -> str:
    """Return how many of ``cells`` have a checkpoint to go on from."""
    from harness.engine.partly import progress_of
    from harness.store import Store

    partly = sum(progress_of(Store(out), cell) is not None for cell in cells)
    return f", {partly} partly" if partly else ""


def _place(
    engine: str, address: str | None, device: str, *, threads: int, gpu_share: float
) -> "AbstractContextManager[RunJobs]":
    """Return what is entered to run cells where they are wanted."""
    from harness.engine.engines import Place

    if not 0 < gpu_share <= 1:
        raise SpecError(f"--gpu-share must be in (0, 1], got {gpu_share!r}; 1 is a whole GPU")
    found = cast("Engine", discovery.load("engines", engine))
    return found.opened(Place(address=address, device=device, threads=threads, gpu_share=gpu_share))


def _seconds(option: str, text: str | None) -> float:
    """Return what a duration like 14m is in seconds; without one, for ever."""
    if text is None:
        return math.inf
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text)
    if found is None:
        raise SpecError(f"{option} takes a time like 90s, 14m or 2h, got {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


def _settings(texts: list[str] | None) -> "Settings":
    from harness.engine.settings import settings_of

    return settings_of(texts or ())


def _shard(text: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text or "1/1")
    if found is None:
        raise SpecError(f"--shard takes one part of several like 1/4, got {text!r}")
    return int(found[1]), int(found[2])


def _require_device(device: str, together: int = 1) -> None:
    """Look once whether the device is there, before every cell fails for want of it."""
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", device):
        raise SpecError(f"--device must be cpu, cuda or cuda:N, got {device!r}")
    if device == "cpu":
        return
    from torch import cuda

    found, wanted = cuda.device_count(), int(device.partition(":")[2] or 0) + together
    if wanted > found:
        several = f" and {together - 1} more" if together > 1 else ""
        raise SpecError(
            f"--device {device}{several}: torch finds {found} GPUs here; --device cpu needs none"
        )


def _tell_overruled(suite: str, axes: "Axes", known: "Published") -> None:
    """Say which settings stand in the place of what tuning chose."""
    from harness.engine import grid

    for words in grid.overruled(suite, axes, known):
        print(f"set: {words}", file=sys.stderr)


def _left_out(suite: str, axes: "Axes") -> bool:
    """Say which methods cannot be asked, and return whether there is one."""
    from harness.engine import grid

    broken = grid.unreadable(suite, axes)
    for words in broken.values():
        print(f"left out: {words}", file=sys.stderr)
    return bool(broken)


def _published(suite: str, results: Path) -> "Published":
    """Return what is published, and say which of its lines are no rows."""
    from harness.results import published

    known = published(suite, results=results, strict=False)
    for line in known.damaged:
        print(f"damaged: {line}", file=sys.stderr)
    return known


def _standings(
    suite: str,
    axes: "Axes",
    known: "Published",
    data_root: Path | None,
    out: Path,
    results: Path,
    *,
    trust: bool = True,
) -> "list[Standing]":
    from harness.engine import freshness, grid, proofs
    from harness.results import Published
    from harness.store import Store

    store = Store(out)
    return freshness.standings(
        grid.cells(suite, axes, store, known),
        store,
        known if trust else Published(),
        proofs.read(results, out),
        data_root=data_root,
    )


def _due_teachers(
    due: "Sequence[Cell]", data_root: Path | None, out: Path, results: Path
) -> "list[Cell]":
    """Return the teachers of ``due`` that have to be trained first."""
    from harness.engine import freshness, proofs, teachers
    from harness.results import Published
    from harness.store import Store

    store = Store(out)
    identities = {cell.teacher for cell in due if cell.teacher}
    for identity in identities:
        if identity.recipe is None and not teachers.ready(store, teachers.cell_of(identity)):
            raise teachers.not_imported(identity.model, identity.dataset, store)
    cells = [teachers.cell_of(identity) for identity in identities if identity.recipe]
    found = freshness.standings(
        cells, store, Published(), proofs.read(results, out), data_root=data_root
    )
    return [one.cell for one in found if one.is_due or not teachers.ready(store, one.cell)]


@app.command()
def probe(
    suite: str,
    *,
    models: Names = None,
    timesteps: Numbers = None,
    backends: Names = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Ask before the first step what the students of a suite can learn from.

    The accuracy of a linear classifier on their untrained features, the cosine between the
    gradients of two batches, and the firing rates. Where the first is at chance, a short
    training tells no methods apart.
    """
    from harness.engine import grid
    from harness.engine.probing import probe_cell
    from harness.results import published
    from harness.store import Store

    asked = grid.load_suite(suite)
    axes = _axes([asked.baseline], timesteps, None, backends, models, None)
    axes = replace(axes, seeds=asked.seeds[:1])
    known = published(suite, results=results)
    for cell in grid.cells(suite, axes, Store(out), known):
        found = probe_cell(cell, data_root)
        low, high = found.linear_interval
        cosines = sorted(found.gradient_cosine.values())
        if as_json:
            from dataclasses import asdict

            print(json.dumps({"model": cell.model, "timesteps": cell.timesteps} | asdict(found)))
            continue
        verdict = "AT CHANCE" if found.at_chance else "above chance"
        print(
            f"{cell.model} {cell.backend} T={cell.timesteps}: linear probe "
            f"{100 * found.linear_accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f}; chance "
            f"{100 * found.chance:.1f}), {verdict}; gradient cosine "
            f"{cosines[len(cosines) // 2]:.2f} in the median of {len(cosines)} weights; spikes a "
            f"neuron and step: {', '.join(f'{rate:.2f}' for rate in found.firing_rate.values())}"
        )


def _tell_search(
    found: "Sequence[Search]", due: "Sequence[Cell]", forecast: "Forecast", device: str
) -> None:
    """Say what a search will cost, by what rows of its kind took."""
    expected_s = sum(forecast.seconds(cell, device) or 0.0 for cell in due)
    print(
        f"{len(found)} searches of {len(found[0].cells) if found else 0} trials; "
        f"{len(due)} trials to run{_ahead(expected_s, device)}",
        file=sys.stderr,
    )


def _tell_agreement(
    known: "Published", cells: "Sequence[Cell]", out: Path, *, as_json: bool
) -> None:
    """Say how what was made here agrees with what is published, if anything is."""
    from harness.engine.compare import compare as hold
    from harness.store import Store

    here = {}
    for cell in cells:
        with suppress(StoreError):  # `plan` and the standings before this run name it
            if (row := Store(out).load(cell)) is not None:
                here[cell.cell_id] = row
    found = hold(known.rows, here)
    if found.common:
        print(found.line("what is published"), file=sys.stderr if as_json else sys.stdout)


def _conduct(  # noqa: PLR0913  what the options of a run come to
    due: "Sequence[Cell]",
    conditions: "Conditions",
    slots: int,
    timeout_s: float | None,
    *,
    as_json: bool,
    until_s: float = math.inf,
    places: "Places | None" = None,
    forecast: "Forecast | None" = None,
    run_jobs: "RunJobs | None" = None,
) -> int:
    """Run ``due`` and tell what happens; return how many failed."""
    from harness.engine import processes
    from harness.engine.forecast import Forecast, Outlook
    from harness.engine.progress import tell
    from harness.engine.scheduler import conduct

    forecast = forecast or Forecast()
    happenings = conduct(
        due,
        conditions,
        slots=slots,
        timeout_s=timeout_s,
        until_s=until_s,
        places=places,
        forecast=forecast,
        run=run_jobs or processes.run_jobs,
    )
    expected_s = {cell.cell_id: forecast.seconds(cell, conditions.device) for cell in due}
    outlook = Outlook(expected_s, slots=slots)
    try:
        with closing(happenings):
            return tell(happenings, cells=len(due), as_json=as_json, outlook=outlook)
    except KeyboardInterrupt:
        kept = f"finished cells are kept{_partly(due, conditions.runs)}"
        print(f"\ninterrupted; {kept} (resume with the same command)", file=sys.stderr)
        raise typer.Exit(130) from None


def _load_backend(name: str) -> "Backend":
    try:
        return cast("Backend", discovery.load("backends", name))
    except ModuleNotFoundError as error:
        raise StoreError(f"the simulator {name} is not installed: {error}") from error


def _summary(standings: "Sequence[Standing]") -> str:
    counted = Counter(one.state for one in standings)
    return f"{len(standings)} cells: " + ", ".join(f"{n} {state}" for state, n in counted.items())
