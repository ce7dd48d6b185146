"""Augmentation of a batch of event frames on its device.

As for images: every sample gets numbers of its own, from the generator that is handed in,
on the CPU. All steps and both polarities of a sample are moved together, so that what
moves in a recording still moves as it did. Everything runs on the bytes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from harness.contracts.dataset import DatasetCard
from harness.data.augmentation import Change, Transform, in_order
from harness.data.sending import sent

# Of the side, as in neuromorphic data augmentation (Li et al., ECCV 2022): 5 of 48 pixels.
_ROLL_SHARE = 5 / 48


def roll(
    frames: Tensor,  # [N, T, C, H, W]
    generator: torch.Generator,
) -> Tensor:
    """Shift by up to a tenth of each side; what leaves is lost, what comes in is empty.

    Neuromorphic data augmentation (Li et al., ECCV 2022) calls it rolling, and lets what
    leaves come back on the other side. Ours does not: a hand there is another gesture.
    """
    samples, _, _, height, width = frames.shape
    rows = sent(_shifted(samples, height, generator), frames.device)  # [N, H]
    columns = sent(_shifted(samples, width, generator), frames.device)  # [N, W]
    moved = _gather(frames, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None
    ]
    return moved * inside[:, None, None].to(frames.dtype)


def flip(
    frames: Tensor,  # [N, T, C, H, W]
    generator: torch.Generator,
) -> Tensor:
    """Mirror left and right with probability 1/2."""
    mirrored = torch.randint(2, (len(frames), 1, 1, 1, 1), generator=generator)
    return torch.where(sent(mirrored.bool(), frames.device), frames.flip(-1), frames)


def cutout(
    frames: Tensor,  # [N, T, C, H, W]
    generator: torch.Generator,
) -> Tensor:
    """Empty a square of up to a third of the side, the same in every step.

    The length is drawn from 1 to a third of the side, 16 of 48 pixels (Li et al., ECCV
    2022: up to 8); the centre is anywhere.
    """
    samples, _, _, height, width = frames.shape
    length = 1 + torch.randint(max(1, min(height, width) // 3), (samples, 1), generator=generator)
    hidden = []
    for side in (height, width):
        first = torch.randint(side, (samples, 1), generator=generator) - length // 2
        inside = torch.arange(side) - first
        hidden.append((inside >= 0) & (inside < length))
    square = hidden[0][:, :, None] & hidden[1][:, None]  # [N, H, W]
    return frames * sent(~square, frames.device, frames.dtype)[:, None, None]


def _shifted(samples: int, side: int, generator: torch.Generator) -> Tensor:
    """Return which place each of ``side`` places takes its value from, ``[N, side]``."""
    furthest = round(_ROLL_SHARE * side)
    by = torch.randint(-furthest, furthest + 1, (samples, 1), generator=generator)
    return torch.arange(side) - by


def _gather(frames: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``frames[n, :, :, rows[n], columns[n]]``, in the layout of ``frames``."""
    places = torch.arange(len(frames), device=frames.device)[:, None, None]
    # [N, H, W, T, C]: the three indices stand first, and the pixels they fetch behind them.
    fetched = frames.permute(0, 3, 4, 1, 2)[places, rows[:, :, None], columns[:, None]]
    moved = torch.empty_like(frames)
    return moved.copy_(fetched.permute(0, 3, 4, 1, 2))


TRANSFORMS: Mapping[str, Transform] = {
    "roll": Transform(change=roll),
    "flip": Transform(change=flip, mirrors=True),
    "cutout": Transform(change=cutout),
}


def event_augment(names: Sequence[str], card: DatasetCard, /) -> Change:
    """Return the augmentation that does ``names`` in order.

    It takes counts uint8 ``[N, T, C, H, W]`` and returns them as floats, divided by 256,
    in the memory layout it was given.

    Raises:
        SpecError: If a name is unknown, or would change the label.
    """
    return in_order(names, TRANSFORMS, card, of="events")
