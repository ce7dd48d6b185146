"""Every due cell becomes a row. Imports no torch."""

import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.method import Progress
from harness.contracts.row import Row, Status
from harness.engine import worker
from harness.engine.jobs import Conditions, Order
from harness.engine.processes import End, Job, News, run_jobs
from harness.engine.provenance import without_numbers
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
class CellEnded:
    """A cell has become a row."""

    cell: Cell
    row: Row
    seconds: float


Event = Started | CellEnded


def conduct(
    cells: Sequence[Cell], conditions: Conditions, /, *, slots: int, timeout_s: float
) -> Generator[Event]:
    """Run ``cells`` in order and yield what happens; teachers are cells, and come first."""
    store = Store(conditions.runs)
    teachers = [cell for cell in cells if cell.suite == TEACHERS]
    for part in (teachers, [cell for cell in cells if cell.suite != TEACHERS]):
        jobs = [_job(cell, conditions, store) for cell in part]
        for happening in run_jobs(jobs, slots=slots, timeout_s=timeout_s):
            if isinstance(happening, News):
                yield Started(name=happening.job.name, progress=happening.value)
            else:
                yield _ended(happening, store)


def _job(cell: Cell, conditions: Conditions, store: Store) -> Job:
    # Its name tells attempts apart.
    log_path = store.folder(cell) / f"log-{time.time_ns()}.txt"
    order = Order(cell=cell, conditions=conditions, log_path=log_path)
    return Job(name=cell.label, work=worker.work_on_cell, argument=order, log_path=log_path)


def _ended(end: End, store: Store) -> CellEnded:
    """Return the row of a job that ended, writing it if the job could not."""
    order: Order = end.job.argument
    row = store.load(order.cell)
    mine = str(order.log_path.relative_to(order.conditions.runs))
    if row is None or row.provenance.log_path != mine:
        status, error = _death(end)
        row = without_numbers(order, status=status, error=error, started=datetime.now(UTC))
        store.save(row)
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
