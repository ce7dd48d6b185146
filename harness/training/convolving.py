"""Convolutions on small maps as products of matrices, where the processor multiplies faster.

In bfloat16 oneDNN convolves maps of four pixels a side at a fifth of the pace at which AMX
multiplies the same numbers, and finds the weights' gradient of a stride at a tenth of it. What
is summed is the same, in another order.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

_LEAST_CHANGES = 128  # input channels: with fewer, products of such numbers are no faster
_MOST_PIXELS, _MOST_STRIDDEN = 16, 64  # of a map that is answered, without and with a stride


def by_products(network: nn.Module) -> None:
    """Let convolutions of ``network`` train by products where these are faster.

    They are while gradients are wanted, in bfloat16 on a processor with AMX, and on small maps;
    anywhere else, and whenever nothing is trained, they stay what they are.
    """
    # Older versions of torch do not say what a processor can.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if not capabilities.get("amx_bf16"):
        return
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _fits(layer):
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]  # of it alone


def _fits(layer: nn.Conv2d) -> bool:
    """Return whether a layer is one that is worth it on small maps."""
    square = len({*layer.stride}) == len({*layer.padding}) == len({*layer.kernel_size}) == 1
    plain = layer.groups == 1 and {*layer.dilation} == {1} and layer.padding_mode == "zeros"
    return square and plain and layer.bias is None and layer.in_channels >= _LEAST_CHANGES


def _forward(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """Answer ``images [N, C, H, W]`` as the type's own ``forward`` does."""
    stride, padding, side = layer.stride[0], int(layer.padding[0]), layer.kernel_size[0]
    trains = torch.is_grad_enabled() and images.device.type == "cpu"
    reduced = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if not (trains and reduced) or not _is_small(images, stride, padding, side):
        return type(layer).forward(layer, images)
    answer: Tensor = _Product.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        images.to(torch.bfloat16), layer.weight.to(torch.bfloat16), stride, padding
    )
    return answer


def _is_small(images: Tensor, stride: int, padding: int, side: int) -> bool:
    height, width = (1 + (size + 2 * padding - side) // stride for size in images.shape[2:])
    return height * width <= (_MOST_PIXELS if stride == 1 else _MOST_STRIDDEN)


class _Product(torch.autograd.Function):
    """A convolution without a bias, its windows the rows of a matrix."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        """Answer ``[N, C, H, W]`` by ``[O, C, k, k]``."""
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        rows, shape = _windows(images, weight.shape[2], stride, padding)
        return _as_images(linear(rows, _matrix(weight)), shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of images and weight."""
        images, weight = ctx.saved_tensors
        return (
            _of_images(ctx, gradient, images, weight) if ctx.needs_input_grad[0] else None,
            _of_weight(ctx, gradient, images, weight) if ctx.needs_input_grad[1] else None,
            None,
            None,
        )


def _of_images(ctx: Any, gradient: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    side = weight.shape[2]
    if ctx.stride == 1:
        turned = weight.flip(2, 3).transpose(0, 1)
        rows, shape = _windows(gradient, side, 1, side - 1 - ctx.padding)
        return _as_images(linear(rows, _matrix(turned)), shape)
    stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
    found: Tensor = torch.ops.aten.convolution_backward(
        *(gradient, images, weight, None, stride, padding, [1, 1], False, [0, 0], 1),
        [True, False, False],
    )[0]
    return found


def _of_weight(ctx: Any, gradient: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    outputs, inputs, side, _ = weight.shape
    rows, _ = _windows(images, side, ctx.stride, ctx.padding)
    by_pixel = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    return (by_pixel.t() @ rows).view(outputs, side, side, inputs).permute(0, 3, 1, 2)


def _windows(
    images: Tensor,  # [N, C, H, W]
    side: int,
    stride: int,
    padding: int,
) -> tuple[Tensor, tuple[int, int, int]]:
    """Return all that a kernel sees, ``[pixels, side * side * C]``, and what pixels they are."""
    around = (0, 0, padding, padding, padding, padding)
    padded = pad(images.permute(0, 2, 3, 1), around).contiguous()
    count, height, width, channels = padded.shape
    down, across = 1 + (height - side) // stride, 1 + (width - side) // stride
    line = width * channels
    seen = padded.as_strided(
        (count, down, across, side, side * channels),
        (height * line, stride * line, stride * channels, line, 1),
    )
    return seen.reshape(count * down * across, -1), (count, down, across)


def _matrix(weight: Tensor) -> Tensor:
    """Return ``[O, C, k, k]`` as ``[O, k * k * C]``."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _as_images(rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return ``[pixels, C]`` as images in channels-last."""
    return rows.view(*shape, -1).permute(0, 3, 1, 2)
