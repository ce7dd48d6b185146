"""The verbs that plan and run cells, and tune them."""

import gc
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness import discovery
from harness.cli import simulators
from harness.cli.interrupts import interrupted, interruptible
from harness.cli.options import (
    RESULTS,
    RUNS,
    AsJson,
    Box,
    CheckpointEvery,
    DataRoot,
    Device,
    Devices,
    Exit,
    Jobs,
    Names,
    Numbers,
    Out,
    RecipeName,
    Results,
    Sets,
    Start,
    SuiteName,
    Timeout,
    Untuned,
    conditions_of,
)
from harness.cli.parsing import (
    axes_of,
    devices_of,
    first_of_each,
    limit_of,
    require_device,
    require_positive,
    seconds_of,
    slots_of,
    statuses_of,
)
from harness.cli.publishing import tell_results
from harness.cli.standings import (
    ahead_in_words,
    due_teachers,
    ended_so,
    forecast_of,
    left_out,
    needs_in_words,
    no_data_for,
    one_line,
    partly_in_words,
    parts_of,
    published_in,
    require_data,
    standings_of,
    summary,
    tell_overruled,
)
from harness.contracts.errors import SpecError, StoreError

if TYPE_CHECKING:
    from harness.contracts.cell import Cell
    from harness.engine.engines import Engine, RunJobs
    from harness.engine.forecast import Forecast
    from harness.engine.freshness import Standing
    from harness.engine.jobs import Conditions
    from harness.engine.places import Places
    from harness.engine.tune import Search
    from harness.results import Published


