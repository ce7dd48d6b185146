"""How a network is shown images: normalised, or as a train in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from harness.contracts.dataset import DatasetCard
from harness.contracts.errors import SpecError
from harness.seeds import torch_stream


class Encoder(Protocol):
    """What turns a static image into a train. One file under ``suites/encoders/`` provides one.

    Attributes:
        words: For the row's ``encoding``.
    """

    words: str

    def __call__(
        self,
        images: Tensor,  # [N, C, H, W] in [0, 1]
        timesteps: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Return ``[T, N, C, H, W]``; all that is drawn comes from ``generator``."""
        ...


def normalised(
    images: Tensor,  # [..., C, H, W] in [0, 1]
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Return ``(images - mean) / std``, channel by channel, in the layout given.

    What has no mean, as text, is left as it is.
    """
    if not mean:
        return images
    dtype = torch.get_default_dtype()
    offset = _by_channel(tuple(mean), images.device, dtype)
    return (images - offset) / _by_channel(tuple(std), images.device, dtype)


@lru_cache(maxsize=64)  # made anew, each would be a copy from the host that a GPU waits for
def _by_channel(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return ``[C, 1, 1]``."""
    return torch.tensor(numbers, device=device, dtype=dtype).view(-1, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """How every image becomes a stimulus.

    Attributes:
        mean: Subtracted, by channel, in units of [0, 1]; empty for what is no image.
        std: Divided by, likewise.
        encoder: Shows the image itself, not normalised, as a train; None is a constant current.
        timesteps: Of the train.
        seed: Of what the encoder draws.
    """

    mean: Sequence[float]
    std: Sequence[float]
    encoder: Encoder | None = None
    timesteps: int = 1
    seed: int = 0

    def begin(self, purpose: str) -> Callable[[Tensor], Tensor]:
        """Return what makes stimuli of ``images [..., C, H, W]`` in [0, 1].

        Every beginning for the same ``purpose`` draws the same numbers, so two simulators
        are shown the same spikes.
        """
        encoder = self.encoder
        if encoder is None:
            # A stream of bfloat16 stays so; the mean and deviation are not rounded to it.
            return lambda images: normalised(images, self.mean, self.std).to(images.dtype)
        generator = torch_stream(self.seed, f"encoding/{purpose}")

        def encoded(images: Tensor) -> Tensor:
            if images.dim() != 4:
                raise SpecError(
                    f"an encoder needs images [N, C, H, W], got {list(images.shape)}; event "
                    "frames are in time already: leave the suite's encoder away"
                )
            return encoder(images, self.timesteps, generator)

        return encoded


def direct(card: DatasetCard) -> Presentation:
    """Return the presentation of samples under their own card: images and frames normalised."""
    mean, std = card.normalisation
    return Presentation(mean=mean, std=std)
