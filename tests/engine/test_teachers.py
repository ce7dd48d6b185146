"""A teacher from elsewhere has to be there before anything that it teaches."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from harness.cli.standings import due_teachers
from harness.contracts.cell import Cell
from harness.contracts.errors import StoreError, TeacherError
from harness.contracts.row import Row
from harness.contracts.suite import TeacherSpec
from harness.engine import cell, grid, worker
from harness.engine.cell import teacher_of
from harness.engine.grid import Axes, load_suite
from harness.engine.jobs import Conditions, Order
from harness.engine.provenance import without_numbers
from harness.engine.teachers import cell_of, identity_of
from harness.results import Published
from harness.store import PREDICTIONS, Store
from tests.engine.evidence import TEACHERS_CELL, kept
from tests.report.rows import TEACHER


def test_one_that_was_not_imported_is_named_with_the_command_that_does(tmp_path: Path) -> None:
    suite = replace(load_suite("cifar10"), teacher=TeacherSpec(model="resnet20"))
    with pytest.raises(StoreError, match="teacher import FILE --model resnet20 --dataset cifar10"):
        identity_of(suite, "some split", Store(tmp_path), Published())


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "has no predictions of the teacher "), (b"no zip", "holds no predictions: ")],
)
def test_one_whose_predictions_are_gone_or_damaged_is_named_and_fails_nobody(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    kept(tmp_path, TEACHERS_CELL, weights=b"teacher")
    path = Store(tmp_path).folder(TEACHERS_CELL) / PREDICTIONS
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=words) as found:
        teacher_of(Store(tmp_path), TEACHER, "tiny", torch.device("cpu"))
    assert worker.describe(found.value)[0] == "machine", "run again by the same command"


def test_one_that_failed_fails_whom_it_teaches_and_nobody_else(tmp_path: Path) -> None:
    axes = Axes(methods=("direct", "logit_kd"), timesteps=(1,), seeds=(0,), backends=("norse",))
    store, short = Store(tmp_path), {"epochs": 1, "train_samples": 64}
    asked = {one.method: one for one in grid.cells("digits", axes, store, Published())}
    teacher = asked["direct"].teacher
    assert teacher is not None

    def order(asked: Cell) -> Order:
        conditions = Conditions(runs=tmp_path, data_root=None)
        return Order(cell=asked, conditions=conditions, log_path=tmp_path / "log.txt")

    def run(name: str) -> Row:
        brief = replace(asked[name], recipe=replace(asked[name].recipe, **short))
        return cell.run(order(brief), lambda _: None)

    words, now = "the loss became nan", datetime.now(UTC)
    ended = order(cell_of(teacher))
    store.save(without_numbers(ended, status="diverged", error=words, started=now))

    alone = run("direct")
    assert alone.metrics is not None
    assert (alone.metrics.teacher_score, alone.metrics.agreement) == (None, None)
    assert "ended as diverged: the loss became nan" in str(alone.provenance.teacher_note)
    with pytest.raises(TeacherError, match=r"ended as diverged: .*; `run --retry-failed`") as found:
        run("logit_kd")
    assert worker.describe(found.value)[0] == "failed", "no failure of this machine"
    places = (list(asked.values()), None, tmp_path, tmp_path / "results")
    assert due_teachers(*places) == [], "it would diverge again"
    [again] = due_teachers(*places, tried_again=lambda one: one.has_failed)
    assert again.cell == cell_of(teacher)