def plan(  # noqa: PLR0913  one option a filter
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
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Say of every cell: fresh, published, missing, stale (and what moved), failed or damaged.

    Of those that are due, and in words of the teachers that they need first, also which part is
    done, how long they will take on such a device, and what they need of a GPU's memory, where
    rows of their kind tell. Exit code 1 if a row cannot be read.
    """
    gc.disable()  # as in ``report``
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
    left_out(suite, axes)
    if words := simulators.missing(axes.backends or ()):
        print(words, file=sys.stderr)
    known = published_in(suite, results)
    tell_overruled(suite, axes, known)
    standings = standings_of(suite, axes, known, data_root, out, results)
    due = [one.cell for one in standings if one.is_due]
    if words := no_data_for(due, data_root):
        print(words, file=sys.stderr)
    first = [] if as_json else _teachers_of(due, data_root, out, results)
    forecast = forecast_of(known, standings) if due else None
    begun = parts_of([*(one.cell for one in first), *due], out)
    ahead, lines = list[float | None](), []
    for one in (*first, *standings):
        unmeant = _unmeant(one.cell.method, one.cell.dataset) if one.is_due else ""
        known_of = forecast if one.is_due and not unmeant else None
        part = begun.get(one.cell.cell_id, 0.0)
        seconds = known_of.seconds(one.cell, device) if known_of else None
        seconds = None if seconds is None else (1 - part) * seconds
        gpu_bytes = known_of.gpu_bytes(one.cell, device) if known_of else None
        ahead += [seconds] if known_of else []
        if as_json:
            told = {"cell_id": one.cell.cell_id, "state": one.state, "why": one.why}
            needs = {"seconds": seconds, "gpu_bytes": gpu_bytes, "part": part, "trust": one.trust}
            lines.append(json.dumps(told | needs | json.loads(one.cell.identity())))
        else:
            level = one.trust if one.trust in ("claimed", "verified") else ""
            needed = needs_in_words(seconds, gpu_bytes)
            if unmeant:
                needed = f"to be skipped: {unmeant}"
            done = f"{100 * part:.0f} % done" if part else ""
            words = "; ".join(filter(None, (level, one_line(one.why), done, needed)))
            lines.append(f"{one.state:9} {one.cell.cell_id} {one.cell.label}  {words}")
    if not as_json:
        lines.append(summary(standings, first) + ahead_in_words(ahead, device))
    print(*lines, sep="\n", end="\n" * bool(lines))
    if known.damaged or any(one.state == "damaged" for one in standings):
        raise typer.Exit(Exit.SOME_FAILED)


def _teachers_of(
    due: "Sequence[Cell]", data_root: Path | None, out: Path, results: Path
) -> "list[Standing]":
    """Return how the teachers stand that are trained first; say which has to be imported."""
    try:
        return due_teachers(due, data_root, out, results)
    except StoreError as error:
        print(error, file=sys.stderr)
        return []


@lru_cache
def _unmeant(method: str, dataset: str) -> str:
    from harness.engine.meaning import unmeant

    return unmeant(method, dataset)


def run(  # noqa: PLR0913  one option a filter
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
    device: Device = "cpu",
    devices: Devices = None,
    gpus_per_cell: Annotated[
        int,
        typer.Option(help="So many GPUs share each batch of a cell; with --device cpu, processes."),
    ] = 1,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Jobs = None,
    threads: Annotated[
        int, typer.Option(help="Of each cell; more round float32 sums in another order.")
    ] = 1,
    timeout: Timeout = None,
    box: Box = None,
    shard: Annotated[
        str | None, typer.Option(help="1/4 to 4/4: a quarter of the cells, on each machine one.")
    ] = None,
    checkpoint_every: CheckpointEvery = "2m",
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
        shard=shard,
    )
    until_s = time.monotonic() + seconds_of("--for", box)
    checkpoint_s = seconds_of("--checkpoint-every", checkpoint_every)
    timeout_s = limit_of(timeout)
    require_positive("--threads", threads)
    require_positive("--gpus-per-cell", gpus_per_cell)
    if engine != "local" and gpus_per_cell > 1:
        raise SpecError(f"--gpus-per-cell is for --engine local, got --engine {engine}")
    asked = first_of_each(devices_of(device, devices), gpus_per_cell)
    slots = slots_of(jobs, asked[0], devices=len(asked), together=gpus_per_cell)
    if engine != "local" and jobs is None:
        slots = sys.maxsize  # the engine knows how much room there is
    retried = statuses_of(retry)
    place = _place(engine, address, asked[0], threads=threads, gpu_share=gpu_share)
    incomplete = left_out(suite, axes)
    known = published_in(suite, results)
    tell_overruled(suite, axes, known)
    standings = standings_of(suite, axes, known, data_root, out, results, trust=not again)

    def tried_again(one: "Standing") -> bool:
        return one.has_failed and (retry_failed or ended_so(one, retried))

    due = [one.cell for one in standings if one.is_due or tried_again(one)]
    left = [one for one in standings if one.has_failed and one.cell not in due]
    failures = 0
    if due:
        if engine == "local":  # else other machines have devices and data
            _require_here(due, asked, data_root, together=gpus_per_cell)
        simulators.require(cell.backend for cell in due)
        conditions = conditions_of(
            asked[0], data_root, out, deterministic=deterministic, threads=threads
        )
        conditions = replace(conditions, checkpoint_s=checkpoint_s, devices=gpus_per_cell)
        first = due_teachers(due, data_root, out, results, tried_again=tried_again)
        cells = [*(one.cell for one in first), *due]
        forecast = forecast_of(known, standings)
        with place as run_jobs:
            failures = _conduct(
                cells,
                conditions,
                slots,
                timeout_s,
                until_s=until_s,
                places=_places(
                    asked, forecast, out, packed=jobs == "auto", decides=engine == "local"
                ),
                forecast=forecast,
                run_jobs=run_jobs,
                as_json=as_json,
            )
        after = standings_of(suite, axes, known, data_root, out, results, trust=not again)
        failures += _tell_undone(after, cells, out)
        if not as_json:
            tell_results(after)
        _tell_agreement(known, [one.cell for one in standings], out, as_json=as_json)
    else:
        print(f"nothing to do: {summary(standings)}", file=sys.stderr if as_json else sys.stdout)
    if left:
        print(
            f"{len(left)} cells failed before and were left alone; --retry-failed runs them, "
            "--retry timeout those that ran into their limit",
            file=sys.stderr,
        )
    if failures or left or incomplete:
        raise typer.Exit(Exit.SOME_FAILED)
    if not due:
        raise typer.Exit(Exit.NOTHING_TO_DO)


def tune(  # noqa: PLR0913  one option a filter
    suite: SuiteName,
    *,
    trials: Annotated[
        int | None,
        typer.Option(help="Points of every method, 1 to 8; default as others had, or 8."),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Seeds of each point, whose best mean is chosen; default as others had, or 1."
        ),
    ] = None,
    methods: Names = None,
    timesteps: Numbers = None,
    backends: Names = None,
    models: Names = None,
    recipe: RecipeName = None,
    device: Device = "cpu",
    devices: Devices = None,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Jobs = None,
    timeout: Timeout = None,
    box: Box = None,
    checkpoint_every: CheckpointEvery = "2m",
    as_json: AsJson = False,
) -> None:
    """Search learning rate and loss weight, as much for every method, on validation data.

    The choice is frozen in results/SUITE/tuning.jsonl with its trials; `plan` and `run`
    go by it from then on. A search that was cut short goes on with the same command.
    """
    from harness.engine import freshness, proofs
    from harness.engine import tune as engine
    from harness.results import Published, freeze, published, tunings
    from harness.store import Store, changing

    axes = axes_of(methods, timesteps, None, backends, models, recipe)
    until_s = time.monotonic() + seconds_of("--for", box)
    checkpoint_s = seconds_of("--checkpoint-every", checkpoint_every)
    timeout_s = limit_of(timeout)
    asked = devices_of(device, devices)
    slots = slots_of(jobs, asked[0], devices=len(asked))
    store, known = Store(out), published(suite, results=results)
    incomplete = left_out(suite, axes)
    found = engine.searches(suite, axes, store, known, trials=trials, repeats=repeats)

    def stand() -> "list[Standing]":
        trials = [cell for search in found for cell in search.cells]
        proven = proofs.read(results, out)
        return freshness.standings(trials, store, Published(), proven, data_root=data_root)

    standings = stand()
    due = [one.cell for one in standings if one.is_due]
    forecast = forecast_of(known, standings)
    _tell_search(found, due, forecast, asked[0])
    failures, undone = 0, set()
    if due:
        _require_here(due, asked, data_root)
        simulators.require(cell.backend for cell in due)
        conditions = conditions_of(asked[0], data_root, out, deterministic=True, threads=1)
        first = due_teachers(due, data_root, out, results)
        cells = [*(one.cell for one in first), *due]
        failures = _conduct(
            cells,
            replace(conditions, checkpoint_s=checkpoint_s),
            slots,
            timeout_s,
            until_s=until_s,
            places=_places(asked, forecast, out, packed=jobs == "auto"),
            forecast=forecast,
            as_json=as_json,
        )
        after = stand()
        failures += _tell_undone(after, cells, out)
        # A row that is there all the same is of other code than the rest of its search.
        undone = {one.cell.cell_id for one in after if one.is_due}
    choices = [
        choice
        for search in found
        if undone.isdisjoint(cell.cell_id for cell in search.cells)
        and (choice := engine.chosen(search, store))
    ]
    frozen = ""
    if choices:
        with changing(results):  # others may have frozen theirs meanwhile
            before = tunings(suite, results=results)
            frozen = f" -> {freeze(suite, engine.frozen(before, choices), results=results)}"
    at_ends = sum(choice.end is not None for choice in choices)
    told = f", {at_ends} at an end of the learning rates tried" if at_ends else ""
    print(f"{len(choices)} choices{told}{frozen}", file=sys.stderr)
    if failures or incomplete:
        raise typer.Exit(Exit.SOME_FAILED)


def _require_here(
    due: "Sequence[Cell]", devices: tuple[str, ...], data_root: Path | None, *, together: int = 1
) -> None:
    """Refuse once what every cell would fail for."""
    for each in devices:
        require_device(each, together)
    require_data(due, data_root)


def _places(
    devices: tuple[str, ...],
    forecast: "Forecast",
    out: Path,
    *,
    packed: bool,
    decides: bool = True,
) -> "Places":
    from harness.engine.places import Places, free_bytes

    if not packed:
        return Places(devices=devices, decides=decides)
    room = free_bytes(devices, out / "memory.txt")
    return Places(devices=devices, room=room, need=forecast.gpu_bytes, decides=decides)


def _place(
    engine: str, address: str | None, device: str, *, threads: int, gpu_share: float
) -> "AbstractContextManager[RunJobs]":
    """Return what is entered to run cells where they are wanted."""
    from harness.engine.engines import Place

    if not 0 < gpu_share <= 1:
        raise SpecError(f"--gpu-share must be in (0, 1], got {gpu_share!r}; 1 is a whole GPU")
    found = cast("Engine", discovery.load("engines", engine))
    return found.opened(Place(address=address, device=device, threads=threads, gpu_share=gpu_share))


def _conduct(  # noqa: PLR0913  what the options of a run come to
    due: "Sequence[Cell]",
    conditions: "Conditions",
    slots: int,
    timeout_s: float | None,
    *,
    as_json: bool,
    until_s: float,
    places: "Places",
    forecast: "Forecast",
    run_jobs: "RunJobs | None" = None,
) -> int:
    """Run ``due`` and tell what happens; return how many failed."""
    from harness.engine import processes
    from harness.engine.forecast import Outlook
    from harness.engine.progress import tell
    from harness.engine.scheduler import conduct

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
        with interruptible(), closing(happenings):
            return tell(happenings, cells=len(due), as_json=as_json, outlook=outlook)
    except KeyboardInterrupt as error:
        kept = f"finished cells are kept{partly_in_words(due, conditions.runs)}"
        raise interrupted(error, kept) from None


def _tell_undone(standings: "Sequence[Standing]", cells: "Sequence[Cell]", out: Path) -> int:
    """Say how far a run is that is not done; return how many cells are still due."""
    undone = sum(one.is_due for one in standings)
    if undone:
        failed = sum(one.has_failed for one in standings)
        done = f"{len(standings) - undone - failed} of {len(standings)} done"
        told = f"{done}{f', {failed} failed' if failed else ''}{partly_in_words(cells, out)}"
        print(f"{told} (resume with the same command)", file=sys.stderr)
    return undone


def _tell_search(
    found: "Sequence[Search]", due: "Sequence[Cell]", forecast: "Forecast", device: str
) -> None:
    """Say what a search will cost, by what rows of its kind took."""
    ahead = [forecast.seconds(cell, device) for cell in due]
    print(
        f"{len(found)} searches of {len(found[0].cells) if found else 0} trials; "
        f"{len(due)} trials to run{ahead_in_words(ahead, device)}",
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
