"""The last feature map and the softened logits, by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.training import Student
from suites.methods import affine_projector, kdsnn
from suites.methods.kdsnn import METHOD, Kdsnn, feature_error
from suites.models._bert import Bert
from tests.methods.classrooms import SENTENCES
from tests.methods.small import CLASSES, lesson, student, teacher
from tests.methods.teaching_aids import Said
from tests.methods.teaching_aids import lesson as tiny_lesson
from tests.methods.teaching_aids import student as tiny_student
from tests.methods.teaching_aids import teacher as tiny_teacher


def test_feature_error_is_summed_over_a_sample_and_averaged_over_samples() -> None:
    rate = torch.zeros(2, 3, 2, 2)
    feature = torch.zeros(2, 3, 2, 2)
    feature[0] = 0.5  # 12 elements off by 1/2 in one of two samples
    assert feature_error(nn.Identity(), rate, feature).item() == 12 * 0.25 / 2
    assert feature_error(nn.Identity(), feature, feature).item() == 0


def test_feature_error_compares_at_the_coarser_resolution() -> None:
    fine = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(1, 1, 2, 2)  # [1, 1, 4, 4], mean 1/2
    coarse = torch.full((1, 1, 1, 1), 1.5)
    assert feature_error(nn.Identity(), fine, coarse).item() == 1
    assert feature_error(nn.Identity(), coarse, fine).item() == 1


def _aligner(monkeypatch: pytest.MonkeyPatch, *, ours: int, theirs: int) -> nn.Module:
    """Return what stands between the two, after one step."""
    found: list[nn.Module] = []
    descend = kdsnn.descend

    def watching(*args: object, also_train: list[nn.Module], **words: object) -> object:
        found.extend(also_train)
        return descend(*args, also_train=also_train, **words)

    monkeypatch.setattr(kdsnn, "descend", watching)
    learner, course = tiny_student(channels=ours), tiny_lesson(tiny_teacher(channels=theirs))
    next(iter(Kdsnn().fit(learner, course)))
    return found[0]


def test_the_aligner_of_different_widths_receives_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (weight,) = _aligner(monkeypatch, ours=2, theirs=5).parameters()
    assert weight.shape == (5, 2, 1, 1)
    assert weight.grad is not None
    assert weight.grad.abs().min() > 0


def test_there_is_no_aligner_between_equal_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(_aligner(monkeypatch, ours=3, theirs=3).parameters())


def test_the_feature_loss_reads_the_last_stage_averaged_over_time() -> None:
    learner, guide = student("vgg", timesteps=4), teacher("vgg")
    course = lesson(guide, timesteps=4)
    batch = next(iter(course))
    output = learner(batch.stimulus, ["stage2"])
    rate = sum(output.taps["stage2"]) / 4
    feature = guide.see(batch.images, ["stage2"]).taps["stage2"][0]
    squares = (rate - feature).square().sum() / len(batch.labels)
    label_loss = nn.functional.cross_entropy(output.logits.mean(0), batch.labels)
    first = next(iter(Kdsnn(feature_weight=0.25).fit(learner, course)))
    assert first.loss == pytest.approx((label_loss + 0.25 * squares).item(), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_response_variant_mixes_divergence_and_labels(share: float) -> None:
    learner, guide = _silent_student(), teacher()
    with torch.no_grad():
        guide.network.get_parameter("fc.weight").zero_()
        guide.network.get_parameter("fc.bias").copy_(torch.tensor([0.0, 2 * math.log(3), 0.0]))
    # Softened by 2 the teacher says 1 : 3 : 1, and the student nothing: 1 : 1 : 1.
    divergence = 0.6 * math.log(3 * 0.6) + 2 * 0.2 * math.log(3 * 0.2)
    method = Kdsnn(variant="response", temperature=2.0, teacher_share=share)
    expected = share * 4 * divergence + (1 - share) * math.log(CLASSES)
    first = next(iter(method.fit(learner, lesson(guide))))
    assert first.loss == pytest.approx(expected, rel=1e-5)


def test_the_response_is_that_of_the_mean_logits() -> None:
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, 2 * math.log(3)]]])  # on average 1 : 3
    method = Kdsnn(variant="response", teacher_share=0.0)
    answer = Said(torch.zeros(1, 2))
    loss = method.response_loss(Output(logits=logits), answer, torch.tensor([0]))  # type: ignore[arg-type]  # only its logits are asked for
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)


def test_by_default_a_feature_weighs_two_thousandths() -> None:
    course = lesson(teacher("vgg"))
    none, one, usual = (
        next(iter(method.fit(student("vgg"), course))).loss
        for method in (Kdsnn(feature_weight=0.0), Kdsnn(feature_weight=1.0), METHOD)
    )
    assert usual - none == pytest.approx(2e-3 * (one - none), rel=1e-3)


def test_by_default_a_response_at_four_counts_half() -> None:
    learner, guide = _silent_student(), teacher()
    with torch.no_grad():
        guide.network.get_parameter("fc.weight").zero_()
        guide.network.get_parameter("fc.bias").copy_(torch.tensor([0.0, 4 * math.log(3), 0.0]))
    # Softened by 4 the teacher says 1 : 3 : 1, and the student nothing: 1 : 1 : 1.
    divergence = 0.6 * math.log(3 * 0.6) + 2 * 0.2 * math.log(3 * 0.2)
    first = next(iter(Kdsnn(variant="response").fit(learner, lesson(guide))))
    assert first.loss == pytest.approx(0.5 * 16 * divergence + 0.5 * math.log(CLASSES), rel=1e-5)


def _silent_student() -> Student:
    """Return a student whose logits are 0."""
    learner = student()
    with torch.no_grad():
        for name in ("fc.weight", "fc.bias"):
            learner.network.get_parameter(name).zero_()
    return learner


@pytest.mark.parametrize("module", [kdsnn, affine_projector], ids=lambda module: module.__name__)
def test_the_last_stages_meet_however_many_each_network_has(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    asked: dict[str, Any] = {}

    def watching(*_: object, **words: object) -> None:
        asked.update(words)

    monkeypatch.setattr(module, "descend", watching)
    deep = Bert(blocks=3, width=8, heads=2, hidden=8)
    room = replace(SENTENCES, theirs=deep)
    module.METHOD.fit(room.student(), room.lesson(room.teacher()))
    assert (asked["taps"], asked["teacher_taps"]) == (["stage1"], ["stage3"])


def test_the_feature_variant_needs_a_stage_of_either() -> None:
    learner, guide = tiny_student(), tiny_teacher()
    guide.network.tap_channels = {"penultimate": 2}
    with pytest.raises(UnsupportedError, match="no last map to compare"):
        Kdsnn().fit(learner, tiny_lesson(guide))
    assert list(Kdsnn(variant="response").fit(learner, tiny_lesson(guide)))


def test_a_teacher_of_other_width_and_resolution_can_teach() -> None:
    learner, guide = student("convnet"), teacher("vgg")
    assert (learner.tap_channels["stage1"], guide.tap_channels["stage1"]) == (6, 4)
    assert list(Kdsnn().fit(learner, lesson(guide)))  # 4x4 against 8x8
