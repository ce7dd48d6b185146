"""What a last layer that only accumulates says, and that decisions are the same for both."""

import numpy as np
import pytest
import torch

from harness.evaluation.decisions import decide
from harness.training.readout import accumulated, read_out

LOGITS = torch.tensor([[[1.0, 2.0]], [[4.0, -1.0]], [[-2.0, 3.0]]])  # [T = 3, N = 1, K = 2]


def test_a_membrane_is_the_sum_of_the_currents_so_far() -> None:
    assert accumulated(LOGITS)[:, 0].tolist() == [[1, 2], [5, 1], [3, 4]]


def test_a_loss_sees_the_last_membrane_or_the_mean() -> None:
    assert read_out(LOGITS, "accumulated").tolist() == [[3, 4]]
    assert read_out(LOGITS, "mean")[0].tolist() == pytest.approx([1, 4 / 3])


def test_the_decision_after_every_step_is_the_largest_membrane() -> None:
    logits = torch.randn(6, 50, 5, generator=torch.Generator().manual_seed(0))
    largest = accumulated(logits.double()).argmax(-1).numpy()
    assert np.array_equal(decide(logits.numpy()), largest)
    assert np.array_equal(largest[-1], read_out(logits, "accumulated").argmax(-1).numpy())
