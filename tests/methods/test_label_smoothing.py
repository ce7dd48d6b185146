"""Smoothed labels alone, against numbers worked out by hand."""

import math

import pytest
import torch

from harness import discovery
from harness.contracts.model import Output
from suites.methods.label_smoothing import METHOD, LabelSmoothing
from tests.methods.teaching_aids import NOBODY, lesson, student

LABEL = torch.tensor([0])
LOGITS = torch.tensor([[[5.0, 1.0]], [[-5.0, 2 * math.log(3) - 1.0]]])  # on average 1 : 3


def _loss(method: LabelSmoothing) -> float:
    return method.loss(Output(logits=LOGITS), NOBODY, LABEL).item()


def test_by_default_the_classes_share_a_tenth() -> None:
    # Of two classes the label has 0.95, the other 0.05; the student gives them 1/4 and 3/4.
    expected = 0.95 * math.log(4) + 0.05 * math.log(4 / 3)
    assert _loss(METHOD) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]  # a LabelSmoothing


def test_smoothing_is_what_it_says() -> None:
    assert _loss(LabelSmoothing(smoothing=0.0)) == pytest.approx(math.log(4), rel=1e-6)
    expected = 0.5 * math.log(4) + 0.5 * math.log(4 / 3)
    assert _loss(LabelSmoothing(smoothing=1.0)) == pytest.approx(expected, rel=1e-6)


def test_it_is_a_control_that_asks_no_teacher() -> None:
    card = discovery.method_card("label_smoothing")
    assert card is not None
    assert card.control
    assert not card.uses_teacher


def test_that_loss_is_descended_from_where_the_student_stands() -> None:
    learner, course = student(), lesson(None)
    batch = next(iter(course))
    expected = LabelSmoothing().loss(learner(batch.stimulus), NOBODY, batch.labels).item()
    assert next(iter(METHOD.fit(learner, course))).loss == pytest.approx(expected, rel=1e-6)
