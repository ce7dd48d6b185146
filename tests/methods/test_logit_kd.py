"""Softened logits beside the labels, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from harness.contracts.model import Output
from suites.methods.logit_kd import METHOD, LogitKd
from tests.methods.teaching_aids import Nobody

LABEL = torch.tensor([0])
# On average over time 1 : 9 for the second class: [T = 2, N = 1, K = 2].
LOGITS = torch.tensor([[[5.0, 1.0]], [[-5.0, 4 * math.log(3) - 1.0]]])
LABELS = math.log(1 + 9)
# A teacher of 1 : 81 against 1 : 9. At temperature 4 that is 1 : 3 against 1 : sqrt 3, at
# temperature 2 it is 1 : 9 against 1 : 3.
ROOT = math.sqrt(3)
AT_4 = 0.25 * math.log(0.25 * (1 + ROOT)) + 0.75 * math.log(0.75 * (1 + ROOT) / ROOT)
AT_2 = 0.1 * math.log(0.1 * 4) + 0.9 * math.log(0.9 * 4 / 3)


class _Said(Nobody):
    """A teacher that says 1 : 81."""

    def __init__(self) -> None:
        pass

    @property
    def logits(self) -> Tensor:
        return torch.tensor([[0.0, 4 * math.log(3)]])


def test_by_default_the_divergence_at_four_counts_as_much_as_the_labels() -> None:
    loss = METHOD.loss(Output(logits=LOGITS), _Said(), LABEL)  # type: ignore[attr-defined]  # a LogitKd
    assert loss.item() == pytest.approx(LABELS + 16 * AT_4, rel=1e-6)


def test_temperature_and_weight_are_what_they_say() -> None:
    loss = LogitKd(temperature=2.0, weight=0.5).loss(Output(logits=LOGITS), _Said(), LABEL)
    assert loss.item() == pytest.approx(LABELS + 0.5 * 4 * AT_2, rel=1e-6)
