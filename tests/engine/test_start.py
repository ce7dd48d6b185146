"""A start from the teacher's weights is a parameter of any method, and the harness's business."""

from pathlib import Path
from typing import Literal

import pytest

from harness import discovery
from harness.contracts.cell import START, Cell
from harness.contracts.errors import UnsupportedError
from harness.engine import grid
from harness.engine.canary import canary_of
from harness.engine.grid import Axes
from harness.engine.resolve import resolve
from harness.results import Published
from harness.store import Store


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
