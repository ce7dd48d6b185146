"""One cell, start to end: data in, row out. Runs in the cell's own process."""

import hashlib
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from harness.contracts.cell import TeacherIdentity
from harness.contracts.dataset import Splits
from harness.contracts.errors import HarnessError, StoreError, TeacherError
from harness.contracts.method import Progress
from harness.contracts.row import Canary, Metrics, Provenance, Row
from harness.engine.answers import answers_of
from harness.engine.canary import canary_of
from harness.engine.checkpoints import followed, keeping
from harness.engine.jobs import Conditions, Order
from harness.engine.measure import Measured, TeacherVerdict, measure, quality
from harness.engine.provenance import provenance
from harness.engine.resolve import Resolved, opened_for, resolve
from harness.engine.scoring import arrays_in
from harness.engine.teachers import WEIGHTS, cell_of, verified_weights
from harness.engine.train import Trained, train
from harness.evaluation.evaluate import evaluate
from harness.store import PREDICTIONS, Store, write_bytes
from harness.training.checkpoint import Keeper
from harness.training.lesson import Teacher, computing
from harness.training.team import ALONE, Team


@contextmanager
def prepared(conditions: Conditions) -> Iterator[None]:
    """Set threads and determinism of this process while a cell runs."""
    deterministic: Any = torch.utils.deterministic  # its stub knows no fill_uninitialized_memory
    threads, filled = torch.get_num_threads(), deterministic.fill_uninitialized_memory
    refused = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(conditions.threads)
    torch.use_deterministic_algorithms(conditions.deterministic, warn_only=False)
    # Deterministic mode would fill all fresh memory, and nothing here reads memory unwritten.
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(refused)
        deterministic.fill_uninitialized_memory = filled


