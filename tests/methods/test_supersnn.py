"""Relations between samples: numbers by hand, and what must not matter to them."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness.training.losses import relations
from suites.methods.supersnn import (
    Relation,
    SuperSnn,
    angle_error,
    cosine_error,
    distance_error,
    relational_error,
    similarity_preserving_error,
)
from tests.methods.small import lesson, student, teacher
from tests.methods.teaching_aids import lesson as tiny_lesson
from tests.methods.teaching_aids import student as tiny_student
from tests.methods.teaching_aids import teacher as tiny_teacher

Error = Callable[[Tensor, Tensor], Tensor]
ERRORS: list[Error] = [cosine_error, similarity_preserving_error, distance_error, angle_error]
RELATIONS: list[Relation] = ["cosine", "sp", "rkd"]
ROUNDING = 1e-12  # float64, over sums of at most 7^3 terms of order 1


def _vectors(seed: int, *, samples: int = 7, width: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, width, dtype=torch.float64, generator=generator)


def _rotation(width: int = 5) -> Tensor:
    return torch.linalg.qr(_vectors(9, samples=width, width=width)).Q


def test_cosine_error_of_three_samples_is_the_one_worked_out_by_hand() -> None:
    # Ours, less its mean: -1, 0, 1. The middle one has no direction, its row is 0.
    ours = torch.tensor([[3.0], [4.0], [5.0]])
    # Theirs, less its mean: (1, 0), (0, 1), (-1, -1); cosines 0, -1/sqrt 2, -1/sqrt 2.
    theirs = torch.tensor([[3.0, 2.0], [2.0, 3.0], [1.0, 1.0]])
    # Diagonal: (1, 0, 1) against (1, 1, 1). Pairs, each twice: 0 against 0, -1 against
    # -1/sqrt 2, and 0 against -1/sqrt 2.
    expected = (1 + 2 * (1 - 1 / math.sqrt(2)) ** 2 + 2 * 0.5) / 9
    assert cosine_error(ours, theirs).item() == pytest.approx(expected, rel=1e-6)


def test_similarity_preserving_error_of_two_samples_is_the_one_worked_out_by_hand() -> None:
    ours = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # Gram diag(4, 9), rows (1, 0) and (0, 1)
    theirs = torch.tensor([[1.0], [1.0]])  # Gram all 1, rows (1, 1) / sqrt 2
    expected = ((1 - 1 / math.sqrt(2)) ** 2 + 0.5) / 2  # two equal rows over 2^2
    found = similarity_preserving_error(ours, theirs).item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_distance_error_of_three_samples_is_the_one_worked_out_by_hand() -> None:
    ours = torch.tensor([[0.0], [1.0], [3.0]])  # 1, 2, 3 of mean 2: 1/2, 1, 3/2
    theirs = torch.tensor([[0.0], [1.0], [2.0]])  # 1, 1, 2 of mean 4/3: 3/4, 3/4, 3/2
    expected = 4 * 0.5 * 0.25**2 / 9  # two pairs apart by 1/4, each twice
    assert distance_error(ours, theirs).item() == pytest.approx(expected, rel=1e-6)


def test_angle_error_of_three_samples_is_the_one_worked_out_by_hand() -> None:
    ours = torch.tensor([[0.0], [1.0], [3.0]])  # in a line: cosines 1, -1, 1
    theirs = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])  # 0, 1/sqrt 2, 1/sqrt 2
    # Huber: d^2/2 up to 1, |d| - 1/2 above. Each angle twice; what is not an angle is alike.
    obtuse = 1 + 1 / math.sqrt(2) - 0.5
    sharp = 0.5 * (1 - 1 / math.sqrt(2)) ** 2
    expected = 2 * (0.5 + obtuse + sharp) / 27
    assert angle_error(ours, theirs).item() == pytest.approx(expected, rel=1e-6)


def test_relational_error_weighs_distances_25_and_angles_50() -> None:
    ours, theirs = _vectors(0), _vectors(1)
    expected = 25 * distance_error(ours, theirs) + 50 * angle_error(ours, theirs)
    assert relational_error(ours, theirs).item() == pytest.approx(expected.item())


def test_angles_have_their_vertex_first() -> None:
    corner = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    found = relations.angles(corner)
    assert found[0, 1, 2].item() == pytest.approx(0, abs=1e-6)  # the right angle
    assert found[1, 0, 2].item() == pytest.approx(2 / math.sqrt(13), rel=1e-6)
    assert found[2, 0, 1].item() == pytest.approx(3 / math.sqrt(13), rel=1e-6)


@pytest.mark.parametrize("error", ERRORS)
def test_a_relation_vanishes_at_equality_and_only_there(error: Error) -> None:
    ours = _vectors(0)
    assert error(ours, ours).item() == 0
    assert error(ours, _vectors(1)).item() > 1e-3


@pytest.mark.parametrize("error", ERRORS)
def test_a_relation_does_not_see_a_rotation_of_the_features(error: Error) -> None:
    ours = _vectors(0)
    assert error(ours @ _rotation(), ours).item() == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("error", ERRORS)
def test_a_relation_does_not_see_the_scale_of_the_features(error: Error) -> None:
    ours = _vectors(0)
    assert error(3.7 * ours, ours).item() == pytest.approx(0, abs=ROUNDING)


@pytest.mark.parametrize("error", [cosine_error, distance_error, angle_error])
def test_all_but_similarity_preserving_ignore_where_the_origin_is(error: Error) -> None:
    ours = _vectors(0)
    assert error(ours + 2, ours).item() == pytest.approx(0, abs=ROUNDING)
    assert similarity_preserving_error(ours + 2, ours).item() > 1e-3


@pytest.mark.parametrize("error", ERRORS)
def test_a_relation_ignores_the_order_of_the_batch_if_it_is_common(error: Error) -> None:
    ours, theirs, order = _vectors(0), _vectors(1, width=3), [4, 2, 6, 0, 1, 5, 3]
    expected = error(ours, theirs).item()
    assert error(ours[order], theirs[order]).item() == pytest.approx(expected, rel=1e-12)
    assert error(ours[order], theirs).item() != pytest.approx(expected, rel=1e-3)


def test_features_that_are_not_centred_are_all_alike() -> None:
    # Why the mean is subtracted: at a mean of 100 the cosines differ from 1 by some 1e-4.
    ours, theirs = _vectors(0) + 100, _vectors(1) + 100
    plain = relations.similarities(ours) - relations.similarities(theirs)
    assert plain.square().mean().item() < 1e-6
    assert cosine_error(ours, theirs).item() > 1e-2


@pytest.mark.parametrize("error", [*ERRORS, relational_error])
@pytest.mark.parametrize("samples", [1, 4])
def test_a_batch_of_equal_or_silent_students_has_a_finite_gradient(
    error: Error, samples: int
) -> None:
    for value in (0.0, 0.3):
        ours = torch.full((samples, 5), value, requires_grad=True)
        error(ours, _vectors(0, samples=samples).float()).backward()
        assert ours.grad is not None
        assert ours.grad.abs().max() < 1e3


def test_one_silent_student_has_no_gradient_of_its_own_similarity() -> None:
    ours = torch.eye(3)
    ours[0] = 0
    ours.requires_grad_()
    relations.similarities(ours)[0].sum().backward()
    assert ours.grad is not None
    assert torch.equal(ours.grad[0], torch.zeros(3))


@pytest.mark.parametrize("error", ERRORS)
def test_a_relation_is_not_rounded_inside_autocast(error: Error) -> None:
    ours, theirs = _vectors(0).float(), _vectors(1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = error(ours, theirs)
    assert found.dtype == torch.float32
    assert found.item() == error(ours, theirs).item()


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_loss_compares_rates_averaged_over_time(relation: Relation) -> None:
    method = SuperSnn(relation=relation, weight=3.0)
    tap = "stage1" if relation == "sp" else "penultimate"
    learner, guide = student(timesteps=4), teacher()
    course = lesson(guide, timesteps=4)
    batch = next(iter(course))
    output = learner(batch.stimulus, [tap])
    assert not torch.equal(output.taps[tap][0], output.taps[tap][1])
    rate = sum(output.taps[tap]) / 4
    feature = guide.see(batch.images, [tap]).taps[tap][0]
    error = {
        "cosine": cosine_error,
        "sp": similarity_preserving_error,
        "rkd": relational_error,
    }[relation](rate.flatten(1), feature.flatten(1))
    label_loss = torch.nn.functional.cross_entropy(output.logits.mean(0), batch.labels)
    expected = label_loss + 3.0 * error
    first = next(iter(method.fit(learner, course)))
    assert first.loss == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("relation", RELATIONS)
def test_networks_of_different_widths_can_be_compared(relation: Relation) -> None:
    method = replace(SuperSnn(), relation=relation)
    learner = tiny_student(channels=2)
    before = learner.network.conv.weight.clone()
    assert list(method.fit(learner, tiny_lesson(tiny_teacher(channels=5))))
    assert not torch.equal(before, learner.network.conv.weight)
