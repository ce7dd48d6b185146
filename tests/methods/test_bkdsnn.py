"""Blurred knowledge distillation."""

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.method import Progress
from harness.training import Teacher, descend
from harness.training.losses.projection import last_stage
from suites.methods import bkdsnn
from suites.methods.bkdsnn import (
    METHOD,
    Bkdsnn,
    aligner,
    blurred,
    generator,
    restoration_error,
    weighted_soft_labels,
)
from suites.models._convnet import ConvNet
from tests.methods.small import CLASSES, STATIC, lesson, student, teacher


def test_the_blur_takes_whole_channels_and_leaves_the_others_as_they_are() -> None:
    torch.manual_seed(0)
    maps = 1 + torch.rand(64, 512, 2, 2)
    masked = blurred(maps, probability=0.15)
    gone = (masked == 0).flatten(2)
    assert torch.equal(gone.any(2), gone.all(2))
    assert torch.equal(masked[masked != 0], maps[masked != 0])
    # 32768 draws of probability 0.15: the deviation of their mean is 0.002.
    assert gone.all(2).float().mean().item() == pytest.approx(0.15, abs=0.01)
    # Each sample draws for itself.
    assert not torch.equal(gone[0], gone[1])


@pytest.mark.parametrize(("probability", "left"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_blur_has_its_limits(probability: float, left: float) -> None:
    maps = torch.ones(8, 8, 2, 2)
    assert torch.equal(blurred(maps, probability=probability), left * maps)


def test_the_error_is_summed_over_a_map_and_averaged_over_samples() -> None:
    feature = torch.zeros(2, 3, 2, 2)
    restored = feature.clone()
    restored[0] = 0.5  # 12 elements of 1/4 in one of two samples
    assert restoration_error(restored, feature).item() == pytest.approx(12 / 4 / 2)
    assert restoration_error(feature, feature).item() == 0


def _soft(student: list[float], teacher: list[float], label: int) -> float:
    found = weighted_soft_labels(
        torch.tensor([student]), torch.tensor([teacher]), torch.tensor([label]), temperature=2.0
    )
    return found.item()


def test_soft_labels_weigh_by_how_much_better_the_teacher_knows_a_sample() -> None:
    # Teacher (1/4, 3/4), and 1 : sqrt 3 once softened; student (1/2, 1/2), softened or not.
    # Label 1: phi = 1 - exp(-ln 2 / ln(4/3)). The softened cross-entropy with (1/2, 1/2) is
    # ln 2 whatever the teacher says, and the temperature squared 4.
    expected = 4 * (1 - math.exp(-math.log(2) / math.log(4 / 3))) * math.log(2)
    assert _soft([0.0, 0.0], [0.0, math.log(3)], 1) == pytest.approx(expected, rel=1e-5)


def test_soft_labels_keep_their_gradient_at_any_temperature() -> None:
    # As above, but for the temperature: of even odds it changes nothing but the factor.
    found = weighted_soft_labels(
        torch.zeros(1, 2),
        torch.tensor([[0.0, math.log(3)]]),
        torch.tensor([1]),
        temperature=3.0,
    )
    expected = 9 * (1 - math.exp(-math.log(2) / math.log(4 / 3))) * math.log(2)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_soft_labels_are_those_of_the_teacher() -> None:
    # Softened: teacher (1/4, 3/4), student (3/4, 1/4). Label 0: the student's cross-entropy
    # is -ln(9/10), the teacher's -ln(1/10).
    share = 1 - math.exp(math.log(0.9) / -math.log(0.1))
    soft = -(0.25 * math.log(0.75) + 0.75 * math.log(0.25))
    found = _soft([2 * math.log(3), 0.0], [0.0, 2 * math.log(3)], 0)
    assert found == pytest.approx(4 * share * soft, rel=1e-5)


def test_soft_labels_are_a_mean_over_samples() -> None:
    # The first sample as above; the second is known for sure and counts nothing.
    found = weighted_soft_labels(
        torch.tensor([[0.0, 0.0], [0.0, 50.0]]),
        torch.tensor([[0.0, math.log(3)], [0.0, 1.0]]),
        torch.tensor([1, 1]),
        temperature=2.0,
    )
    first = 4 * (1 - math.exp(-math.log(2) / math.log(4 / 3))) * math.log(2)
    assert found.item() == pytest.approx(first / 2, rel=1e-5)


def test_a_sample_that_the_student_knows_for_sure_has_no_soft_label() -> None:
    assert _soft([0.0, 50.0], [0.0, 1.0], 1) == pytest.approx(0, abs=1e-6)


def test_a_sample_that_the_teacher_knows_for_sure_counts_in_full() -> None:
    # The teacher's cross-entropy is 0 in float32; student (1/2, 1/2), so 4 * 1 * ln 2.
    assert _soft([0.0, 0.0], [0.0, 100.0], 1) == pytest.approx(4 * math.log(2), rel=1e-6)
    # Both know it for sure: 1 - exp(-0 / 1e-7) = 0, and not 0 / 0.
    assert _soft([0.0, 200.0], [0.0, 200.0], 1) == 0


def test_the_weight_of_a_sample_takes_no_gradient() -> None:
    logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
    taught = torch.tensor([[0.0, 2 * math.log(3)]])  # (1/4, 3/4) once softened
    weighted_soft_labels(logits, taught, torch.tensor([1]), temperature=2.0).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert logits.grad is not None
    # tau^2 phi (q - p) / tau, with q = (1/2, 1/2)
    share = 1 - math.exp(-math.log(2) / math.log(10 / 9))
    assert logits.grad[0].tolist() == pytest.approx([2 * share / 4, -2 * share / 4], rel=1e-5)


def test_the_aligner_is_there_only_where_widths_differ() -> None:
    assert isinstance(aligner(4, 4), nn.Identity)
    align = aligner(4, 6)
    assert isinstance(align, nn.Conv2d)
    assert align.kernel_size == (1, 1)
    assert align.bias is not None


def test_the_generator_is_two_convolutions_that_keep_the_size() -> None:
    layers = list(generator(5).children())
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU, nn.Conv2d]
    assert generator(5)(torch.rand(2, 5, 3, 4)).shape == (2, 5, 3, 4)


def _wide() -> Teacher:
    torch.manual_seed(1)
    network = (
        ConvNet(widths=(4, 7))
        .build(nn.ReLU, input=Image(shape=STATIC), output=Classes(CLASSES))
        .eval()
    )
    network.requires_grad_(requires_grad=False)
    return Teacher(network=network, mean=(0.5,), std=(0.5,))


def test_generator_and_aligner_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    extras: list[nn.Module] = []
    start: list[nn.Module] = []

    def spying(*args: Any, also_train: list[nn.Module], **kwargs: Any) -> Iterator[Progress]:
        extras.extend(also_train)
        start.extend(deepcopy(also_train))
        return descend(*args, also_train=also_train, **kwargs)

    monkeypatch.setattr(bkdsnn, "descend", spying)
    torch.manual_seed(0)
    list(Bkdsnn(restoring=1.0).fit(student("convnet"), lesson(_wide())))
    weights = [(a, b) for x, y in zip(start, extras, strict=True) for a, b in _pairs(x, y)]
    assert len(weights) == 2 + 4  # weight and bias of one convolution and of two
    for before, after in weights:
        assert after.grad is not None
        assert after.grad.any()
        assert not torch.equal(before, after)


def _pairs(before: nn.Module, after: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(before.parameters(), after.parameters(), strict=True)


def test_rates_and_logits_are_means_over_time_and_the_blur_is_the_methods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bkdsnn, "generator", lambda _: nn.Identity())
    monkeypatch.setattr(bkdsnn, "blurred", lambda maps, *, probability: probability * maps)
    learner, guide = student("convnet", timesteps=4), teacher("convnet")
    course = lesson(guide, timesteps=4)
    batch = next(iter(course))
    output, answer = learner(batch.stimulus, ["stage1"]), guide.see(batch.images, ["stage1"])
    rate, mean = output.taps["stage1"].sum(0) / 4, output.logits.sum(0) / 4
    squares = (0.25 * rate - answer.taps["stage1"][0]).square().sum() / len(batch.labels)
    soft = weighted_soft_labels(mean, answer.logits[0], batch.labels, temperature=3.0)
    expected = nn.functional.cross_entropy(mean, batch.labels) + 0.5 * squares + 7 * soft
    method = Bkdsnn(restoring=0.5, blur=0.25, temperature=3.0, weight=7.0)
    first = next(iter(method.fit(learner, course)))
    assert first.loss == pytest.approx(expected.item(), rel=1e-5)


def test_the_three_terms_add_up() -> None:
    def first(method: Bkdsnn) -> float:
        torch.manual_seed(0)
        return next(iter(method.fit(student("convnet"), lesson(teacher("convnet"))))).loss

    nothing = first(Bkdsnn(restoring=0.0, weight=0.0))
    restoring, soft = first(Bkdsnn(restoring=1e-3, weight=0.0)), first(Bkdsnn(restoring=0.0))
    both = first(Bkdsnn(restoring=2e-3, weight=3.0))
    assert restoring > nothing
    assert soft > nothing
    expected = nothing + 2 * (restoring - nothing) + 3 * (soft - nothing)
    assert both == pytest.approx(expected, rel=1e-5)


def test_the_map_is_that_before_the_last_layer() -> None:
    assert last_stage({"stem": 1, "stage1": 2, "stage2": 3, "penultimate": 3}) == "stage2"
    with pytest.raises(UnsupportedError, match="no last map"):
        last_stage({"stem": 1, "penultimate": 3})


def test_the_published_constants_are_the_defaults() -> None:
    assert Bkdsnn(restoring=2e-3, blur=0.15, temperature=2.0, weight=1.0) == METHOD
