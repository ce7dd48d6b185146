"""How wide a number has to be before anything is decided or added up."""

import torch
from torch import Tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return ``dtype``, or float32 where it is narrower."""
    return torch.promote_types(dtype, torch.float32)


def widened(value: Tensor) -> Tensor:
    """Return ``value`` in ``wide`` numbers: out of bfloat16, but float64 stays as it is."""
    return value.to(wide(value.dtype))
