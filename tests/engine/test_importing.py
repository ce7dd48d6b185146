"""A published checkpoint becomes a teacher: how its images were normalised, and what it saw."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from typer.testing import CliRunner

from harness import discovery
from harness.cli import app
from harness.cli.standings import due_teachers
from harness.contracts.cell import TeacherIdentity
from harness.contracts.dataset import Dataset, DatasetCard
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.model import Model
from harness.engine import cell, grid
from harness.engine.grid import Axes
from harness.engine.importing import better, import_checkpoint, presentations
from harness.engine.jobs import Conditions, Order
from harness.engine.teachers import WEIGHTS, cell_of
from harness.results import Published
from harness.store import Store


def card(dataset: str) -> DatasetCard:
    return cast("Dataset[Any]", discovery.load("datasets", dataset)).card


def right(*, alone: int, both: int, of: int) -> NDArray[np.bool_]:
    """Answers that are right on ``both`` first samples and on ``alone`` next ones."""
    return np.arange(of) < both + alone


def test_a_normalisation_is_chosen_where_the_samples_decide() -> None:
    # 20 samples only one answers right: p = 2 / 2^20.
    first, second = right(alone=20, both=70, of=100), right(alone=0, both=70, of=100)
    assert better({"dataset": second, "imagenet": first}) == "imagenet"


def test_one_that_the_samples_do_not_decide_is_asked_for_with_both_results() -> None:
    # 5 samples: p = 2 / 2^5 = 0.0625; a sixth would decide, at 0.03125.
    second = right(alone=0, both=70, of=100)
    with pytest.raises(SpecError, match=r"75\.00 % with that of imagenet and 70\.00 % with"):
        better({"dataset": second, "imagenet": right(alone=5, both=70, of=100)})
    assert better({"dataset": second, "imagenet": right(alone=6, both=70, of=100)}) == "imagenet"


def test_two_that_answer_alike_are_not_decided() -> None:
    same = right(alone=0, both=70, of=100)
    with pytest.raises(SpecError, match="--normalisation dataset"):
        better({"dataset": same, "imagenet": same})


def test_what_is_tried_is_what_was_said_or_what_the_channels_allow() -> None:
    cifar, digits = card("cifar10"), card("digits")
    assert list(presentations(cifar)) == ["dataset", "imagenet"]
    assert list(presentations(digits)) == ["dataset"]
    assert presentations(cifar, named="half")["half"].mean == (0.5, 0.5, 0.5)
    assert presentations(digits, named="none")["none"].std == (1.0,)
    [(words, shown)] = presentations(digits, mean=(0.3,), std=(0.35,)).items()
    assert words == "mean 0.3, std 0.35"
    assert (shown.mean, shown.std) == ((0.3,), (0.35,))


@pytest.mark.parametrize(
    ("dataset", "said", "words"),
    [
        ("digits", {"named": "imagenet"}, "three channels, and Digits 8x8 has 1"),
        ("cifar10", {"mean": (0.5,), "std": (0.5,)}, "need 3 numbers each"),
        ("cifar10", {"mean": (0.5, 0.5, 0.5)}, "give --mean and --std"),
        ("digits", {"named": "half", "mean": (0.5,), "std": (0.5,)}, "or --normalisation"),
        ("digits", {"mean": (0.5,), "std": (0.0,)}, "--std positive"),
        ("digits", {"mean": (float("nan"),), "std": (1.0,)}, "--mean must be finite"),
    ],
)
def test_a_normalisation_that_cannot_be_meant_is_refused(
    dataset: str, said: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        presentations(card(dataset), **said)


def checkpoint(folder: Path) -> Path:
    """Write a checkpoint of the digits' network, untrained."""
    torch.manual_seed(0)
    known = card("digits")
    topology = cast("Model", discovery.load("models", "digits_convnet"))
    network = topology.build(nn.ReLU, input=known.input, output=known.output)
    torch.save(network.state_dict(), folder / "weights.th")
    return folder / "weights.th"


def conditions(runs: Path) -> Conditions:
    return Conditions(
        runs=runs, data_root=None, device="cpu", threads=1, deterministic=True, command=""
    )


