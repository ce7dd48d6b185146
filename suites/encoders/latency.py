"""Time to first spike: the brighter a pixel, the earlier its only spike.

A pixel of brightness ``x`` spikes in step ``round((1 - x)(T - 1))``; a black one never
does. Linear, after Park et al., DAC 2020 (T2FSNN), whose kernel is exponential.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Spikes 0 or 1, at most one a pixel; draws nothing."""

    words: str = "latency: one spike a pixel, the earlier the brighter, none if black"

    def __call__(
        self,
        images: Tensor,  # [N, C, H, W] in [0, 1]
        timesteps: int,
        generator: torch.Generator,  # noqa: ARG002  every encoder's signature
    ) -> Tensor:
        """Return ``[T, N, C, H, W]``."""
        when = ((1 - images) * (timesteps - 1)).round()
        when = when.where(images > 0, torch.full_like(when, timesteps))
        steps = torch.arange(timesteps, device=images.device).view(-1, 1, 1, 1, 1)
        return (when == steps).to(images.dtype)


ENCODER = Latency()
