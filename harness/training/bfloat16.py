"""bfloat16 on processors that have no instructions for it.

There torch multiplies such numbers ten times slower than float32 ones. The product of two of
them is exact in float32, in which they are also summed where there are instructions. So what
this computes is the same, but for the order of sums.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_PRODUCTS = frozenset(
    {
        *(torch.conv1d, torch.conv2d, torch.conv3d, functional.linear),
        *(torch.matmul, torch.mm, torch.bmm),
        *(Tensor.matmul, Tensor.mm, Tensor.bmm),
    }
)


def is_native() -> bool:
    """Return whether torch multiplies bfloat16 by the processor's own instructions."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(asked and asked())


@contextmanager
def through_float32() -> Iterator[None]:
    """Do what torch's autocast to bfloat16 does on the processor, its products in float32."""
    with torch.autocast("cpu", torch.bfloat16), _Widened():
        yield


class _Widened(TorchFunctionMode):
    """Rounds what is multiplied, and what comes of it, to bfloat16."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            answer = func(*_rounded(args), **_rounded(kwargs))
        return answer.bfloat16() if answer.dtype == torch.float32 else answer


def _rounded(given: Any) -> Any:
    return tree_map_only(Tensor, _round, given)


def _round(tensor: Tensor) -> Tensor:
    """Return what autocast would, as float32; it leaves whole numbers and float64 alone."""
    eligible = tensor.dtype in {torch.float32, torch.float16, torch.bfloat16}
    return tensor.bfloat16().float() if eligible else tensor
