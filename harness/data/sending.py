"""Small numbers on their way from the host, where chance is drawn, to a GPU."""

import torch
from torch import Tensor


def sent(value: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``value`` on ``device``; out of pinned memory, so that no one waits for a GPU."""
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()
    return value.to(device, dtype or value.dtype, non_blocking=True)
