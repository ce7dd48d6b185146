"""What runs in a job's own process: any ending of a cell becomes a row.

The fork server preloads this module, so it imports nothing that computes.
"""

from __future__ import annotations

import time
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


_QUIET_S = 0.1


def work_on_cell(order: Order, send: Callable[[Progress], None]) -> bool:
    """Run one cell and save its row, whatever happens.

    Returns whether it ended as it would have anywhere.
    """
    started = datetime.now(UTC)
    try:
        from harness.engine import cell

        row = cell.run(order, _now_and_then(send))
    except BaseException as error:  # noqa: BLE001  the one place: an exception becomes a row
        traceback.print_exc()
        status, words = describe(error)
        row = without_numbers(order, status=status, error=words, started=started)
    store = Store(order.conditions.runs)
    remember(store, order.cell)
    store.save(row)
    return row.status not in {"failed", "oom"}


def _now_and_then(send: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Return what sends on the first news and then some: each wakes the parent."""
    spoken_s = -_QUIET_S

    def report(progress: Progress) -> None:
        nonlocal spoken_s
        if (now := time.monotonic()) - spoken_s >= _QUIET_S:
            spoken_s = now
            send(progress)

    return report


def work_on_canaries(
    argument: tuple[Sequence[Row], Path | None], send: Callable[[Verification], None]
) -> bool:
    """Compute the canaries of some rows anew; send what comes of each. All goes well."""
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
    return True


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
