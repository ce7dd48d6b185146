"""Teachers first, then cells: every due cell becomes a row. Imports no torch."""

import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.contracts.method import Progress
from harness.contracts.record import Cell, Row, Status
from harness.engine import worker
from harness.engine.jobs import Conditions, Order, TeacherOrder
from harness.engine.processes import End, Job, News, run_jobs
from harness.engine.rows import without_numbers
from harness.engine.teachers import record, teacher_id
from harness.store import Store


@dataclass(frozen=True, kw_only=True)
class Started:
    """A job reports for the first time, or again.

    Attributes:
        name: Of the cell or teacher.
        progress: How far it is.
    """

    name: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class TeacherReady:
    """A teacher has been trained, or could not be."""

    name: str
    ok: bool
    seconds: float
    log_path: Path


@dataclass(frozen=True, kw_only=True)
class CellEnded:
    """A cell has become a row."""

    cell: Cell
    row: Row
    seconds: float


Event = Started | TeacherReady | CellEnded


def name_of(cell: Cell) -> str:
    """Return what people call a cell."""
    return f"{cell.method} {cell.model} {cell.backend} T={cell.timesteps} seed={cell.seed}"


def conduct(
    cells: Sequence[Cell], conditions: Conditions, /, *, slots: int, timeout_s: float
) -> Generator[Event]:
    """Run ``cells``, training the teachers they lack, and yield what happens."""
    store = Store(conditions.runs)
    missing = {
        teacher_id(cell.teacher): cell.teacher
        for cell in cells
        if cell.teacher and record(store, cell.teacher) is None
    }
    teachers = [
        Job(
            name=f"teacher {identity['model']}",
            work=worker.work_on_teacher,
            argument=TeacherOrder(identity=identity, conditions=conditions),
            log_path=_log_path(store.teacher_folder(folder)),
        )
        for folder, identity in missing.items()
    ]
    for happening in run_jobs(teachers, slots=slots, timeout_s=timeout_s):
        if isinstance(happening, News):
            yield Started(name=happening.job.name, progress=happening.value)
        else:
            yield TeacherReady(
                name=happening.job.name,
                ok=happening.ending == "done",
                seconds=happening.seconds,
                log_path=happening.job.log_path,
            )
    orders = [
        Order(cell=cell, conditions=conditions, log_path=_log_path(store.folder(cell)))
        for cell in cells
    ]
    jobs = [
        Job(
            name=name_of(order.cell),
            work=worker.work_on_cell,
            argument=order,
            log_path=order.log_path,
        )
        for order in orders
    ]
    for happening in run_jobs(jobs, slots=slots, timeout_s=timeout_s):
        if isinstance(happening, News):
            yield Started(name=happening.job.name, progress=happening.value)
        else:
            yield _ended(happening, store)


def _ended(end: End, store: Store) -> CellEnded:
    """Return the row of a job that ended, writing it if the job could not."""
    order: Order = end.job.argument
    row = store.load(order.cell)
    mine = str(order.log_path.relative_to(order.conditions.runs))
    if row is None or row.provenance.log_path != mine:
        status, error = _death(end)
        row = without_numbers(order, status=status, error=error, started=datetime.now(UTC))
        store.save(order.cell, row)
    return CellEnded(cell=order.cell, row=row, seconds=end.seconds)


def _death(end: End) -> tuple[Status, str]:
    if end.ending == "timeout":
        return "timeout", f"stopped after {end.seconds:.0f} s; raise --timeout or lower the recipe"
    code = end.exit_code or 0
    if code == -signal.SIGKILL:
        return "oom", "killed by the system, most likely for want of memory; lower --jobs"
    if code < 0:
        return "failed", f"killed by {signal.Signals(-code).name}; see the log"
    return "failed", f"the process exited with code {code} without a row; see the log"


def _log_path(folder: Path) -> Path:
    return folder / f"log-{time.time_ns()}.txt"