def imported(runs: Path, **said: Any) -> TeacherIdentity:
    import_checkpoint(
        checkpoint(runs),
        model="digits_convnet",
        dataset="digits",
        conditions=conditions(runs),
        shown=presentations(card("digits"), mean=(0.25,), std=(0.5,)),
        **said,
    )
    sha256 = Store(runs).imported_teacher("digits", "digits_convnet")
    return TeacherIdentity(dataset="digits", model="digits_convnet", weights_sha256=sha256)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"saw": "all 1,797 digits"}, "imported; it was trained on all 1,797 digits"),
        ({}, "imported; what it was trained on was not said (`teacher import --saw`)"),
    ],
)
def test_a_teacher_and_the_rows_of_its_students_tell_what_it_saw(
    tmp_path: Path, said: dict[str, str], told: str
) -> None:
    teacher = imported(tmp_path, **said)
    own = Store(tmp_path).load(cell_of(teacher))
    assert own is not None
    assert own.provenance.normalisation == ((0.25,), (0.5,))
    assert own.provenance.teacher_note == told
    axes = Axes(methods=("logit_kd",), timesteps=(1,), seeds=(0,), backends=("norse",))
    asked = grid.cells("digits", axes, Store(tmp_path), Published())[0]
    recipe = replace(asked.recipe, epochs=1, train_samples=64)
    order = Order(
        cell=replace(asked, teacher=teacher, recipe=recipe),
        conditions=conditions(tmp_path),
        log_path=tmp_path / "log.txt",
    )
    assert cell.run(order, lambda _: None).provenance.teacher_note == told


def test_no_teacher_is_trained_for_what_is_to_be_skipped(tmp_path: Path) -> None:
    axes = Axes(methods=("tet", "direct", "logit_kd"), seeds=(0,))
    cells = grid.cells("tracking_quick", axes, Store(tmp_path), Published())
    due = {cell.method: replace(cell, teacher=cells[-1].teacher) for cell in cells}
    assert [cell.teacher is None for cell in due.values()] == [False] * 3
    asked = partial(due_teachers, data_root=None, out=tmp_path, results=tmp_path / "results")
    assert asked([due["tet"]]) == []  # classes, which boxes have not
    [teacher] = asked([due["tet"], due["logit_kd"]])
    assert teacher.cell.model == "siamfcpp_small"


def test_one_that_is_stale_is_refused_before_its_students_are_made_in_vain(tmp_path: Path) -> None:
    teacher = imported(tmp_path, saw="nothing")
    axes = Axes(methods=("logit_kd",), timesteps=(1,), seeds=(0,), backends=("norse",))
    asked = grid.cells("digits", axes, Store(tmp_path), Published())[0]
    due = [replace(asked, teacher=teacher)]
    assert due_teachers(due, None, tmp_path, tmp_path / "results") == []
    row = Store(tmp_path).load(cell_of(teacher))
    assert row is not None
    moved = replace(row, provenance=replace(row.provenance, measure_fp="0" * 16))
    Store(tmp_path).save(moved)
    with pytest.raises(StoreError, match=r"is stale \(measuring code moved.*import it again"):
        due_teachers(due, None, tmp_path, tmp_path / "results")
    Store(tmp_path).save(row)
    (Store(tmp_path).folder(row.cell) / WEIGHTS).unlink()
    with pytest.raises(StoreError, match=r"is not in .*; import it: "):
        due_teachers(due, None, tmp_path, tmp_path / "results")
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(StoreError, match=r"is not in .*elsewhere; import it: "):
        due_teachers(due, None, elsewhere, tmp_path / "results")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (("--mean", "0.5;0.5"), "--mean takes numbers like 0.5,0.5,0.5, got '0.5;0.5'"),
        (("--mean", "0.5,0.5,0.5", "--std", "0.5,inf,1"), "--std takes numbers like"),
        (("--mean", "0.5"), "give --mean and --std"),
        (("--normalisation", "imagenet"), "three channels"),
    ],
)
def test_the_command_line_refuses_what_is_no_normalisation(
    tmp_path: Path, said: Sequence[str], words: str
) -> None:
    file = str(checkpoint(tmp_path))
    given = ("teacher", "import", file, "--model", "digits_convnet", "--dataset", "digits")
    with pytest.raises(SpecError, match=words):
        CliRunner().invoke(app, [*given, *said], catch_exceptions=False)
