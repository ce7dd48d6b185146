"""What runs in a job's own process: any ending of a cell becomes a row.

The fork server preloads this module, so it imports nothing that computes.
"""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts.errors import (
    DataError,
    DivergedError,
    HarnessError,
    PlaceError,
    SpecError,
    StoreError,
    UnsupportedError,
)
from harness.contracts.method import Progress
from harness.contracts.row import Row, Status
from harness.engine.freshness import remember
from harness.engine.jobs import Order
from harness.engine.provenance import without_numbers
from harness.store import CHECKPOINT, Store

if TYPE_CHECKING:
    from harness.engine.reverify import Verification


_QUIET_S = 0.1
# After which a checkpoint is of no use: there are numbers, or there never will be.
_OVER = {"ok", "skipped", "diverged"}
_WORDS = 500  # of an error, in its row; the log has all
# Of the machine, whatever code met them.
_ERRNOS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE),
}
_NO_MEMORY = (
    "can't allocate memory",  # the processor's
    "CUDA error: out of memory",
    "[CUDA]: out of memory",
    "_STATUS_ALLOC_FAILED",
)
_NO_DEVICE = (
    "No CUDA GPUs are available",
    "Found no NVIDIA driver",
    "no CUDA-capable device",
    "CUDA-capable device(s) is/are busy or unavailable",
    "CUDA driver initialization failed",
    "CUDA unknown error",
    "invalid device ordinal",
    "not compiled with CUDA enabled",
    "uncorrectable ECC error",
)


def work_on_cell(order: Order, send: Callable[[Progress | Row], None]) -> bool:
    """Run one cell and save its row, whatever happens.

    A row of a failure of the machine is sent, not saved: it must not replace a good one, and
    the disk may be what failed; nor is one that says where a cell cannot run, for it may
    elsewhere. What was trained before a failure is kept: whoever runs the cell again goes on
    from there. Returns whether the cell ended as it would have anywhere.
    """
    started, stands = datetime.now(UTC), True
    try:
        from harness.engine import cell

        row = cell.run(order, _now_and_then(send))
    except BaseException as error:  # noqa: BLE001  the one place: an exception becomes a row
        with suppress(OSError):
            traceback.print_exc()
        status, words = describe(error)
        row = without_numbers(order, status=status, error=words, started=started)
        stands = status != "machine" and not isinstance(error, PlaceError)
    store = Store(order.conditions.runs)
    try:
        if stands:
            remember(store, order.cell)
            store.save(row)
            if row.status in _OVER:
                (store.folder(order.cell) / CHECKPOINT).unlink(missing_ok=True)
    except StoreError as error:
        row = without_numbers(order, status="machine", error=str(error), started=started)
        stands = False
    if not stands:
        send(row)
    return row.status not in {"failed", "oom", "machine"}


def _now_and_then(send: Callable[[Progress | Row], None]) -> Callable[[Progress], None]:
    """Return what sends on the first news and then some: each wakes the parent.

    Sent is what the parent can read, whatever class of its own a method yields.
    """
    spoken_s = -_QUIET_S

    def report(progress: Progress) -> None:
        nonlocal spoken_s
        if not isinstance(progress, Progress):
            raise SpecError(f"a method must yield Progress, got {type(progress).__name__}")
        if (now := time.monotonic()) - spoken_s >= _QUIET_S:
            spoken_s = now
            samples, budget = int(progress.samples), int(progress.budget)
            send(Progress(samples=samples, budget=budget, loss=float(progress.loss)))

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
    # A lone surrogate, as of a file's name, no row can hold.
    words = (str(error) or type(error).__name__).encode(errors="backslashreplace").decode()
    if _is_of_the_machine(error):
        return "machine", _line(words)
    if isinstance(error, UnsupportedError):
        return "skipped", words
    if isinstance(error, DivergedError):
        return "diverged", words
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return "oom", _line(words)
    if isinstance(error, HarnessError):
        return "failed", words
    return "failed", f"{type(error).__name__}: {_line(words)}"


def _line(words: str) -> str:
    return (words.splitlines() or [""])[0][:_WORDS]


def _is_of_the_machine(error: BaseException | None) -> bool:
    if isinstance(error, OSError):
        refused = isinstance(error, StoreError | DataError) or error.errno in _ERRNOS
        return refused or _is_of_the_machine(error.__cause__)
    return isinstance(error, RuntimeError | AssertionError) and any(
        words in str(error) for words in _NO_DEVICE
    )


def _is_out_of_memory(error: BaseException) -> bool:
    # torch has an error of its own where its allocator asks, and for drivers and libraries words.
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in _NO_MEMORY)
    )
