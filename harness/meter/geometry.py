"""Which input site reaches which output site, exactly.

All maps here are products of one map a dimension, so each dimension is a Boolean
matrix ``[outputs, inputs]`` and the fan-out of an input site is a product of column
sums. Borders, stride and dilation are in the matrix; channels are a factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Window:
    """One dimension of a convolution or a pooling.

    Attributes:
        inputs: Sites there are.
        outputs: Sites there will be.
        kernel: Taps.
        stride: Sites from one window to the next.
        padding: Sites before the first.
        dilation: Sites from one tap to the next.
        transposed: Whether outputs are spread instead of gathered.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    transposed: bool = False

    def reach(self) -> Tensor:
        """Return the Boolean matrix ``[outputs, inputs]`` of sites that touch."""
        gathering, sites = (
            (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)
        )
        start = torch.arange(gathering)[:, None] * self.stride - self.padding
        tap = start + torch.arange(self.kernel) * self.dilation  # [gathering, kernel]
        touches = (tap[:, :, None] == torch.arange(sites)).any(1)
        return touches.T if self.transposed else touches

    def taps(self) -> int:
        """Return (output, tap) pairs, those outside the borders included."""
        return (self.inputs if self.transposed else self.outputs) * self.kernel


def adaptive(inputs: int, outputs: int) -> Tensor:
    """Return the matrix ``[outputs, inputs]`` of adaptive pooling.

    Output ``o`` reads from ``floor(o I / O)`` to ``ceil((o + 1) I / O)``.
    """
    site = torch.arange(inputs)
    window = torch.arange(outputs)[:, None]
    return (site >= window * inputs // outputs) & (site < -(-(window + 1) * inputs // outputs))


def composed(first: Sequence[Tensor], then: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return which input of ``first`` reaches which output of ``then``, each way once."""
    return tuple(
        (after.double() @ before.double()) > 0 for before, after in zip(first, then, strict=True)
    )


def fitting(reach: Sequence[Tensor], sizes: Sequence[int]) -> tuple[Tensor, ...] | None:
    """Return the matrices whose outputs are ``sizes``, or None if they are others.

    Torch pools one dimension as two, of which the first is a single site.
    """
    many = len(reach) > len(sizes)
    kept = tuple(matrix for matrix in reach if not (many and matrix.numel() == 1))
    return kept if [len(matrix) for matrix in kept] == list(sizes) else None


def fan_out(reach: Sequence[Tensor]) -> Tensor:
    """Return outputs reached by each input site, float64 ``[sites]``; exact below 2**53."""
    result = torch.ones(1, dtype=torch.float64)
    for matrix in reach:
        result = (result[:, None] * matrix.sum(0, dtype=torch.float64)).flatten()
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """The geometry of a convolution of one shape of input.

    Attributes:
        reach: One matrix a dimension.
        fan_out: Output values that an input value touches, float64 ``[sites]``.
        outputs: Output channels of one input channel.
        dense_valid: Products a sample, borders excluded.
        dense_padded: Products a sample, borders included.
    """

    reach: tuple[Tensor, ...]
    fan_out: Tensor
    outputs: int
    dense_valid: int
    dense_padded: int


@lru_cache(maxsize=512)
def convolution(
    windows: tuple[Window, ...],
    channels: int,
    outputs: int,
    borders: tuple[tuple[int, int], ...],
) -> Convolution:
    """Return the geometry of a convolution.

    Args:
        windows: One a dimension.
        channels: Of the input.
        outputs: Output channels that one input channel feeds.
        borders: Zeros that were put before and after each dimension beforehand; they are
            padding as well, so nothing valid reaches them.
    """
    reach = tuple(window.reach() for window in windows)
    for matrix, (before, after) in zip(reach, borders, strict=True):
        matrix[:, :before] = False
        matrix[:, matrix.shape[1] - after :] = False
    spatial = fan_out(reach)
    return Convolution(
        reach=reach,
        fan_out=spatial * outputs,
        outputs=outputs,
        dense_valid=channels * outputs * int(spatial.sum()),
        dense_padded=channels * outputs * prod(window.taps() for window in windows),
    )