def run(order: Order, report: Callable[[Progress], None]) -> Row:
    """Train, evaluate and measure one cell; return its row.

    Raises:
        UnsupportedError: If simulator, model or method cannot mean it.
        DivergedError: If the loss leaves the finite numbers.
        DataError: If the data is missing or damaged.
        StoreError: If its teacher is not ready, or is another than its row says.
    """
    with _current(torch.device(order.conditions.device)), prepared(order.conditions):
        with computing(order.cell.recipe.precision):
            row = _run(order, report)
        return replace(row, canary=_canary(order)) if order.cell.judged == "test" else row


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one: events, random states and graphs are of that."""
    return nullcontext() if device.type == "cpu" else torch.cuda.device(device)


def _run(order: Order, report: Callable[[Progress], None]) -> Row:
    started = datetime.now(UTC)
    cell, conditions = order.cell, order.conditions
    device = torch.device(conditions.device)
    with _team(order) as team:
        taught = _taught(order, team, device, report)
    found, splits, trained = taught.found, taught.splits, taught.trained
    spent: dict[str, Any] = {
        "train_seconds": trained.seconds + (trained.spared_s or 0.0),
        "spared_seconds": trained.spared_s,
        "train_samples": trained.account.samples[""],
        "extra_samples": {to: n for to, n in trained.account.samples.items() if to},
    }
    made = partial(
        provenance,
        order,
        started=started,
        backend_version=found.backend.version if found.backend else None,
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        teacher_sha256=taught.teacher_sha256,
        teacher_note=taught.teacher_note,
        step=trained.account.step,
    )
    if cell.judged == "validation":  # a trial: test data is not looked at
        shown = (splits.validation, trained.presentation, device, cell.recipe.precision)
        verdict = evaluate(trained.student, *shown, task=found.task)
        metrics = Metrics(**quality(verdict), **spent, peak_memory_bytes=_peak_memory_bytes(device))
        return Row(cell=cell, status="ok", metrics=metrics, provenance=made())
    measured = measure(found, trained, splits.test, splits.validation, taught.reference)
    weights = keep(Store(conditions.runs).folder(cell), trained.student.network, measured)
    return Row(
        cell=cell,
        status="ok",
        metrics=Metrics(
            **measured.metrics,
            **measured.running.speed(),
            **spent,
            peak_memory_bytes=_peak_memory_bytes(device),
        ),
        ledger=measured.ledger.summed(),
        provenance=made(weights_sha256=weights),
    )


@dataclass(frozen=True, kw_only=True)
class _Taught:
    """A cell whose lesson is spent."""

    found: Resolved
    splits: Splits[Any]
    trained: Trained
    reference: TeacherVerdict | None
    teacher_sha256: str | None
    teacher_note: str | None


def _taught(
    order: Order, team: Team, device: torch.device, report: Callable[[Progress], None]
) -> _Taught:
    """Do what every device of a cell does."""
    cell, conditions = order.cell, order.conditions
    found = resolve(cell)
    splits = opened_for(cell, conditions.data_root)
    teacher = reference = teacher_sha256 = note = answers = None
    if cell.teacher is not None:
        store = Store(conditions.runs)
        try:
            teacher, reference, made = teacher_of(store, cell.teacher, cell.model, device)
        except TeacherError as error:
            if found.uses_teacher:
                raise
            note = str(error)  # nothing is held against a teacher that is none
        else:
            teacher_sha256, note = str(made.weights_sha256), made.teacher_note
            if found.teacher_stays and team.size == 1:  # else the bits may be others
                answers = answers_of(order, cell.teacher, teacher_sha256, device)
    given: dict[str, Any] = {"answers": answers, "team": team}
    taught_by = teacher if found.uses_teacher else None
    with _keeping(order, teacher_sha256, device, team) as keeper:
        trained = train(found, splits, taught_by, device, report, keeper=keeper, **given)
    return _Taught(
        found=found,
        splits=splits,
        trained=trained,
        reference=reference,
        teacher_sha256=teacher_sha256,
        teacher_note=note,
    )


def follow(order: Order, team: Team, device: torch.device, /) -> None:
    """Train as another process of the cell does, which is the one that reports and writes."""
    with prepared(order.conditions), computing(order.cell.recipe.precision):
        _taught(order, team, device, lambda _: None)


def _team(order: Order) -> AbstractContextManager[Team]:
    if order.conditions.devices == 1:
        return nullcontext(ALONE)
    from harness.engine.siblings import together

    return together(order)


def _keeping(
    order: Order, teacher_sha256: str | None, device: torch.device, team: Team
) -> AbstractContextManager[Keeper]:
    if team.rank:
        return nullcontext(followed(order, teacher_sha256, device))
    return keeping(order, teacher_sha256, device)


def teacher_of(
    store: Store, identity: TeacherIdentity, student: str, device: torch.device, /
) -> tuple[Teacher, TeacherVerdict, Provenance]:
    """Return a stored teacher, frozen, what it answers, and where it is from.

    Raises:
        TeacherError: If it ended without weights.
        StoreError: If it is not ready, or a file holds other weights or no predictions.
    """
    cell = cell_of(identity)
    row, path = verified_weights(store, cell)
    decided = arrays_in(store.folder(cell) / PREDICTIONS, row) or {}
    if "predictions" not in decided:
        raise StoreError(
            f"{store.folder(cell)} has no predictions of the {cell.label}; delete it and make the "
            "teacher again"
        )
    found = resolve(cell)
    network = found.student(device).network
    network.load_state_dict(load_file(path, device=str(device)))
    network.requires_grad_(requires_grad=False)
    mean, std = row.provenance.normalisation or found.card.normalisation
    assert row.metrics is not None
    return (
        Teacher(network=network.eval(), mean=mean, std=std),
        TeacherVerdict(
            score=row.metrics.score,
            predictions=decided["predictions"][-1],
            same_topology=cell.model == student,
        ),
        row.provenance,
    )


def keep(folder: Path, network: nn.Module, measured: Measured) -> str:
    """Write what metrics can be computed from again; return the hash of the weights' file."""
    decided, verdict = BytesIO(), measured.verdict
    units: dict[str, Any] = {} if verdict.groups is None else {"groups": verdict.groups}
    np.savez_compressed(decided, predictions=verdict.predictions, labels=verdict.labels, **units)
    weights = weights_of(network)
    write_bytes(folder / PREDICTIONS, decided.getvalue())
    write_bytes(folder / WEIGHTS, weights)
    return hashlib.sha256(weights).hexdigest()


def weights_of(network: nn.Module) -> bytes:
    """Return the state of a network as a file holds it."""
    return save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})


def _canary(order: Order) -> Canary | None:
    """Return the cell's canary, or None, with the reason in the log, where there can be none."""
    torch.set_num_threads(1)
    try:
        return canary_of(order.cell, order.conditions.data_root)
    except HarnessError as error:
        print(f"no canary: {error}")  # noqa: T201  into the cell's log
        return None


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    # Linux counts KiB, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
