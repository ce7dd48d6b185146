"""Rate encoding: in each step a pixel spikes with a probability that is its brightness.

Drawn independently in every step (a Bernoulli process, which the literature calls
Poisson), so the mean over time tends to the image as ``1 / sqrt(T)``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Poisson:
    """Spikes 0 or 1."""

    words: str = "poisson: in each step a spike with the pixel's brightness as probability"

    def __call__(
        self,
        images: Tensor,  # [N, C, H, W] in [0, 1]
        timesteps: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Return ``[T, N, C, H, W]``, drawn on the processor and the same on every device."""
        # Numbers go by place, not by memory: a channels-last batch gets the same spikes.
        chance = torch.rand(timesteps, *images.shape, generator=generator).to(images.device)
        return (chance < images).to(images.dtype)


ENCODER = Poisson()
