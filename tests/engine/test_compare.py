"""Whether two rows of a cell say the same, and what a difference is held against."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app, simulators
from harness.contracts.errors import HarnessError, SpecError, StoreError
from harness.contracts.row import Row
from harness.engine import reproduce as engine
from harness.engine.compare import compare, rows_of, unlike
from harness.engine.jobs import Conditions
from harness.engine.reverify import Verification
from harness.engine.scheduler import CellEnded
from harness.results import published
from harness.store import Store
from tests.report.rows import BUDGET, right, with_cell, with_metrics, wrong


def test_a_difference_is_held_against_seeds_of_its_own_budget_and_rate() -> None:
    seeds = [right("direct", 360 + seed, seed=seed) for seed in range(3)]
    longer = with_cell(seeds[0], recipe_name="longer", recipe=replace(BUDGET, epochs=99))
    faster = with_cell(seeds[0], recipe=replace(BUDGET, learning_rate=9.0))
    then = {row.cell_id: row for row in (*seeds, longer, faster)}
    now = then | {seeds[1].cell_id: right("direct", 364, seed=1), longer.cell_id: longer}
    (found,) = compare(then, now).differences
    # Of 360, 361 and 362 in 400: 4.303 * 0.0025 / sqrt 3.
    assert found.half_width == pytest.approx(4.303 * 0.0025 / 3**0.5, rel=1e-3)


def test_the_last_digits_of_a_sum_are_no_difference() -> None:
    said = with_metrics(right("direct", 360), score_area=0.9319852941176471)
    assert unlike(said, with_metrics(said, score_area=0.931985294117647)) == []
    assert unlike(said, with_metrics(said, score_area=0.93198529)) == ["score_area"]
    assert unlike(said, with_metrics(said, score_area=None)) == ["score_area"]
    assert unlike(said, with_metrics(said, silent_samples=3)) == ["silent_samples"]


def _again(then: Row, now: Row, monkeypatch: pytest.MonkeyPatch) -> engine.Reproduction:
    ended = CellEnded(cell=now.cell, row=now, seconds=1.0)
    monkeypatch.setattr(engine, "conduct", lambda *_, **__: iter([ended]))
    monkeypatch.setattr(engine, "verify", lambda row, _: Verification(row=row, outcome="same"))
    conditions = Conditions(runs=Path("nothing"), data_root=None)
    return engine.reproduce(then, conditions, timeout_s=1.0)


def test_what_has_no_number_for_the_same_reason_is_reproduced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skipped = wrong("ttfs", "skipped", "there are no timesteps to repeat")
    assert _again(skipped, skipped, monkeypatch).likeness == "identical"
    otherwise = replace(skipped, error="for another reason")
    assert _again(skipped, otherwise, monkeypatch).likeness == "different"
    assert _again(skipped, replace(skipped, status="failed"), monkeypatch).likeness == "different"


def test_either_interval_may_hold_the_other_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    # Wilson of 360 in 400 ends at 0.9258, of 371 it begins at 0.8993.
    then, now = right("direct", 360), right("direct", 371)
    assert then.metrics is not None
    assert now.metrics is not None
    assert then.metrics.score_high < now.metrics.score
    assert now.metrics.score_low < then.metrics.score
    assert _again(then, now, monkeypatch).likeness == "within tolerance"
    assert _again(now, then, monkeypatch).likeness == "within tolerance"
    assert _again(then, right("direct", 399), monkeypatch).likeness == "different"
    slower = with_metrics(then, train_seconds=99.0)
    assert _again(then, slower, monkeypatch).likeness == "identical"


def test_a_failure_of_the_machine_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = replace(wrong("direct", "failed", "No CUDA GPUs are available"), status="machine")
    with pytest.raises(StoreError, match="this machine failed, not the cell: No CUDA GPUs"):
        _again(right("direct", 360), failed, monkeypatch)


@pytest.mark.parametrize("kept", [0, 10, 400])
def test_a_damaged_row_is_named_and_not_absent(tmp_path: Path, kept: int) -> None:
    rows = [right("direct", 360, seed=seed) for seed in range(2)]
    for row in rows:
        Store(tmp_path).save(row)
    assert rows_of(str(tmp_path), "toy").keys() == {row.cell_id for row in rows}
    file = Store(tmp_path).folder(rows[0].cell) / "row.json"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(StoreError, match=f"{file}: .*; delete it or run its cell again"):
        rows_of(str(tmp_path), "toy")


def test_lines_of_a_file_that_are_no_rows_are_passed_over(tmp_path: Path) -> None:
    row = right("direct", 360)
    (tmp_path / "direct.jsonl").write_text(f'{{"note": 1}}\n{row.to_json()}\n')
    assert rows_of(str(tmp_path), "toy").keys() == {row.cell_id}


@pytest.mark.parametrize("suite", ["", "/x", "**x", "..", "a/b"])
def test_what_is_no_name_of_a_suite_is_refused(tmp_path: Path, suite: str) -> None:
    with pytest.raises(SpecError, match="--suite takes a suite's name like digits, got"):
        rows_of(str(tmp_path), suite)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("foo", "--device must be cpu, cuda or cuda:N, got 'foo'"),
        ("cuda:77", "--device cuda:77: torch finds "),
        ("cpu", "norse is not installed: pip install "),
    ],
)
def test_where_no_cell_can_run_none_is_called_different(
    monkeypatch: pytest.MonkeyPatch, device: str, said: str
) -> None:
    rows = published("digits").rows.values()
    known = next(row for row in rows if row.cell.backend == "norse")
    monkeypatch.setattr(simulators, "installed", lambda _: None)
    done = CliRunner().invoke(app, ["reproduce", known.cell_id, "--device", device])
    assert isinstance(done.exception, HarnessError)
    assert str(done.exception).startswith(said)
