"""Phase encoding: the binary digits of the brightness, the most significant first.

A spike in step ``t`` of a period of ``K`` weighs ``2**-(1 + t mod K)`` (Kim et al.,
Neurocomputing 2018, section 3.2). Over a period the weights of a pixel's spikes add up to
its brightness, rounded down to ``K`` binary digits.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Weighted spikes; draws nothing.

    Attributes:
        period: ``K``, binary digits and steps of a period.
    """

    period: int = 8
    words: str = "phase: the binary digits of the brightness, weighted, over and over"

    def __call__(
        self,
        images: Tensor,  # [N, C, H, W] in [0, 1]
        timesteps: int,
        generator: torch.Generator,  # noqa: ARG002  every encoder's signature
    ) -> Tensor:
        """Return ``[T, N, C, H, W]``; a white pixel has all digits set."""
        digits = (images * 2**self.period).floor().clamp(max=2**self.period - 1).to(torch.int64)
        phase = torch.arange(timesteps, device=images.device).view(-1, 1, 1, 1, 1) % self.period
        spikes = (digits >> (self.period - 1 - phase)) & 1
        weighted: Tensor = spikes.to(images.dtype) * torch.exp2(-(1.0 + phase)).to(images.dtype)
        return weighted


ENCODER = Phase()
