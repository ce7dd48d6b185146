"""What runs in a job's own process: any ending of a cell becomes a row.

The fork server preloads this module, so it imports nothing that computes.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts.errors import DivergedError, HarnessError, UnsupportedError
from harness.contracts.method import Progress
from harness.contracts.row import Row, Status
from harness.engine.freshness import remember
from harness.engine.jobs import Order
from harness.engine.provenance import without_numbers
from harness.store import Store

if TYPE_CHECKING:
    from harness.engine.reverify import Verification


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
    store = Store(order.conditions.runs)
    remember(store, order.cell)
    store.save(row)


def work_on_canaries(
    argument: tuple[Sequence[Row], Path | None], send: Callable[[Verification], None]
) -> None:
    """Compute the canaries of some rows anew; send what comes of each."""
    import torch

    from harness.engine.reverify import Verification, verify

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    rows, data_root = argument
    for row in rows:
        try:
            send(verify(row, data_root))
        except Exception as error:  # noqa: BLE001  code that fails does not mean what it meant
            traceback.print_exc()
            send(Verification(row=row, outcome="moved", words=describe(error)[1]))


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
