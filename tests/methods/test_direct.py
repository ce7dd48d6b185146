"""The labels alone, against numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from harness.contracts.model import Output
from suites.methods.direct import METHOD, Direct
from tests.methods.teaching_aids import NOBODY, lesson, student

# Right in the first step, wrong in the second, on average undecided: [T = 2, N = 1, K = 2].
LOGITS = torch.tensor([[[5.0, 1.0]], [[-5.0, -1.0]]])


def test_the_mean_over_time_is_read() -> None:
    # Step by step the loss would be 2 + ln(1 + e^-4) on average, and of the sum it is the same
    # as of the mean only here.
    loss = Direct().loss(Output(logits=LOGITS), NOBODY, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)
    twice = torch.tensor([[[0.0, 0.0]], [[0.0, 2 * math.log(3)]]])  # on average 1 : 3
    loss = Direct().loss(Output(logits=twice), NOBODY, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)


def test_samples_are_averaged() -> None:
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]]])
    loss = Direct().loss(Output(logits=logits), NOBODY, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2, rel=1e-6)


def test_that_loss_is_descended_from_where_the_student_stands() -> None:
    learner, course = student(), lesson(None)
    batch = next(iter(course))
    expected = cross_entropy(learner(batch.stimulus).logits.mean(0), batch.labels).item()
    assert next(iter(METHOD.fit(learner, course))).loss == pytest.approx(expected, rel=1e-6)
