"""The decoupled divergence against three classes worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.model import Output
from harness.training import softened_kl
from suites.methods.dkd import METHOD, Dkd, decoupled_kl
from tests.methods.teaching_aids import Said, lesson, student, teacher

# The same sample twice, once with its classes in another order.
TEACHER = torch.tensor([[3.0, 2.0, 1.0], [2.0, 1.0, 3.0]]) / 6
STUDENT = torch.tensor([[1.0, 1.0, 2.0], [1.0, 2.0, 1.0]]) / 4
LABELS = torch.tensor([0, 2])
# Label against rest: 1/2, 1/2 and 1/4, 3/4. Within the rest: 2/3, 1/3 and 1/3, 2/3.
OF_LABEL = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
OF_OTHERS = 2 / 3 * math.log(2) - 1 / 3 * math.log(2)


def _loss(method: Dkd, temperature: float, risen: float = 1.0) -> float:
    logits, shift = temperature * STUDENT.log(), torch.tensor([[1.0, -2.0, 3.0]])
    steps = torch.stack([logits + shift, logits - shift])  # on average the student
    return method.loss(
        Output(logits=steps), Said(temperature * TEACHER.log()), LABELS, risen=risen
    ).item()


def test_by_default_the_others_weigh_eight_and_the_label_one_at_temperature_four() -> None:
    # The labels see q^4: 1 : 1 : 16.
    expected = math.log(18) + 16 * (OF_LABEL + 8 * OF_OTHERS)
    assert _loss(METHOD, 4.0) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]  # a Dkd


def test_every_parameter_is_what_it_says() -> None:
    method = Dkd(temperature=2.0, alpha=3.0, beta=0.5)
    expected = math.log(6) + 4 * (3 * OF_LABEL + 0.5 * OF_OTHERS)
    assert _loss(method, 2.0) == pytest.approx(expected, rel=1e-5)


def test_what_has_not_risen_counts_less_and_the_labels_count_at_once() -> None:
    expected = math.log(18) + 0.25 * 16 * (OF_LABEL + 8 * OF_OTHERS)
    assert _loss(Dkd(), 4.0, risen=0.25) == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 5))
def test_weighed_by_the_teachers_doubt_the_parts_are_the_whole(seed: int, scale: float) -> None:
    # Zhao et al., eq. 6: KL = TCKD + (1 - p_label) NCKD, sample by sample.
    chance = torch.Generator().manual_seed(seed)
    ours, theirs = scale * torch.randn(2, 1, 5, dtype=torch.float64, generator=chance)
    labels = torch.tensor([seed % 5])
    of_label, of_others = decoupled_kl(ours, theirs, labels)
    doubt = 1 - theirs.softmax(-1)[0, labels[0]]
    whole = softened_kl(ours, theirs, temperature=1.0)
    assert (of_label + doubt * of_others).item() == pytest.approx(whole.item(), abs=1e-10)


def test_two_classes_leave_nothing_within_the_rest() -> None:
    logits = torch.tensor([[0.0, 3.0], [1.0, -1.0]])
    _, of_others = decoupled_kl(logits, -logits, torch.tensor([0, 1]))
    assert of_others.item() == 0


def test_certainty_leaves_loss_and_gradients_finite() -> None:
    # exp(-200) is 0 in float32; the logarithms are not.
    logits = torch.tensor([[0.0, 200.0, 0.0], [200.0, 0.0, 0.0]], requires_grad=True)
    taught = torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 200.0]])
    found = sum(decoupled_kl(logits, taught, torch.tensor([0, 1])))
    assert isinstance(found, torch.Tensor)
    (gradient,) = torch.autograd.grad(found, logits)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()


def _told(method: Dkd, *, steps: int) -> list[float]:
    """Return the loss of every step, of a student that does not move."""
    torch.manual_seed(0)
    return [each.loss for each in method.fit(student(), _course(steps))]


def _course(steps: int):  # type: ignore[no-untyped-def]  # noqa: ANN202  a lesson
    torch.manual_seed(1)
    guide = teacher()
    with torch.no_grad():
        guide.network.get_parameter("linear.bias").copy_(torch.tensor([0.0, 9.0, -9.0]))
    return lesson(guide, steps=steps, learning_rate=1e-12)


def test_both_parts_rise_over_the_first_twelfth_of_the_steps() -> None:
    # 0.0833 of 36 steps are 2.9988: a third and two thirds of the way, and then all of it.
    risen = [1 / 2.9988, 2 / 2.9988, *[1.0] * 34]
    never, at_once = _told(Dkd(alpha=0.0, beta=0.0), steps=36), _told(Dkd(warmup=0.0), steps=36)
    torch.manual_seed(0)
    learner, course = student(), _course(1)
    batch = next(iter(course))
    first = Dkd().loss(learner(batch.stimulus), course.answer(batch), batch.labels)
    assert at_once[0] == pytest.approx(first.item(), rel=1e-6)
    expected = [
        labels + share * (whole - labels)
        for share, whole, labels in zip(risen, at_once, never, strict=True)
    ]
    assert _told(METHOD, steps=36) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]  # a Dkd
    assert at_once[0] > never[0] + 1  # or there were nothing to see rise


def test_the_rise_begins_anew_with_every_training() -> None:
    assert _told(METHOD, steps=36)[:3] == _told(METHOD, steps=36)[:3]  # type: ignore[arg-type]  # a Dkd
