"""S4-KD: the schedule of its stages, its losses by hand, and what becomes of thresholds."""

import math
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, Teacher
from harness.training.diet import diet_neurons
from harness.training.losses import boxes
from harness.training.losses.boxes import BoxLosses
from suites.methods import s4_kd
from suites.methods.s4_kd import METHOD, Pruning, S4Kd, stages
from tests.methods import small
from tests.methods.classrooms import PAIRS
from tests.methods.small import but


def student(*, timesteps: int = 1) -> Student:
    return PAIRS.student(method=METHOD, timesteps=timesteps)


teacher = PAIRS.teacher


def lesson(of: Teacher | None, *, steps: int = 4) -> Lesson:
    return but(PAIRS.lesson(of, steps=steps, learning_rate=0.02), weight_decay=0.0)


def test_stages_lose_a_step_each_and_the_last_has_its_share() -> None:
    # Three stages before the last share 60 of 100 steps.
    assert stages(100, 4, 1, 0.4) == ((0, 4), (20, 3), (40, 2), (60, 1))
    assert stages(100, 3, 2, 0.5) == ((0, 3), (50, 2))
    assert stages(7, 3, 1, 0.5) == ((0, 3), (1, 2), (3, 1))
    assert stages(100, 2, 4, 0.5) == ((0, 4),)  # nothing to prune


def test_the_student_is_simulated_for_fewer_and_fewer_steps() -> None:
    learner, seen = student(), []
    learner.network.register_forward_pre_hook(lambda _, args: seen.append((args[1], len(args[2]))))
    list(replace(METHOD, first_steps=3).fit(learner, lesson(teacher(), steps=8)))
    # Once more without taps where a stage begins, to look for silent layers.
    assert seen == [
        (3, 0), (3, 2), (3, 2), (2, 0), (2, 2), (2, 2),
        (1, 0), (1, 2), (1, 2), (1, 2), (1, 2),
    ]  # fmt: skip


class Recorded(Answer):
    """A teacher's answer that is given."""

    task = BoxLosses()

    def __init__(self, logits: Tensor, taps: dict[str, Tensor]) -> None:
        object.__setattr__(self, "given", (logits, taps))

    @property
    def logits(self) -> Tensor:
        return cast(Tensor, self.given[0])  # type: ignore[attr-defined]  # set above

    @property
    def taps(self) -> dict[str, Tensor]:
        return cast("dict[str, Tensor]", self.given[1])  # type: ignore[attr-defined]  # set above


def test_the_three_losses_by_hand() -> None:
    logits = torch.zeros(2, 1, 1, 6)  # two steps, one point, boxes of 16 x 16
    theirs = torch.tensor([[[0.0, 0, *[math.log(0.5)] * 4]]])
    features = {"template": torch.ones(2, 1, 4, 2, 2), "search": torch.ones(2, 1, 4, 3, 3)}
    features["template"][1] = 3.0  # 2 on average
    answer = Recorded(
        theirs, {name: torch.zeros(value.shape[1:]) for name, value in features.items()}
    )
    method = S4Kd(feature=0.5, score=7.0, box=3.0)
    found = method.taught(Output(logits=logits, taps=features), answer, ("template", "search"))
    # Features 2^2 + 1^2; scores agree; 8 x 8 of 16 x 16.
    assert found.item() == pytest.approx(0.5 * 5 + 0 + 3 * math.log(4), rel=1e-5)
    louder = Recorded(theirs + torch.tensor([2.0, 0, 0, 0, 0, 0]), answer.taps)
    scores = boxes.response_divergence(logits.mean(0), louder.logits, temperature=2.0).item()
    further = method.taught(Output(logits=logits, taps=features), louder, ("template", "search"))
    assert scores > 0.1
    assert further.item() - found.item() == pytest.approx(7 * scores, rel=1e-4)


def test_the_teacher_is_asked_in_the_last_stage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    course = lesson(teacher(), steps=8)

    def taught(_: S4Kd, output: Output, *_rest: object) -> Tensor:
        asked.append(course.step)
        return output.logits.sum() * 0

    monkeypatch.setattr(s4_kd.S4Kd, "taught", taught)
    list(METHOD.fit(student(), course))
    assert asked == [5, 6, 7, 8]


def test_silent_layers_have_their_thresholds_halved_and_others_not() -> None:
    learner, course = student(), lesson(teacher())
    first, second = diet_neurons(learner.network)
    with torch.no_grad():
        first.threshold.fill_(0.5)
        second.threshold.fill_(1e6)
    pruning = Pruning(student=learner, lesson=course, stages=((0, 2),))
    batch = next(iter(course))
    pruning(batch.stimulus, ())
    assert first.threshold.item() == 0.5
    assert second.threshold.item() == 5e5
    handles = [layer._forward_hooks for layer in (first, second)]
    assert not any(handles)


def test_thresholds_and_leaks_learn() -> None:
    learner = student()
    before = [(each.threshold.item(), each.leak.item()) for each in diet_neurons(learner.network)]
    assert before == [(1.0, 0.5)] * 2
    list(replace(METHOD, last_share=0.25).fit(learner, lesson(teacher(), steps=8)))
    after = [(each.threshold.item(), each.leak.item()) for each in diet_neurons(learner.network)]
    for then, now in zip(before, after, strict=True):
        assert now[0] not in {then[0], then[0] / 2}
        assert now[1] != then[1]


def test_networks_without_a_template_are_refused() -> None:
    learner = small.student(method=METHOD)
    with pytest.raises(UnsupportedError, match=r"the student's has 0 and the teacher's 0"):
        list(METHOD.fit(learner, small.lesson(small.teacher())))
