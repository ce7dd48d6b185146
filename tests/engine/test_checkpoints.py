"""A cell that is cut off leaves a checkpoint, and the next run of it goes on from there."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.contracts.cell import Cell
from harness.contracts.method import Progress
from harness.contracts.row import Row
from harness.engine import cell, checkpoints, grid, worker
from harness.engine.compare import unlike
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.partly import fraction, progress_of
from harness.results import Published
from harness.store import CHECKPOINT, Store

SAMPLES = 64  # a step


class CutOffError(Exception):
    """What a kill is here."""


@pytest.fixture
def asked() -> Cell:
    axes = Axes(methods=("direct",), timesteps=(1,), seeds=(0,), backends=("norse",))
    found = grid.cells("digits", axes, Store(Path("nowhere")), Published())[0]
    short = replace(found.recipe, epochs=2, train_samples=4 * SAMPLES)
    return replace(found, teacher=None, recipe=short)


def order(asked: Cell, runs: Path, **conditions: object) -> Order:
    given = {"runs": runs, "data_root": None, "checkpoint_s": 0.0} | conditions
    return Order(cell=asked, conditions=Conditions(**given), log_path=runs / "log-1.txt")  # type: ignore[arg-type]  # of several types


def after(steps: int, cut: Callable[[], None]) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.samples == steps * SAMPLES:
            cut()

    return report


def kill() -> None:
    raise CutOffError


def finish(asked: Cell, runs: Path, **conditions: object) -> tuple[Row, list[int]]:
    """Return the row, and the steps that were reported on the way."""
    told: list[int] = []
    row = cell.run(
        order(asked, runs, **conditions), lambda one: told.append(one.samples // SAMPLES)
    )
    return row, told


@pytest.fixture
def cut_off(asked: Cell, tmp_path: Path) -> Path:
    """Return the runs in which a cell was cut off in its sixth step of eight."""
    with pytest.raises(CutOffError):
        cell.run(order(asked, tmp_path / "cut"), after(6, kill))
    return tmp_path / "cut"


def test_what_is_cut_off_while_it_is_judged_is_not_trained_again(
    asked: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = finish(asked, tmp_path / "whole", checkpoint_s=120.0)
    judge, runs = cell.measure, tmp_path / "cut"
    monkeypatch.setattr(checkpoints, "_WORTH_S", 0.0)
    monkeypatch.setattr(cell, "measure", lambda *_: kill())
    with pytest.raises(CutOffError):
        finish(asked, runs, checkpoint_s=120.0)
    assert fraction(progress_of(Store(runs), asked)) == 1
    monkeypatch.setattr(cell, "measure", judge)
    row, told = finish(asked, runs, checkpoint_s=120.0)
    assert told == []
    assert unlike(whole, row) == []
    assert whole.provenance.weights_sha256 == row.provenance.weights_sha256


def test_who_is_asked_to_end_after_the_last_step_writes_and_ends(
    asked: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_number: int) -> None:
        raise CutOffError

    monkeypatch.setattr(checkpoints, "_end", ended)
    trained = cell.train

    def asking(*given: Any, **named: Any) -> Any:
        result = trained(*given, **named)
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(cell, "train", asking)
    with pytest.raises(CutOffError):
        finish(asked, tmp_path, checkpoint_s=120.0)
    assert fraction(progress_of(Store(tmp_path), asked)) == 1


def test_a_training_of_an_instant_writes_no_checkpoint(asked: Cell, tmp_path: Path) -> None:
    finish(asked, tmp_path, checkpoint_s=120.0)
    assert not place(asked, tmp_path).exists()


def place(asked: Cell, runs: Path) -> Path:
    return Store(runs).folder(asked) / CHECKPOINT


def test_a_cell_goes_on_and_its_row_is_the_same(
    asked: Cell, cut_off: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = finish(asked, tmp_path / "whole")
    row, told = finish(asked, cut_off)
    assert told == [6, 7, 8]
    assert "after these steps: {'student': 5}" in capsys.readouterr().out
    assert unlike(whole, row) == []
    assert whole.provenance.weights_sha256 == row.provenance.weights_sha256
    assert whole.canary == row.canary
    assert row.metrics is not None
    assert row.metrics.train_samples == 8 * SAMPLES


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda held: held[:-3], "is damaged, the training begins anew"),
        (lambda _: b"", "is damaged, the training begins anew"),
        (
            lambda held: held.replace(b'\\"threads\\": \\"1\\"', b'\\"threads\\": \\"2\\"'),
            "threads",
        ),
    ],
)
def test_what_does_not_fit_is_told_and_the_training_begins_anew(
    asked: Cell,
    cut_off: Path,
    damage: Callable[[bytes], bytes],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = place(asked, cut_off)
    path.write_bytes(damage(path.read_bytes()))
    _, told = finish(asked, cut_off)
    assert told == [*range(1, 9)]
    assert words in capsys.readouterr().out


def test_other_code_begins_anew(
    asked: Cell, cut_off: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = {"train": "0" * 16, "measure": "0" * 16}
    monkeypatch.setattr(checkpoints, "fingerprints", lambda _: now)
    assert finish(asked, cut_off)[1] == [*range(1, 9)]
    assert "is of other code: the training begins anew" in capsys.readouterr().out


def test_who_is_asked_to_end_writes_first(
    asked: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(checkpoints, "_end", lambda _: kill())
    rarely = order(asked, tmp_path, checkpoint_s=3600.0)
    path = place(asked, tmp_path)

    def asking() -> None:
        assert not path.exists()
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(CutOffError):
        cell.run(rarely, after(3, asking))
    assert path.exists()
    assert signal.getsignal(signal.SIGTERM) is usual
    assert finish(asked, tmp_path)[1] == [4, 5, 6, 7, 8]


def test_a_full_disk_costs_the_checkpoint_and_not_the_cell(
    asked: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise checkpoints.StoreError("cannot write it: no space left")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checkpoints, "write_bytes", full)
        assert finish(asked, tmp_path)[1] == [*range(1, 9)]
    assert "no checkpoint: cannot write it: no space left" in capsys.readouterr().out


def test_a_checkpoint_goes_once_there_is_a_row(asked: Cell, cut_off: Path) -> None:
    assert place(asked, cut_off).exists()
    assert worker.work_on_cell(order(asked, cut_off), lambda _: None)
    row = Store(cut_off).load(asked)
    assert row is not None
    assert row.status == "ok"
    assert not place(asked, cut_off).exists()


def test_how_often_is_a_time() -> None:
    told = CliRunner().invoke(app, ["run", "digits", "--checkpoint-every", "often"])
    assert "--checkpoint-every takes a time like 90s, 14m or 2h, got 'often'" in str(told.exception)
