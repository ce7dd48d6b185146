"""Twelve cells in one run, eight of them bad: every status is right, and nothing is left."""

import ctypes
import multiprocessing.forkserver
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from harness.contracts.recipe import Recipe
from harness.contracts.row import Row
from harness.engine import cell as real
from harness.engine import processes, worker
from harness.engine.jobs import Conditions, Order
from harness.engine.resolve import opened, resolve
from harness.engine.scheduler import CellEnded, conduct
from harness.engine.train import train
from harness.store import Store
from tests.engine.test_runs import METRICS, Send, _cells, _conducted, _row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc")

LIMIT_S, GRACE_S = 15.0, 1.0
PIDS = "SNN_DISTILL_TEST_PIDS"
Act = Callable[[Order], Row]


def _raise(_order: Order) -> NoReturn:
    raise RuntimeError("planned")


def _abort(_order: Order) -> NoReturn:
    os.abort()


def _hang(_order: Order) -> NoReturn:
    """Sleep in C, with the interpreter's lock, and hear nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(600)
    raise AssertionError


def _exit(_order: Order) -> NoReturn:
    os._exit(3)


def _leave_a_grandchild(order: Order) -> Row:
    if not os.fork():
        os.setsid()
        if not os.fork():
            _note()
            time.sleep(600)
        os._exit(0)
    return _row(order)


def _flood(order: Order) -> Row:
    block = bytes(2**22)
    for _ in range(2**30 // len(block)):
        os.write(1, block)
    return _row(order)


def _diverge(order: Order) -> Row:
    """Train for real, with a learning rate that leaves the finite numbers."""
    recipe = Recipe(epochs=1, batch_size=32, train_samples=128, learning_rate=1e30)
    found = resolve(replace(order.cell, teacher=None, recipe=recipe))
    train(found, opened("digits", None, 1), None, torch.device("cpu"), lambda _: None)
    return _row(order)


def _swell(_order: Order) -> NoReturn:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))
    held = []
    while True:
        held.append(torch.empty(2**24))


ACTS: tuple[tuple[Act, str, str], ...] = (
    *((_row, "ok", "") for _ in range(4)),
    (_raise, "failed", "RuntimeError: planned"),
    (_abort, "failed", "killed by SIGABRT; see the log"),
    (_hang, "timeout", "raise --timeout or lower the recipe"),
    (_exit, "failed", "exited with code 3"),
    (_leave_a_grandchild, "ok", ""),
    (_flood, "ok", ""),
    (_diverge, "diverged", ""),
    (_swell, "oom", "can't allocate memory"),
)


def _note() -> None:
    with Path(os.environ[PIDS]).open("a") as file:
        file.write(f"{os.getpid()}\n")


def acting(pids: Path, order: Order, send: Send) -> bool:
    """Run a cell as the engine does, but for what it computes; ``pids`` is told by whom."""
    os.environ[PIDS] = str(pids)  # not in the store, which another machine does not share
    _note()
    real.run = lambda order, _report: ACTS[order.cell.seed][0](order)
    return worker.work_on_cell(order, send)


def hold_twelve_to_their_ends(runs: Path, *, spare_s: float, **options: Any) -> None:
    """Run the twelve; each ends as it deserves, and nothing is left.

    All of it takes no longer than the cells and ``spare_s``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "work_on_cell", partial(acting, runs / "pids.txt"))
        begun_s = time.monotonic()
        ends = _conducted(_cells(len(ACTS)), runs, timeout_s=LIMIT_S, **options)
        seconds = time.monotonic() - begun_s
    rows = {end.cell.seed: end.row for end in ends}
    assert {seed: row.status for seed, row in rows.items()} == {
        seed: status for seed, (_, status, _) in enumerate(ACTS)
    }
    for seed, (act, status, words) in enumerate(ACTS):
        assert words in str(rows[seed].error), act
        assert rows[seed] == Store(runs).load(rows[seed].cell)
        assert rows[seed].metrics == (METRICS if status == "ok" else None)
    pids = [int(line) for line in (runs / "pids.txt").read_text().split()]
    assert len(pids) > len(ACTS), "the grandchild and what was run again are among them"
    assert not _parents().keys() & set(pids)
    logs = [runs / str(row.provenance.log_path) for row in rows.values()]
    assert all(log.stat().st_size <= processes._LOG_BYTES for log in logs)
    # Only the one that hangs may take its time; others do the rest meanwhile.
    slowest_s = max(end.seconds for end in ends if end.row.status != "timeout")
    assert seconds < LIMIT_S + spare_s + len(ACTS) * slowest_s


def _parents() -> dict[int, int]:
    """Return the parent of every process of this machine."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return parents


def test_of_twelve_cells_each_ends_as_it_deserves_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", GRACE_S)
    hold_twelve_to_their_ends(tmp_path, slots=3, spare_s=GRACE_S)
    server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # there is no public name
    assert server not in _parents().values()


def doing_nothing(order: Order, send: Send) -> bool:
    with pytest.MonkeyPatch.context() as patch:  # so that its process is used again
        patch.setattr(real, "run", lambda order, _report: _row(order))
        return worker.work_on_cell(order, send)


def test_a_cell_costs_little_more_than_its_own_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work_on_cell", doing_nothing)
    conditions = Conditions(runs=tmp_path, data_root=None)
    ended_s = [
        time.monotonic()
        for event in conduct(_cells(25), conditions, slots=1, timeout_s=60)
        if isinstance(event, CellEnded)
    ]
    between_s = sorted(after - before for before, after in pairwise(ended_s))
    # A quarter of them, since others may use this machine, too.
    assert between_s[len(between_s) // 4] < 0.150
