"""What the portability session runs, and that it sees what it must not overlook."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.portability import AS_IT_IS, apart, differences, every_cell, hold, sample
from harness import discovery
from harness.contracts.cell import Cell
from harness.contracts.row import Metrics, Row
from harness.engine.meaning import unmeant
from harness.store import Store

METRICS = Metrics(score=0.5, score_low=0.1, score_high=0.9, n_test=2, train_seconds=1.0)


@pytest.fixture
def cell() -> Cell:
    return every_cell("digits", ["direct"])[0]


def _kept(folder: Path, cell: Cell, metrics: Metrics, decided: list[int]) -> Path:
    store = Store(folder)
    store.save(Row(cell=cell, status="ok", metrics=metrics))
    np.savez(store.folder(cell) / "predictions.npz", predictions=np.array([decided]))
    save_file(
        {"fc": np.array([2.0, -4.0 - decided[0]])}, store.folder(cell) / "weights.safetensors"
    )
    return folder


def test_the_sample_has_every_method_once_and_every_step_count_and_simulator() -> None:
    cells = list(sample(every_cell("digits")))
    meant = [name for name in discovery.names("methods") if not unmeant(name, "digits")]
    assert [cell.method for cell in cells] == meant
    assert {cell.timesteps for cell in cells} == {1, 2, 4}
    assert {cell.backend for cell in cells} == {"norse", "spikingjelly"}
    assert {cell.seed for cell in cells} == {0}
    assert next(cell for cell in cells if cell.method == "ttfs").timesteps == 1


def test_a_method_whose_every_cell_is_skipped_has_no_turn() -> None:
    sampled = {cell.method for cell in sample(every_cell("events_quick"))}
    assert {"ttfs", "tssd"}.isdisjoint(sampled)
    assert "direct" in sampled


def test_weights_are_apart_by_the_largest_difference_over_the_largest_weight(
    tmp_path: Path, cell: Cell
) -> None:
    first = Store(_kept(tmp_path / "a", cell, METRICS, [0, 1])).folder(cell)
    second = Store(_kept(tmp_path / "b", cell, METRICS, [1, 1])).folder(cell)
    assert apart(first, second) == 1 / 4
    assert apart(first, first) == 0


@pytest.mark.parametrize(
    ("metrics", "decided", "words"),
    [
        (METRICS, [0, 1], []),
        (replace(METRICS, train_seconds=9.0), [0, 1], []),  # a clock may differ
        (replace(METRICS, score=0.6), [0, 1], ["score"]),
        (METRICS, [1, 1], ["1 of 2 decisions"]),
    ],
)
def test_a_decision_or_a_number_that_differs_is_told(
    tmp_path: Path,
    cell: Cell,
    capsys: pytest.CaptureFixture[str],
    metrics: Metrics,
    decided: list[int],
    words: list[str],
) -> None:
    folders = {
        AS_IT_IS: _kept(tmp_path / "a", cell, METRICS, [0, 1]),
        "AVX2": _kept(tmp_path / "b", cell, metrics, decided),
    }
    ours, theirs = (Store(folder) for folder in folders.values())
    one, other = ours.load(cell), theirs.load(cell)
    assert one is not None
    assert other is not None
    assert differences(one, other, ours.folder(cell), theirs.folder(cell)) == words
    assert hold([cell], folders) is not bool(words)
    assert ("DIFFERS under 'AVX2'" in capsys.readouterr().out) is bool(words)


def test_a_cell_that_ends_otherwise_differs(tmp_path: Path, cell: Cell) -> None:
    folders = {AS_IT_IS: _kept(tmp_path / "a", cell, METRICS, [0, 1]), "AVX2": tmp_path / "b"}
    Store(tmp_path / "b").save(Row(cell=cell, status="failed", error="no"))
    assert not hold([cell], folders)
