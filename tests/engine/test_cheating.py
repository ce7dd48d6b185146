"""Methods that take more than every method may have end as rows that say so."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import discovery
from harness.contracts.errors import BudgetError, SpecError
from harness.contracts.method import Progress
from harness.engine import grid
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.resolve import Resolved, opened, refuse_reach, resolve
from harness.engine.teachers import cell_of
from harness.engine.train import Trained, train
from harness.engine.worker import work_on_cell
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
    return Teacher(network=network, mean=found.card.image.mean, std=found.card.image.std)


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


@dataclass(frozen=True, kw_only=True)
class Written:
    """Trains by a loss, or does what an author forgets."""

    does: Any

    def fit(self, student: Student, lesson: Lesson, /) -> Any:
        return self.does(student, lesson)


def by(loss: Any) -> Any:
    return lambda student, lesson: descend(student, lesson, lambda output, *_: loss(output.logits))


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (lambda *_: None, r"direct\.fit must yield a Progress a step.* and returned None"),
        (by(lambda logits: logits.square().mean((0, 2))), r"and returned a tensor \[64\]"),
        (by(lambda _: None), "a loss must return one number.* and returned None"),
        (lambda *_: iter(()), "direct drew no batch of its lesson"),
    ],
)
def test_what_an_author_forgot_is_said(found: Resolved, does: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        _run(found, Written(does=does))
    if "no batch" in words:
        assert _run(replace(found, track="conversion"), Written(does=does)).account.samples == {}


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


HEAD = """
from dataclasses import dataclass
from suites.methods.direct import METHOD as DIRECT
{imports}

@dataclass(frozen=True, kw_only=True)
class Cheating:
    def fit(self, student, lesson, /):
{fit}

METHOD = Cheating()
"""
ENDINGS = {
    "twice": (
        "",
        "yield from DIRECT.fit(student, lesson); yield from DIRECT.fit(student, lesson)",
        "more than the 64 samples of its lesson",
    ),
    "copying": (
        "from harness.training.transfer import copy_weights",
        "copy_weights(student, lesson.guide); yield from DIRECT.fit(student, lesson)",
        "starts as the teacher's; say track=",
    ),
    "peeking": (
        "from suites.datasets.digits import DATASET",
        "test = DATASET.load(None, timesteps=1).test; yield from DIRECT.fit(student, lesson)",
        "imports suites.datasets",
    ),
    "asking_the_engine": (
        "",
        "from harness.engine.resolve import opened; yield opened('digits', None, 1).validation",
        "imports harness.engine",
    ),
    "by_a_helper": (
        "from cheats._helper import TEST",
        "yield from DIRECT.fit(student, lesson)",
        "imports suites.datasets",
    ),
}


@pytest.fixture
def cheats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the methods of ``ENDINGS`` as a third party would."""
    package = tmp_path / "cheats"
    package.mkdir()
    (package / "__init__.py").touch()
    helper = "from suites.datasets.digits import DATASET\nTEST = DATASET.load(None, timesteps=1)"
    (package / "_helper.py").write_text(helper, encoding="utf-8")
    for name, (imports, fit, _) in ENDINGS.items():
        source = HEAD.format(imports=imports, fit=f"        {fit}")
        (package / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    group = "snn_distill_bench.methods"
    points = EntryPoints(EntryPoint(name, f"cheats.{name}", group) for name in ENDINGS)
    monkeypatch.setattr(discovery, "entry_points", lambda group: points.select(group=group))
    discovery._modules.cache_clear()
    yield
    discovery._modules.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "cheats"]:
        del sys.modules[name]


@pytest.mark.usefixtures("cheats")
def test_whoever_cheats_on_purpose_ends_as_a_row_that_says_so(tmp_path: Path) -> None:
    axes = Axes(methods=tuple(ENDINGS), timesteps=(1,), seeds=(1,), backends=("reference",))
    asked = grid.cells("digits", axes, Store(tmp_path), Published())
    assert asked[0].teacher is not None
    assert asked[0].teacher.recipe is not None
    short = replace(asked[0].recipe, epochs=1, train_samples=64, precision="float32")
    identity = replace(asked[0].teacher, recipe=short)
    cells = [replace(cell, teacher=identity, recipe=short) for cell in asked]
    conditions = Conditions(runs=tmp_path, data_root=None)
    for cell in [cell_of(identity), *cells]:
        work_on_cell(Order(cell=cell, conditions=conditions, log_path=tmp_path / "log"), print)
    rows = {cell.method: Store(tmp_path).load(cell) for cell in cells}
    for name, (_, _, words) in ENDINGS.items():
        row = rows[name]
        assert row is not None, name
        assert (row.status, row.metrics) == ("failed", None), name
        assert words in str(row.error), name


@pytest.mark.parametrize("name", discovery.names("methods"))
def test_no_method_here_can_reach_what_it_is_judged_on(name: str) -> None:
    refuse_reach(discovery.module_of("methods", name))


def test_a_start_is_looked_at_though_a_stage_before_it_was_cut_off(found: Resolved) -> None:
    keeper = Keeper({}, lambda _: None, every_s=3600)
    keeper.progress = Progress(samples=0, budget=256, loss=1.0)  # of the stage
    cheating = replace(found, method=Copying())
    with pytest.raises(BudgetError, match="track='inherited'"):
        train(
            cheating, opened("digits", None, 1), _teacher(found), CPU, lambda _: None, keeper=keeper
        )
