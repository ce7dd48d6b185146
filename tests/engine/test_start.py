"""A start from the teacher's weights is a parameter of any method, and the harness's business."""

from pathlib import Path
from typing import Literal

import pytest

from harness import discovery
from harness.contracts.cell import START, Cell
from harness.contracts.errors import UnsupportedError
from harness.engine import grid, publish
from harness.engine.canary import canary_of
from harness.engine.grid import Axes
from harness.engine.resolve import resolve
from harness.report import leaderboard
from harness.results import Published
from harness.store import Store
from tests.report.rows import SUITE, right, vars_of, with_cell, wrong


def _one(method: str, start: Literal["teacher"] | None = None) -> Cell:
    few = Axes(methods=(method,), timesteps=(2,), seeds=(0,), backends=("reference",), start=start)
    [cell] = grid.cells("digits", few, Store(Path("nothing")), Published())
    return cell


def test_direct_training_from_the_teachers_weights_is_weight_transfer_to_the_last_digit() -> None:
    started = canary_of(_one("direct", start="teacher"), None)
    named = canary_of(_one("weight_transfer"), None)
    assert started == named
    assert started.losses != canary_of(_one("direct"), None).losses


def test_any_loss_goes_on_from_there() -> None:
    started, plain = _one("logit_kd", start="teacher"), _one("logit_kd")
    songs = [canary_of(cell, None) for cell in (started, plain, _one("weight_transfer"))]
    assert len({song.losses for song in songs}) == 3


def test_it_is_another_cell_whose_method_has_its_own_parameters() -> None:
    started, plain = _one("logit_kd", start="teacher"), _one("logit_kd")
    assert started.params == {**plain.params, START: "teacher"}
    assert started.cell_id != plain.cell_id
    assert resolve(started).method == resolve(plain).method
    assert "logit_kd from teacher" in started.label
    assert "from teacher" not in plain.label


def test_a_method_that_asks_no_teacher_is_given_one_to_start_from() -> None:
    assert resolve(_one("direct", start="teacher")).uses_teacher
    assert not resolve(_one("direct")).uses_teacher


def test_a_student_that_is_not_the_teachers_topology_is_refused() -> None:
    # Batch norm through time has norms that the teacher has not.
    with pytest.raises(UnsupportedError, match="another topology"):
        canary_of(_one("kd_bntt", start="teacher"), None)


@pytest.mark.parametrize("name", discovery.names("methods"))
def test_no_method_has_a_parameter_of_that_name(name: str) -> None:
    assert START not in discovery.method_parameters(name)


def test_a_start_that_nobody_asked_for_is_in_no_cell() -> None:
    assert _one("logit_kd").params == discovery.method_parameters("logit_kd")


def test_a_row_that_starts_there_is_published_beside_the_others(tmp_path: Path) -> None:
    cells = [_one("logit_kd", start=start) for start in grid.STARTS]
    rows = [with_cell(wrong("logit_kd", "failed", "tried"), **vars_of(cell)) for cell in cells]
    asked = publish._asked("digits", rows, Store(tmp_path), Published(), {})
    assert asked == {cell.cell_id for cell in cells}


def test_the_baseline_is_the_one_from_scratch_and_the_other_is_told_from_it() -> None:
    plain = [right("direct", 360 + seed, seed=seed) for seed in range(3)]
    started = [
        with_cell(
            right("direct", 372 + seed, seed=seed), params={**row.cell.params, START: "teacher"}
        )
        for seed, row in enumerate(plain)
    ]
    inherited = [right("weight_transfer", 368 + seed, seed=seed) for seed in range(3)]
    found = leaderboard([*plain, *started, *inherited], suite=SUITE, teachers=[])
    lines = {line.method: line for setting in found.settings for line in setting.lines}
    assert set(lines) == {"direct", "direct[start_from=teacher]", "weight_transfer"}
    assert lines["direct"].gain is None
    from_teacher = lines["direct[start_from=teacher]"]
    assert (from_teacher.track, from_teacher.baseline) == ("inherited", "weight_transfer")
    assert from_teacher.gain is not None
    assert from_teacher.gain.difference.value == pytest.approx(4 / 400, rel=1e-9)
