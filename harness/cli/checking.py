"""The verbs that hold students, rows and simulators to what they should be."""

import json
import math
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness import discovery
from harness.cli import simulators
from harness.cli.interrupts import interrupted, interruptible
from harness.cli.options import (
    RESULTS,
    RUNS,
    AsJson,
    BackendName,
    CellId,
    DataRoot,
    Device,
    Exit,
    Names,
    Numbers,
    Out,
    Results,
    SuiteName,
    Timeout,
    conditions_of,
)
from harness.cli.parsing import axes_of, limit_of, require_device, require_positive, slots_of
from harness.cli.standings import require_data
from harness.contracts.errors import StoreError, UnsupportedError
from harness.contracts.neuron import NeuronSpec

if TYPE_CHECKING:
    from harness.contracts.backend import Backend
    from harness.engine.reverify import Verification


def probe(
    suite: SuiteName,
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
    axes = axes_of([asked.baseline], timesteps, None, backends, models, None)
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
        half, by = one.half_width, one.scale.factor
        spread = "one seed" if half is None else f"seeds ± {by * half:.2f}"
        moved = f"{by * (one.now - one.then):+.2f} {one.scale.points}"
        print(f"{one.cell_id} {one.label}: {moved} ({spread})")
    for label, before, after in found.status:
        print(f"{label}: {before}, now {after}")
    if found.only_then or found.only_now:
        print(f"{found.only_then} cells only in {then}, {found.only_now} only in {now}")


def reproduce(
    cell_id: CellId,
    *,
    device: Device = "cpu",
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Run the very cell of a known row again and say whether its numbers come out."""
    from harness.engine.reproduce import reproduce as run_again
    from harness.engine.show import known

    row = known(cell_id, runs=out, published=results)
    require_device(device)
    require_data([row.cell], data_root)
    simulators.require([row.cell.backend])
    threads, deterministic = row.provenance.threads or 1, row.provenance.deterministic is not False
    conditions = conditions_of(device, data_root, out, deterministic=deterministic, threads=threads)
    found = run_again(row, conditions, timeout_s=limit_of(timeout))
    then, now = (one.metrics.score if one.metrics else None for one in (row, found.now))
    if as_json:
        told = {"cell_id": row.cell_id, "likeness": found.likeness, "words": found.words}
        print(json.dumps(told | {"then": then, "now": now}))
    else:
        scored = row.metrics or found.now.metrics
        said = f"score {then}, here {now}" if scored else row.status
        print(f"{row.cell.label}: {found.likeness}; {said}", found.words)
    if found.likeness == "different":
        raise typer.Exit(Exit.SOME_FAILED)


def reverify(
    suite: SuiteName,
    *,
    data_root: DataRoot = None,
    out: Out = RUNS,
    results: Results = RESULTS,
    jobs: Annotated[int | None, typer.Option(help="Canaries at once; default one a core.")] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            help="So many rows, evenly over all, whether their code moved or not; default those "
            "whose code moved. (`verify --samples` counts test samples of each row.)"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that moved code still means the same: compute canaries, not cells, again.

    Proofs are noted beside the rows they are about. Exit code 1 if a row stays stale: its
    canary came out otherwise, or there is none to compare; 3 if no code moved.
    """
    from harness.engine import reverify as engine

    slots = slots_of(jobs, "cpu")
    require_positive("--sample", math.inf if sample is None else sample)
    rows = engine.suspects(suite, out, results, sample=sample)
    if not rows:
        print(
            f"nothing to do: no code of {suite} moved", file=sys.stderr if as_json else sys.stdout
        )
        raise typer.Exit(Exit.NOTHING_TO_DO)
    require_data([row.cell for row in rows if not engine.no_code_for(row.cell)], data_root)
    outcomes: Counter[str] = Counter()
    happenings = engine.note(rows, out, results, data_root, slots=slots)
    try:
        with interruptible(), closing(happenings):
            for found in happenings:
                outcomes[found.outcome] += 1
                _tell_verification(found, as_json=as_json)
    except KeyboardInterrupt as error:
        raise interrupted(error, "proofs are kept") from None
    if not as_json:
        counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        print(f"{len(rows)} canaries: {counted}")
    if outcomes.keys() - {"same"}:
        raise typer.Exit(Exit.SOME_FAILED)


def _tell_verification(found: "Verification", *, as_json: bool) -> None:
    if as_json:
        told = {"cell_id": found.row.cell_id, "outcome": found.outcome, "words": found.words}
        print(json.dumps(told))
    elif found.outcome != "same":
        print(f"{found.outcome:10} {found.row.cell_id} {found.row.cell.label}: {found.words}")


def conform(backend: BackendName, *, as_json: AsJson = False) -> None:
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


def _load_backend(name: str) -> "Backend":
    try:
        return cast("Backend", discovery.load("backends", name))
    except ModuleNotFoundError as error:
        raise StoreError(f"the simulator {name} is not installed: {error}") from error
