"""S4-KD: the schedule of its stages, its losses by hand, and the laws of methods on a tracker."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Pair
from harness.contracts.method import Method
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Answer, Batch, Lesson, Student, Teacher
from harness.training.diet import diet_neurons
from harness.training.losses import boxes
from harness.training.losses.boxes import BoxLosses
from suites.methods import s4_kd
from suites.methods.direct import METHOD as DIRECT
from suites.methods.logit_kd import METHOD as LOGIT_KD
from suites.methods.s4_kd import METHOD, Pruning, S4Kd, stages
from suites.models._siamese import SiamFCpp
from tests.methods import small
from tests.methods.test_resuming import CutOffError, Cutting

PAIR = Pair(template=(3, 63, 63), search=(3, 95, 95))
MODEL = SiamFCpp(widths=(3, 4, 4), kernels=(7, 3, 3), head=1)
SPEC = NeuronSpec(scale_input=False)


def network(activation: object) -> nn.Module:
    return MODEL.build(activation, input=PAIR, output=Classes(1))  # type: ignore[arg-type]  # whatever makes modules


def student(
    method: Method = METHOD, *, timesteps: int = 1, backend: str = "reference", seed: int = 0
) -> Student:
    simulator = cast(Backend, discovery.load("backends", backend))
    torch.manual_seed(seed)
    learner = Student(
        network=network(lambda: simulator.neuron(SPEC)),
        timesteps=timesteps,
        twin=network,
        spec=SPEC,
        neuron=simulator.neuron,
    )
    if isinstance(method, S4Kd):
        method.realise(learner)
    return learner


def teacher() -> Teacher:
    torch.manual_seed(1)
    frozen = network(nn.ReLU).eval().requires_grad_(requires_grad=False)
    return Teacher(network=frozen, mean=(0.5,) * 6, std=(0.5,) * 6)


def lesson(of: Teacher | None, *, steps: int = 4) -> Lesson:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(steps):
        images = torch.rand(2, 6, 95, 95, generator=generator)
        batches.append(
            Batch(
                stimulus=(images - 0.5) / 0.5,
                labels=torch.tensor([[-9.0, -9, 9, 9], [-2, -9, 16, 9]]),
                indices=torch.arange(2),
                images=images,
                drawn=images,
            )
        )
    return Lesson(
        recipe=Recipe(epochs=1, batch_size=2, learning_rate=0.02, weight_decay=0.0),
        epochs=[batches],
        steps=steps,
        budget_samples=2 * steps,
        teacher=of,
        device=torch.device("cpu"),
        task=BoxLosses(),
    )


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


@pytest.mark.parametrize("method", [METHOD, DIRECT, LOGIT_KD], ids=lambda each: type(each).__name__)
def test_every_weight_learns_and_nothing_is_left(method: Method) -> None:
    learner, guide = student(method, timesteps=2), teacher()
    before, knew = deepcopy(learner.network.state_dict()), deepcopy(guide.network.state_dict())
    progress = list(method.fit(learner, lesson(guide)))
    assert [each.samples for each in progress] == [2, 4, 6, 8]
    still = [
        name
        for name, weight in learner.network.named_parameters()
        if weight.dim() > 1 and torch.equal(weight, before[name])
    ]
    assert not still
    assert learner.network.state_dict().keys() == before.keys()
    assert all(torch.equal(knew[key], value) for key, value in guide.network.state_dict().items())
    assert not any(module._forward_hooks for module in learner.network.modules())


def test_thresholds_and_leaks_learn() -> None:
    learner = student()
    before = [(each.threshold.item(), each.leak.item()) for each in diet_neurons(learner.network)]
    assert before == [(1.0, 0.5)] * 2
    list(replace(METHOD, last_share=0.25).fit(learner, lesson(teacher(), steps=8)))
    after = [(each.threshold.item(), each.leak.item()) for each in diet_neurons(learner.network)]
    for then, now in zip(before, after, strict=True):
        assert now[0] not in {then[0], then[0] / 2}
        assert now[1] != then[1]


@pytest.mark.parametrize("backend", ["norse", "spikingjelly"])
def test_what_was_learnt_answers_alike_on_every_simulator(backend: str) -> None:
    learner, course = student(backend=backend), lesson(teacher())
    list(METHOD.fit(learner, course))
    elsewhere = student(seed=5)
    elsewhere.network.load_state_dict(learner.network.state_dict())
    answers = []
    for each in (learner, elsewhere):
        each.network.eval()
        with torch.no_grad():
            answers.append(each(next(iter(lesson(None))).stimulus).logits)
    assert torch.allclose(*answers, atol=1e-5)


def test_networks_without_a_template_are_refused() -> None:
    learner = small.student(method=METHOD)
    with pytest.raises(UnsupportedError, match=r"the student's has 0 and the teacher's 0"):
        list(METHOD.fit(learner, small.lesson(small.teacher())))


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_training_that_was_cut_off_goes_on_to_the_same_bit(after: int) -> None:
    def trained(keeper: Cutting) -> dict[str, Tensor]:
        torch.manual_seed(3)
        learner = student()
        course = replace(lesson(teacher(), steps=6), keeper=keeper)
        for progress in METHOD.fit(learner, course):
            keeper.progress = progress
        return learner.network.state_dict()

    whole, cut = trained(Cutting(after=None)), Cutting(after=after)
    with pytest.raises(CutOffError):
        trained(cut)
    again = trained(Cutting(after=None, before=cut.written))
    assert all(torch.equal(whole[key], again[key]) for key in whole)
