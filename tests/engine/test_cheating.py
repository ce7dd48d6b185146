"""Methods that take more than every method may have end as rows that say so."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.contracts.errors import BudgetError
from harness.contracts.method import Progress
from harness.engine import grid
from harness.engine.grid import Axes
from harness.engine.resolve import Resolved, opened, resolve
from harness.engine.train import Trained, train
from harness.results import Published
from harness.store import Store
from harness.training import Lesson, Student, Teacher, descend
from harness.training.checkpoint import Keeper
from harness.training.transfer import copy_weights
from suites.methods.direct import METHOD as DIRECT

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found() -> Resolved:
    axes = Axes(methods=("direct",), timesteps=(1,), seeds=(1,), backends=("norse",))
    cell = grid.cells("digits", axes, Store(Path("nowhere")), Published())[0]
    short = replace(cell.recipe, epochs=1, train_samples=256, precision="float32")
    return replace(resolve(replace(cell, recipe=short)), uses_teacher=True)


def _teacher(found: Resolved) -> Teacher:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = found.student(CPU).twin(torch.nn.ReLU).eval().requires_grad_(requires_grad=False)
    return Teacher(network=network, mean=found.card.mean, std=found.card.std)


def _run(found: Resolved, method: Any) -> Trained:
    splits = opened("digits", None, 1)
    cheating = replace(found, method=method)
    return train(cheating, splits, _teacher(found), CPU, lambda _: None)


@dataclass(frozen=True, kw_only=True)
class Twice:
    """Goes through the lesson a second time."""

    named: bool = False

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        yield from DIRECT.fit(student, lesson)
        yield from DIRECT.fit(student, lesson.further("the same again") if self.named else lesson)


@dataclass(frozen=True, kw_only=True)
class Copying:
    """Begins with the teacher's weights, perhaps disguised by a factor."""

    scale: float = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        copy_weights(student, lesson.guide)
        with torch.no_grad():
            for weight in student.parameters():
                weight.mul_(self.scale)
        return descend(student, lesson, DIRECT.loss)  # type: ignore[attr-defined]  # a Direct


def test_a_second_pass_is_refused_unless_it_is_asked_for_by_name(found: Resolved) -> None:
    with pytest.raises(BudgetError, match="more than the 256 samples of its lesson"):
        _run(found, Twice())
    told = _run(found, Twice(named=True)).account.samples
    assert told == {"": 256, "the same again": 256}


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("track", ["scratch", "self"])
def test_weights_of_the_teacher_are_no_start_from_scratch(
    found: Resolved, scale: float, track: Any
) -> None:
    with pytest.raises(BudgetError, match=r"'conv1.weight' starts as the teacher's; say track="):
        _run(replace(found, track=track), Copying(scale=scale))


def test_who_says_that_weights_are_inherited_may_inherit_them(found: Resolved) -> None:
    assert _run(replace(found, track="inherited"), Copying()).account.samples == {"": 256}
    assert _run(found, DIRECT).account.samples == {"": 256}


def test_a_lesson_holds_training_samples_alone(found: Resolved) -> None:
    splits = opened("digits", None, 1)
    seen: list[torch.Tensor] = []

    @dataclass(frozen=True, kw_only=True)
    class Looking:
        def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
            seen.extend(batch.images for batch in lesson)
            return descend(student, replace(lesson, epochs=[]), DIRECT.loss)  # type: ignore[attr-defined]  # a Direct

    _run(found, Looking())
    shown = {image.numpy().tobytes() for batch in seen for image in batch}
    train_set = torch.from_numpy(splits.train.inputs).float() / 255
    assert shown <= {image.numpy().tobytes() for image in train_set}


def test_a_start_is_looked_at_though_a_stage_before_it_was_cut_off(found: Resolved) -> None:
    keeper = Keeper({}, lambda _: None, every_s=3600)
    keeper.progress = Progress(samples=0, budget=256, loss=1.0)  # of the stage
    cheating = replace(found, method=Copying())
    with pytest.raises(BudgetError, match="track='inherited'"):
        train(
            cheating, opened("digits", None, 1), _teacher(found), CPU, lambda _: None, keeper=keeper
        )
