"""The processes of a cell that has several devices, one each.

The cell's own process is the first of them: it alone reports, writes and measures. The others
are started by torch's multiprocessing as its children, so they end with it and its warden.
They do all that it does until the training is over. Imported where a cell has several devices.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessContext, ProcessException, start_processes

from harness.contracts.errors import UnsupportedError
from harness.engine.jobs import Conditions, Order
from harness.training.several import LostError, Several

_SILENT = timedelta(minutes=10)  # a disk may be slow for one of them
_GRACE_S = 60.0  # for a step whose end notices that another is gone
_REASON_S = 10.0
_started: Any = start_processes  # torch leaves it untyped
_store: Any = partial(vars(dist)["TCPStore"], "127.0.0.1", timeout=_SILENT)  # its stub names none


@contextmanager
def together(order: Order, /) -> Iterator[Several]:
    """Start the other processes of a cell; yield the team once all are there.

    Raises:
        LostError: If one of them ends before its time; says why.
    """
    conditions = order.conditions
    store = _store(0, is_master=True, wait_for_workers=False)
    others = _started(_follow, (order, store.port), nprocs=conditions.devices - 1, join=False)
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(others, over), daemon=True)
    try:
        _await(others, store)
        watch.start()
        with _joined(conditions, store, rank=0) as team:
            yield team
            over.set()
    except LostError as error:
        raise LostError(_why(others, error)) from error
    finally:
        _end(others, over)
        if watch.is_alive():
            watch.join()


def device_of(conditions: Conditions, rank: int, /) -> torch.device:
    """Return the device of one process of a cell: those of GPUs follow each other."""
    first = torch.device(conditions.device)
    return first if first.type == "cpu" else torch.device(first.type, (first.index or 0) + rank)


def _follow(index: int, order: Order, port: int) -> None:
    """Train along, in a process of its own."""
    from harness.engine import cell

    store = _store(port)
    store.set(_here(index), "")
    try:
        with _joined(order.conditions, store, rank=index + 1) as team:
            cell.follow(order, team, device_of(order.conditions, index + 1))
    except (LostError, UnsupportedError):
        return  # the first of them knows as much, or asks who else ended


@contextmanager
def _joined(conditions: Conditions, store: Any, *, rank: int) -> Iterator[Several]:
    device = device_of(conditions, rank)
    on_gpu = device.type != "cpu"
    with torch.cuda.device(device) if on_gpu else nullcontext():
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=conditions.devices,
            timeout=_SILENT,
            device_id=device if on_gpu else None,
        )
        try:
            yield Several()
        finally:
            dist.destroy_process_group()


def _here(index: int) -> str:
    return f"here/{index}"


def _await(others: ProcessContext, store: Any) -> None:
    """Wait until all have begun; LostError if one does not."""
    until_s = time.monotonic() + _SILENT.total_seconds()
    while not store.check([_here(index) for index in range(len(others.processes))]):
        if wait(list(others.sentinels), timeout=0.02) or time.monotonic() > until_s:
            raise LostError("it did not begin")


def _watch(others: ProcessContext, over: threading.Event) -> None:
    """End this process where another is gone and a GPU waits for it for ever."""
    wait(list(others.sentinels))
    if not over.wait(_GRACE_S):
        print(_why(others, LostError("it is gone")), flush=True)  # noqa: T201  the log
        os._exit(1)


def _why(others: ProcessContext, error: LostError) -> str:
    """Return which process ended, and of what, or what is known instead."""
    try:
        until_s = time.monotonic() + _REASON_S
        while time.monotonic() < until_s and not others.join(timeout=0.1, grace_period=0.1):
            pass
    except ProcessException as failure:
        print(failure.msg)  # noqa: T201  the log
        which = f"device {failure.error_index + 2} of {len(others.processes) + 1}"
        return f"{which} is lost: {failure.msg.strip().splitlines()[-1]}"
    return str(error)


def _end(others: ProcessContext, over: threading.Event) -> None:
    """Let those end that are done, and no other go on."""
    until_s = time.monotonic() + (_REASON_S if over.is_set() else 0.0)
    over.set()
    for process in others.processes:
        process.join(max(0.0, until_s - time.monotonic()))
        process.kill()
        process.join()
    for path in others.error_files:
        Path(path).unlink(missing_ok=True)
