"""Temporal separation with a bonus for entropy, against numbers worked out by hand."""

import math

import pytest
import torch

from harness.contracts.model import Output
from suites.methods.tser import METHOD, Tser, mean_entropy
from tests.methods.teaching_aids import Said, lesson, student, teacher

LN3 = math.log(3)
# Two steps of one sample: 1 : 3, then 3 : 1; on average 1 : 1, which the teacher says too.
LOGITS = torch.tensor([[[0.0, LN3]], [[0.0, -LN3]]])  # [T = 2, N = 1, K = 2]
LABEL = torch.tensor([0])
STEPWISE = (math.log(4) + math.log(4 / 3)) / 2  # the label has 1/4, then 3/4
# KL((1/2, 1/2) || (1/4, 3/4)) and the entropy of (1/4, 3/4), the same for both steps
FROM_EVEN = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
ENTROPY = math.log(4) - 0.75 * LN3


EVEN = Said(torch.zeros(1, 2))  # a teacher that finds both classes equally likely


def test_by_default_half_comes_from_the_teacher_at_four_and_a_tenth_is_for_entropy() -> None:
    # Softened by 4, the steps of four times the logits are 1 : 3 and 3 : 1; the labels see
    # 1 : 81 and 81 : 1.
    labels = (math.log(82) + math.log(82 / 81)) / 2
    loss = METHOD.loss(Output(logits=4 * LOGITS), EVEN, LABEL)  # type: ignore[attr-defined]  # a Tser
    expected = 0.5 * labels + 0.5 * 16 * FROM_EVEN - 0.1 * ENTROPY
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_every_parameter_is_what_it_says() -> None:
    method = Tser(temperature=2.0, alpha=0.25, gamma=3.0)
    labels = (math.log(10) + math.log(10 / 9)) / 2
    loss = method.loss(Output(logits=2 * LOGITS), EVEN, LABEL)
    expected = 0.75 * labels + 0.25 * 4 * FROM_EVEN - 3 * ENTROPY
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_labels_and_teacher_are_asked_of_every_step() -> None:
    # Of the mean logits the cross-entropy would be ln 2 and the divergence 0.
    for alpha, expected in ((0.0, STEPWISE), (1.0, FROM_EVEN)):
        method = Tser(temperature=1.0, alpha=alpha, gamma=0.0)
        loss = method.loss(Output(logits=LOGITS), EVEN, LABEL)
        assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_entropy_is_raised() -> None:
    logits = LOGITS.clone().requires_grad_()
    method = Tser(temperature=1.0, alpha=0.0, gamma=1.0)
    loss = method.loss(Output(logits=logits), EVEN, LABEL)
    plain = Tser(temperature=1.0, alpha=0.0, gamma=0.0)
    (gradient,) = torch.autograd.grad(loss - plain.loss(Output(logits=logits), EVEN, LABEL), logits)
    assert mean_entropy(LOGITS - 0.1 * gradient) > mean_entropy(LOGITS)


def test_entropy_is_a_mean_over_steps_and_samples_in_nats() -> None:
    even, sure = torch.zeros(2, 3), torch.tensor([[200.0, 0.0, 0.0]])
    assert mean_entropy(even).item() == pytest.approx(LN3, rel=1e-6)
    mixed = torch.stack([even, torch.cat([sure, sure])])  # [T = 2, N = 2, K = 3]
    assert mean_entropy(mixed).item() == pytest.approx(LN3 / 2, rel=1e-6)


def test_certainty_leaves_gradients_finite() -> None:
    logits = torch.tensor([[0.0, 200.0, 0.0]], requires_grad=True)  # exp(-200) is 0 in float32
    (gradient,) = torch.autograd.grad(mean_entropy(logits), logits)
    assert torch.isfinite(gradient).all()


def test_that_loss_is_descended_from_where_the_student_stands() -> None:
    learner, course = student(), lesson(teacher())
    batch = next(iter(course))
    expected = Tser().loss(learner(batch.stimulus), course.answer(batch), batch.labels).item()
    assert next(iter(METHOD.fit(learner, course))).loss == pytest.approx(expected, rel=1e-6)
