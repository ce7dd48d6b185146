"""Neurons without memory, by hand."""

import math

import pytest
import torch

from harness.neurons.heaviside import Heaviside


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_it_fires_from_0_on_and_learns_by_the_arc_tangents_slope(dtype: torch.dtype) -> None:
    # a/2 / (1 + (pi a x / 2)^2) with a = 2, at 0 and where pi x is 1 in size.
    signal = torch.tensor([0.0, 1 / math.pi, -1 / math.pi], dtype=dtype, requires_grad=True)
    spikes = Heaviside()(signal)
    assert spikes.dtype == dtype
    assert spikes.tolist() == [1, 1, 0]
    spikes.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert signal.grad is not None
    assert signal.grad.tolist() == pytest.approx([1, 0.5, 0.5], rel=0.01)
