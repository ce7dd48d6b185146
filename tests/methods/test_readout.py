"""What a loss sees of the last layer, and that decisions are the same whatever it sees."""

import numpy as np
import pytest
import torch

from harness.evaluation.decisions import decide
from harness.training.readout import read_out

LOGITS = torch.tensor([[[1.0, 2.0]], [[4.0, -1.0]], [[-2.0, 3.0]]])  # [T = 3, N = 1, K = 2]


def test_a_loss_sees_the_last_membrane_or_the_mean() -> None:
    assert read_out(LOGITS, "accumulated").tolist() == [[3, 4]]
    assert read_out(LOGITS, "mean")[0].tolist() == pytest.approx([1, 4 / 3])


def test_the_decision_after_every_step_is_the_largest_membrane() -> None:
    logits = torch.randn(6, 50, 5, generator=torch.Generator().manual_seed(0))
    decisions = decide(logits.numpy())
    for step in range(6):
        membrane = read_out(logits[: step + 1].double(), "accumulated")
        assert np.array_equal(decisions[step], membrane.argmax(-1).numpy())
