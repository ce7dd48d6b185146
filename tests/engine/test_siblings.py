"""One cell in several processes gives the row that it gives in one, and ends with any of them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.parsing import first_of_each
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.contracts.method import Progress
from harness.contracts.row import Row
from harness.engine import cell, grid, siblings, worker
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.results import Published
from harness.store import CHECKPOINT, Store

STEPS, SAMPLES = 4, 64
Report = Callable[[Progress], None]


@pytest.fixture(scope="module")
def asked() -> Cell:
    """Return a trial of a real cell, shifts and float64 included, of two epochs."""
    axes = Axes(methods=("direct",), timesteps=(2,), seeds=(0,), backends=("norse",))
    found = grid.cells("digits", axes, Store(Path("nowhere")), Published())[0]
    shown = {"augmentation": ("shift",), "train_samples": STEPS // 2 * SAMPLES}
    short = replace(found.recipe, epochs=2, **shown)  # type: ignore[arg-type]  # fields of several types
    assert (short.batch_size, short.precision) == (SAMPLES, "float64")
    return replace(found, teacher=None, recipe=short, judged="validation")


def order(asked: Cell, runs: Path, **conditions: Any) -> Order:
    given = {"runs": runs, "data_root": None, "checkpoint_s": 0.0, "devices": 2} | conditions
    return Order(cell=asked, conditions=Conditions(**given), log_path=runs / "log-1.txt")


def told(given: Order) -> tuple[Row, list[Progress]]:
    progress: list[Progress] = []
    return cell.run(given, progress.append), progress


@pytest.fixture(scope="module")
def both(asked: Cell, tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, list[Progress]]:
    return told(order(asked, tmp_path_factory.mktemp("both")))


def at(step: int, act: Callable[[], None]) -> Report:
    return lambda progress: act() if progress.samples == step * SAMPLES else None


def test_two_processes_give_the_row_that_one_gives(
    asked: Cell, tmp_path: Path, both: tuple[Row, list[Progress]]
) -> None:
    row, progress = both
    alone, each = told(order(asked, tmp_path, devices=1))
    assert [one.samples for one in progress] == [(step + 1) * SAMPLES for step in range(STEPS)]
    # Sums of 64 samples in another order; the optimiser's grid takes that away after each step.
    assert [one.loss for one in progress] == pytest.approx([one.loss for one in each], rel=1e-10)
    assert row.metrics is not None
    assert alone.metrics is not None
    assert row.metrics.score_by_step == alone.metrics.score_by_step
    assert row.metrics.train_samples == alone.metrics.train_samples == STEPS * SAMPLES
    assert (row.provenance.devices, alone.provenance.devices) == (2, None)
    assert row.provenance.fast_fp is not None
    assert "devices" not in alone.to_json()


def test_one_process_knows_of_no_other() -> None:
    code = "import sys, harness.engine.cell; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert not {b"harness.engine.siblings", b"harness.training.several"} & {*loaded.split()}


def test_it_goes_on_from_its_checkpoint_in_both_and_leaves_nothing(
    asked: Cell, tmp_path: Path, both: tuple[Row, list[Progress]]
) -> None:
    class CutOffError(Exception):
        pass

    def cut() -> None:
        raise CutOffError

    threads = threading.active_count()
    with pytest.raises(CutOffError):
        cell.run(order(asked, tmp_path), at(3, cut))
    assert (multiprocessing.active_children(), threading.active_count()) == ([], threads)
    assert (Store(tmp_path).folder(asked) / CHECKPOINT).exists()
    row, progress = told(order(asked, tmp_path))
    assert progress == both[1][2:]
    assert row.metrics is not None
    assert both[0].metrics is not None
    assert row.metrics.score_by_step == both[0].metrics.score_by_step
    assert (multiprocessing.active_children(), threading.active_count()) == ([], threads)


def ended(given: Order, report: Report) -> Row:
    """Return the row that a cell leaves whose processes do not all live; none is left."""

    def send(news: Progress | Row) -> None:
        if isinstance(news, Progress):
            report(news)

    worker.work_on_cell(given, send)
    assert multiprocessing.active_children() == []
    row = Store(given.conditions.runs).load(given.cell)
    assert row is not None
    return row


def test_a_process_that_dies_ends_the_cell_with_its_reason(asked: Cell, tmp_path: Path) -> None:
    def kill(_progress: Progress) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    row = ended(order(asked, tmp_path), kill)
    words = "device 2 of 2 is lost: process 0 terminated with signal SIGKILL"
    assert (row.status, row.error) == ("failed", words)


class _Unreadable(str):
    """Something that another process cannot be told."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise LookupError("nobody can read this")


def test_a_process_that_does_not_begin_ends_the_cell_too(asked: Cell, tmp_path: Path) -> None:
    row = ended(order(asked, tmp_path, command=_Unreadable("run")), lambda _: None)
    words = "device 2 of 2 is lost: process 0 terminated with exit code 1"
    assert (row.status, row.error) == ("failed", words)


def test_what_cannot_be_shared_equally_is_no_cell_for_several(asked: Cell, tmp_path: Path) -> None:
    odd = replace(asked, recipe=replace(asked.recipe, batch_size=63))
    sent: list[Any] = []
    worker.work_on_cell(order(odd, tmp_path), sent.append)
    [row] = sent
    assert row.status == "skipped"
    assert Store(tmp_path).load(odd) is None, "one device would do"
    assert "a batch of 63 cannot be shared by 2 processes equally" in str(row.error)


def test_gpus_of_a_cell_follow_each_other() -> None:
    four = ("cuda:0", "cuda:1", "cuda:2", "cuda:3")
    assert first_of_each(four, 1) == four
    assert first_of_each(four, 2) == ("cuda:0", "cuda:2")
    assert first_of_each(("cuda",), 4) == ("cuda",)
    with pytest.raises(SpecError, match="takes as many GPUs in a row for each cell"):
        first_of_each(("cuda:0", "cuda:2"), 2)
    with pytest.raises(SpecError, match="got --devices cuda:0,cuda:1,cuda:2"):
        first_of_each(four[:3], 2)
    conditions = Conditions(runs=Path(), data_root=None, device="cuda:2", devices=2)
    assert [str(siblings.device_of(conditions, rank)) for rank in range(2)] == ["cuda:2", "cuda:3"]
