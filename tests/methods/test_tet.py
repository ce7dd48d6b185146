"""Labels at every step and a square that holds the logits, against numbers worked out by hand."""

import math

import pytest
import torch

from harness.contracts.model import Output
from suites.methods.tet import METHOD, Tet
from tests.methods.teaching_aids import NOBODY, lesson, student

LN3 = math.log(3)
# Two steps of one sample: 1 : 3, then 3 : 1; on average 1 : 1. [T = 2, N = 1, K = 2]
LOGITS = torch.tensor([[[1.0, 1 + LN3]], [[1.0, 1 - LN3]]])
LABEL = torch.tensor([0])
STEPWISE = (math.log(4) + math.log(4 / 3)) / 2  # the label has 1/4, then 3/4
FROM_ONE = LN3**2 / 2
FROM_TWO = (1 + (LN3 - 1) ** 2 + 1 + (LN3 + 1) ** 2) / 4


def _loss(method: Tet, logits: torch.Tensor = LOGITS, label: torch.Tensor = LABEL) -> float:
    return method.loss(Output(logits=logits), NOBODY, label).item()


def test_by_default_a_thousandth_holds_the_logits_at_one() -> None:
    expected = 0.999 * STEPWISE + 0.001 * FROM_ONE
    assert _loss(METHOD) == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]  # a Tet


def test_share_and_potential_are_what_they_say() -> None:
    method = Tet(share=0.25, potential=2.0)
    assert _loss(method) == pytest.approx(0.75 * STEPWISE + 0.25 * FROM_TWO, rel=1e-6)


def test_labels_are_asked_of_every_step() -> None:
    # Of the mean logits the cross-entropy would be ln 2.
    assert _loss(Tet(share=0.0)) == pytest.approx(STEPWISE, rel=1e-6)


def test_the_square_is_a_mean_over_samples_too() -> None:
    twice = LOGITS.expand(2, 3, 2)
    found = _loss(Tet(share=1.0), twice, torch.tensor([0, 1, 0]))
    assert found == pytest.approx(FROM_ONE, rel=1e-6)


def test_that_loss_is_descended_from_where_the_student_stands() -> None:
    learner, course = student(), lesson(None)
    batch = next(iter(course))
    expected = Tet().loss(learner(batch.stimulus), NOBODY, batch.labels).item()
    assert next(iter(METHOD.fit(learner, course))).loss == pytest.approx(expected, rel=1e-6)
