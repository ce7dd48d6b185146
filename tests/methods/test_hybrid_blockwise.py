"""Hybrids of student and teacher against numbers and paths worked out by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.training import Student, Teacher
from harness.training.rate import by_rate
from suites.methods.hybrid_blockwise import HybridBlockwise, adapters_of, cuts_of, hybrid
from tests.methods.small import Kind, but, lesson, student, teacher
from tests.methods.teaching_aids import Nobody


def test_a_pair_is_the_cross_entropy_and_the_weighted_divergence() -> None:
    # The teacher says 1 : 3 once softened and z 1 : 1, so the divergence is
    # KL((1/4, 3/4) || (1/2, 1/2)) = 1/4 ln 1/2 + 3/4 ln 3/2, and the cross-entropy ln 2.
    said = torch.tensor([[0.0, 2 * math.log(3)]])
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    method = HybridBlockwise(temperature=2.0, teacher_weight=0.5)
    found = method.pair(torch.zeros(1, 2), said, torch.tensor([0]))
    assert found.item() == pytest.approx(math.log(2) + 0.5 * 2**2 * divergence, rel=1e-6)


def test_the_teacher_is_cut_after_every_stage_but_its_last() -> None:
    learner, guide = student("resnet"), teacher("resnet")
    assert cuts_of(learner, guide) == ("stage1",)
    guide.network.tap_channels = {"stage1": 4, "stage2": 8, "stage3": 16}
    assert cuts_of(learner, guide) == ("stage1", "stage2")


def test_a_teacher_of_one_stage_is_cut_before_its_classifier() -> None:
    assert cuts_of(student("convnet"), teacher("convnet")) == ("stage1",)


def test_it_needs_a_stage_in_common() -> None:
    learner, guide = student(), teacher()
    guide.network.tap_channels = {"penultimate": 2}
    with pytest.raises(UnsupportedError, match="no stage tap in common"):
        HybridBlockwise().fit(learner, lesson(guide))


class _Saw(Nobody):
    """A teacher's answer with the taps it is given."""

    def __init__(self, taps: Mapping[str, Tensor]) -> None:
        object.__setattr__(self, "_given", taps)

    @property
    def taps(self) -> Mapping[str, Tensor]:
        given: Mapping[str, Tensor] = self.__dict__["_given"]
        return given


def test_a_hybrid_that_is_all_teacher_says_what_the_teacher_says() -> None:
    guide = teacher("resnet")
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = guide.see(images, ["stage1"])
    features = whole.taps["stage1"][0]
    answer = _Saw({"stage1": features})
    found = hybrid("stage1", nn.Identity(), features, guide, answer)
    assert torch.allclose(found, whole.logits[0], atol=1e-6)
    # Each pixel four times: the average over two by two is what it was.
    finer = features.repeat_interleave(2, -1).repeat_interleave(2, -2)
    found = hybrid("stage1", nn.Identity(), finer, guide, answer)
    assert torch.allclose(found, whole.logits[0], atol=1e-6)


def _hybrid_logits(kind: Kind, cut: str) -> tuple[Student, Teacher, nn.ModuleDict, Tensor]:
    """Return what takes part in the hybrid at ``cut``, and its logits."""
    torch.manual_seed(0)
    learner, guide = student(kind), teacher(kind)
    batch = next(iter(lesson(guide)))
    adapters = adapters_of(learner, guide, (cut,))
    output = by_rate(learner)(batch.stimulus, [cut])
    answer = lesson(guide).answer(batch, [cut])
    logits = hybrid(cut, adapters[cut], output.taps[cut].mean(0), guide, answer)
    return learner, guide, adapters, logits


def test_the_pairs_of_the_hybrids_are_added_with_their_weight() -> None:
    def first(weight: float) -> float:
        torch.manual_seed(0)
        learner, course = student("resnet"), lesson(teacher("resnet"))
        return next(iter(HybridBlockwise(hybrid_weight=weight).fit(learner, course))).loss

    _, guide, _, logits = _hybrid_logits("resnet", "stage1")
    batch = next(iter(lesson(guide)))
    pair = HybridBlockwise().pair(logits, guide.see(batch.images).logits[0], batch.labels)
    assert first(3.0) - first(0.0) == pytest.approx(3 * pair.item(), rel=1e-4)


def _moved(module: nn.Module) -> set[str]:
    return {name for name, weight in module.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_a_hybrid_teaches_its_adapter_and_the_blocks_before_the_cut_alone(kind: Kind) -> None:
    learner, guide, adapters, logits = _hybrid_logits(kind, "stage1")
    logits.square().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    names = {name for name, _ in learner.network.named_parameters()}
    assert _moved(learner.network) == {n for n in names if not n.startswith(("layer2", "fc"))}
    assert _moved(adapters) == {name for name, _ in adapters.named_parameters()}
    assert not _moved(guide.network)


def test_hybrids_alone_reach_the_first_blocks_and_leave_the_others() -> None:
    def trained(weight: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        learner = student("vgg")
        method = HybridBlockwise(hybrid_weight=weight)
        list(method.fit(learner, but(lesson(teacher("vgg"), steps=1), weight_decay=0.0)))
        return learner.network.state_dict()

    without, with_hybrids = trained(0.0), trained(1.0)
    same = {name for name in without if torch.equal(without[name], with_hybrids[name])}
    weights = {name for name, _ in student("vgg").network.named_parameters()}
    assert weights & same == {n for n in weights if n.startswith(("layer2", "fc"))}


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_in_one_step_rates_and_time_train_the_same(kind: Kind) -> None:
    def trained(method: HybridBlockwise) -> dict[str, Tensor]:
        torch.manual_seed(0)
        learner = student(kind, timesteps=1)
        list(method.fit(learner, lesson(teacher(kind))))
        return learner.network.state_dict()

    by_rates, through_time = trained(HybridBlockwise()), trained(HybridBlockwise(trained_by="time"))
    for name, value in through_time.items():
        assert torch.allclose(by_rates[name], value, atol=1e-6)


def test_in_several_steps_they_do_not() -> None:
    def trained(method: HybridBlockwise) -> Tensor:
        torch.manual_seed(0)
        learner = student("vgg", timesteps=4)
        list(method.fit(learner, lesson(teacher("vgg"))))
        return learner.network.get_parameter("layer1.0.conv.weight")

    through_time = trained(HybridBlockwise(trained_by="time"))
    assert not torch.allclose(trained(HybridBlockwise()), through_time, atol=1e-6)


def test_dividing_the_gradient_is_a_smaller_learning_rate() -> None:
    def trained(method: HybridBlockwise, learning_rate: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        learner = student("vgg", timesteps=4)
        course = lesson(teacher("vgg"), steps=1, learning_rate=learning_rate)
        list(method.fit(learner, but(course, weight_decay=0.0)))
        return learner.network.state_dict()

    divided = trained(replace(HybridBlockwise(), divide_by_timesteps=True), 0.2)
    slower = trained(HybridBlockwise(), 0.05)
    for name, value in slower.items():
        assert torch.allclose(divided[name], value, atol=1e-6)
