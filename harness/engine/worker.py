"""What runs in a job's own process: any ending of a cell becomes a row.

The fork server preloads this module, so it imports nothing that computes.
"""

import traceback
from collections.abc import Callable
from datetime import UTC, datetime

from harness.contracts.errors import DivergedError, HarnessError, UnsupportedError
from harness.contracts.method import Progress
from harness.contracts.record import Status
from harness.engine.jobs import Order, TeacherOrder
from harness.engine.rows import without_numbers
from harness.store import Store


def work_on_cell(order: Order, send: Callable[[Progress], None]) -> None:
    """Run one cell and save its row, whatever happens."""
    started = datetime.now(UTC)
    try:
        from harness.engine import cell

        row = cell.run(order, send)
    except BaseException as error:  # noqa: BLE001  the one place: an exception becomes a row
        traceback.print_exc()
        status, words = describe(error)
        row = without_numbers(order, status=status, error=words, started=started)
    Store(order.conditions.runs).save(order.cell, row)


def work_on_teacher(order: TeacherOrder, send: Callable[[Progress], None]) -> None:
    """Train one teacher and store it; what goes wrong ends the process."""
    from harness.engine import teaching

    teaching.train(order, send)


def describe(error: BaseException) -> tuple[Status, str]:
    """Return the status of a cell that ended with ``error``, and the words for it."""
    words = str(error) or type(error).__name__
    if isinstance(error, UnsupportedError):
        return "skipped", words
    if isinstance(error, DivergedError):
        return "diverged", words
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return "oom", words.splitlines()[0]
    if isinstance(error, HarnessError):
        return "failed", words
    return "failed", f"{type(error).__name__}: {words.splitlines()[0]}"


def _is_out_of_memory(error: BaseException) -> bool:
    # torch raises OutOfMemoryError on CUDA and a plain RuntimeError on the processor.
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    )
