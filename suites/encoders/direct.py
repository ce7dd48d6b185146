"""Direct encoding: the image as a constant current in every step."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ConstantCurrent:
    """Holds the image without copying it; draws nothing."""

    words: str = "direct: the image as a constant current in every step"

    def __call__(
        self,
        images: Tensor,  # [N, C, H, W] in [0, 1]
        timesteps: int,
        generator: torch.Generator,  # noqa: ARG002  every encoder's signature
    ) -> Tensor:
        """Return ``[T, N, C, H, W]``."""
        return images.expand(timesteps, *images.shape)


ENCODER = ConstantCurrent()
