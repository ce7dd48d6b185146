"""Correlations over classes and over the batch, against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.contracts.model import Output
from suites.methods.dist import METHOD, Dist, correlation
from tests.methods.teaching_aids import Said, lesson, student, teacher

STUDENT = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]]) / 6
TEACHER = torch.tensor([[3.0, 2.0, 1.0], [2.0, 1.0, 3.0]]) / 6
LABELS = torch.tensor([0, 2])
# Rows less their means are (1, 0, -1) twice, and (-1, 1, 0) with (0, -1, 1): 1 and -1/2.
INTER = 1 / 4
# Columns: 3, 1 with 3, 2, then 2, 3 with 2, 1, then 1, 2 with 1, 3: 1, -1 and 1.
INTRA = 1 / 3


def _loss(method: Dist, temperature: float) -> float:
    logits, shift = temperature * STUDENT.log(), torch.tensor([[1.0, -2.0, 3.0]])
    steps = torch.stack([logits + shift, logits - shift])  # on average the student
    return method.loss(Output(logits=steps), Said(temperature * TEACHER.log()), LABELS).item()


def test_by_default_both_relations_weigh_two_at_temperature_four() -> None:
    # The labels see p^4: 81 : 16 : 1 and 1 : 81 : 16.
    expected = math.log(98 / math.sqrt(81 * 16)) + 16 * (2 * (1 - INTER) + 2 * (1 - INTRA))
    assert _loss(METHOD, 4.0) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]  # a Dist


def test_every_parameter_is_what_it_says() -> None:
    method = Dist(temperature=2.0, beta=0.5, gamma=3.0)
    expected = math.log(14 / math.sqrt(9 * 4)) + 4 * (0.5 * (1 - INTER) + 3 * (1 - INTRA))
    assert _loss(method, 2.0) == pytest.approx(expected, rel=1e-5)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_a_correlation_knows_no_scale_and_no_offset(seed: int, scale: float, shift: float) -> None:
    rows = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    ours, theirs = rows
    # The 1e-8 in the denominator is a part in 1e6 of a product of lengths above 0.01.
    tolerance = 1e-6 / min(scale, 1)
    same = correlation(scale * ours + shift, theirs)
    assert torch.allclose(same, correlation(ours, theirs), atol=tolerance)
    opposite = correlation(-ours, theirs)
    assert torch.allclose(opposite, -correlation(ours, theirs), atol=1e-12)


def test_rows_that_hardly_vary_count_less_and_those_that_do_not_count_nothing() -> None:
    # Lengths of 1e-4 each: 1e-8 over 1e-8 + 1e-8.
    faint = torch.tensor([[1.0, -1.0]], dtype=torch.float64) * 1e-4 / math.sqrt(2)
    assert correlation(faint, faint).item() == pytest.approx(1 / 2, rel=1e-9)
    flat = torch.full((1, 3), 1 / 4, requires_grad=True)
    found = correlation(flat, TEACHER[:1])
    (gradient,) = torch.autograd.grad(found.sum(), flat)
    assert found.item() == 0
    assert torch.isfinite(gradient).all()


def test_that_loss_is_descended_from_where_the_student_stands() -> None:
    learner, course = student(), lesson(teacher())
    batch = next(iter(course))
    expected = Dist().loss(learner(batch.stimulus), course.answer(batch), batch.labels).item()
    assert next(iter(METHOD.fit(learner, course))).loss == pytest.approx(expected, rel=1e-5)
