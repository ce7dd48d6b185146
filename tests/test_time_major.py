"""Splitting into steps and joining again: the same numbers, in the same layout."""

from collections.abc import Callable
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.neurons.time_major import join_steps, split_steps

LAYOUTS = {"plain": torch.contiguous_format, "channels last": torch.channels_last}


def frames(steps: int, layout: torch.memory_format) -> Tensor:
    drawn = torch.randn(steps * 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return torch.unflatten(drawn.contiguous(memory_format=layout), 0, (steps, 2))


# How a signal can come: frames over real time, a single step, a constant one expanded.
COMING: dict[str, Callable[[torch.memory_format], Tensor]] = {
    "frames": lambda layout: frames(3, layout),
    "one step": lambda layout: frames(1, layout),
    "constant": lambda layout: frames(1, layout).expand(3, -1, -1, -1, -1),
    "slice of frames": lambda layout: frames(5, layout)[1:4],
}


def is_laid_out(signal: Tensor, layout: torch.memory_format) -> bool:
    return all(step.is_contiguous(memory_format=layout) for step in signal)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("coming", COMING.values(), ids=COMING)
def test_the_layout_is_kept_forward_and_backward(
    coming: Callable[[torch.memory_format], Tensor], layout: torch.memory_format
) -> None:
    # Neither a leaf, whose gradient autograd copies into the leaf's own layout, nor an
    # expansion of one, whose gradient is a sum in torch's layout: the signal itself.
    signal = coming(layout).requires_grad_()
    steps = split_steps(signal)
    assert all(step.is_contiguous(memory_format=layout) for step in steps)
    joined = join_steps([step * (2 + index) for index, step in enumerate(steps)])
    assert is_laid_out(joined, layout)
    (gradient,) = torch.autograd.grad(joined, signal, torch.empty_like(joined).fill_(1))
    assert is_laid_out(gradient, layout)
    factors = torch.arange(2.0, 2 + len(signal)).view(-1, 1, 1, 1, 1)
    assert torch.equal(joined, signal * factors)
    assert torch.equal(gradient, factors.expand_as(signal))


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    order=st.randoms(use_true_random=False),
    held=st.integers(0, 3),
)
def test_joining_undoes_splitting(shape: list[int], order: Random, held: int) -> None:
    axes = list(range(len(shape)))
    order.shuffle(axes)
    signal = torch.arange(float(torch.Size(shape).numel())).view(shape).permute(axes)
    if held:  # a constant current, expanded over so many steps
        signal = signal[:1].expand(held, *signal.shape[1:])
    steps = split_steps(signal)
    assert [step.shape for step in steps] == [signal.shape[1:]] * signal.shape[0]
    assert torch.equal(join_steps(steps), signal)


@pytest.mark.parametrize("steps", [1, 3])
def test_an_empty_batch_stays_empty_forward_and_backward(steps: int) -> None:
    for empty in (torch.zeros(1, 0, 3).expand(steps, 0, 3), torch.zeros(steps, 0, 3)):
        signal = empty.requires_grad_()
        joined = join_steps(split_steps(signal))
        assert joined.shape == (steps, 0, 3)
        (gradient,) = torch.autograd.grad(joined.sum(), signal)
        assert gradient.shape == (steps, 0, 3)


def test_a_constant_signal_is_split_without_copies() -> None:
    signal = torch.randn(1, 2, 3).expand(4, 2, 3)
    assert {step.data_ptr() for step in split_steps(signal)} == {signal.data_ptr()}


def test_a_step_that_is_not_used_has_no_gradient_of_its_own() -> None:
    for signal in (torch.ones(3, 2), torch.ones(1, 2).expand(3, 2)):
        signal.requires_grad_()
        (gradient,) = torch.autograd.grad(split_steps(signal)[1].sum(), signal)
        assert gradient.tolist() == [[0, 0], [1, 1], [0, 0]]
