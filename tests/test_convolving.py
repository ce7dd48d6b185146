"""Convolutions by products are the convolutions they stand for, and only while training."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.training import convolving
from harness.training.bfloat16 import through_float32
from harness.training.convolving import by_products

_NATIVE = partial(torch.autocast, "cpu", torch.bfloat16)
# (inputs, outputs, kernel, stride, padding), pixels a side
SHAPES = [
    ((128, 256, 3, 2, 1), 16),
    ((256, 512, 3, 2, 1), 8),
    ((512, 512, 3, 1, 1), 4),
    ((256, 512, 1, 2, 0), 8),
    ((128, 64, 3, 1, 1), 4),
    ((128, 128, 3, 2, 1), 5),
    ((128, 128, 5, 1, 2), 3),
    ((128, 128, 3, 1, 0), 5),
]


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Say that the processor has AMX, and count the products."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    taken: list[int] = []
    plain = convolving._Product.apply

    def counted(*given: Any) -> Any:
        taken.append(1)
        return plain(*given)

    monkeypatch.setattr(convolving._Product, "apply", counted)
    return taken


def _layer(inputs: int, outputs: int, side: int, stride: int, padding: int) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(inputs, outputs, side, stride, padding, bias=False)
    return layer.to(memory_format=torch.channels_last)


def _trained(
    layer: nn.Module,
    images: Tensor,
    lowering: Callable[[], AbstractContextManager[object]] = _NATIVE,
) -> list[Tensor]:
    """Return the answer to ``images``, and the gradients of images and weight."""
    images = images.clone().requires_grad_()
    with lowering():
        answer = layer(images)
    pull = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1)).to(answer)
    weight = next(layer.parameters())
    return [answer.detach(), *torch.autograd.grad(answer, [images, weight], pull)]


@pytest.mark.parametrize(("shape", "pixels"), SHAPES)
def test_products_are_the_convolution(
    amx: list[int], shape: tuple[int, int, int, int, int], pixels: int
) -> None:
    plain = _layer(*shape)
    faster = copy.deepcopy(plain)
    by_products(faster)
    images = torch.randn(3, shape[0], pixels, pixels).to(memory_format=torch.channels_last)
    # Sums in another order, which bfloat16 may round to the next of its numbers; torch's own
    # convolution does so on the way too, where the processor has no instructions for it.
    exact = _trained(plain, images, through_float32)
    for ours, theirs in zip(_trained(faster, images), exact, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.is_contiguous(memory_format=torch.channels_last)
        largest = float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=2**-8 * largest)
    assert len(amx) == 1


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [((64, 128, 3, 1, 1), 4), ((128, 128, 3, 1, 1), 8), ((128, 128, 3, 2, 1), 32)],
    ids=["few channels", "a large map", "a large map behind a stride"],
)
def test_what_is_no_faster_by_products_is_convolved(
    amx: list[int], shape: tuple[int, int, int, int, int], pixels: int
) -> None:
    layer = _layer(*shape)
    by_products(layer)
    _trained(layer, torch.randn(1, shape[0], pixels, pixels))
    assert not amx


def test_only_training_in_bfloat16_takes_products_and_a_copy_has_its_own_weights(
    amx: list[int],
) -> None:
    layer = _layer(128, 128, 3, 1, 1)
    images = torch.randn(2, 128, 4, 4)
    plain = layer(images)
    by_products(layer)
    assert torch.equal(layer(images), plain)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        layer(images)
    assert not amx
    copied = copy.deepcopy(layer)
    nn.init.zeros_(copied.weight)
    answer, *_ = _trained(copied, images)
    assert len(amx) == 1
    assert not answer.any()


def test_layers_that_are_something_else_and_processors_without_amx_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = nn.Sequential(
        nn.Conv2d(128, 128, 3, groups=2, bias=False),
        nn.Conv2d(128, 128, 3, dilation=2, bias=False),
        nn.Conv2d(128, 128, (3, 1), bias=False),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv2d(128, 128, 3),
    )
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    by_products(others)
    assert not any("forward" in vars(layer) for layer in others)
    layer = _layer(128, 128, 3, 1, 1)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    by_products(layer)
    assert "forward" not in vars(layer)
