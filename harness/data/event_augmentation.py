"""Augmentation of a batch of event frames on its device.

As for images: every sample gets numbers of its own, from the generator that is handed in,
on the CPU. All steps and both polarities of a sample are moved together, so that what
moves in a recording still moves as it did. Everything runs on the bytes.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.dataset import DatasetCard
from harness.contracts.errors import SpecError
from harness.data.augmentation import Change, floats

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
    rows = _shifted(samples, height, generator).to(frames.device)  # [N, H]
    columns = _shifted(samples, width, generator).to(frames.device)  # [N, W]
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
    return torch.where(mirrored.bool().to(frames.device), frames.flip(-1), frames)


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
    return frames * (~square).to(frames.device, frames.dtype)[:, None, None]


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


@dataclass(frozen=True, kw_only=True)
class _EventTransform:
    change: Callable[[Tensor, torch.Generator], Tensor]
    mirrors: bool = False


TRANSFORMS: Mapping[str, _EventTransform] = {
    "roll": _EventTransform(change=roll),
    "flip": _EventTransform(change=flip, mirrors=True),
    "cutout": _EventTransform(change=cutout),
}


def event_augment(names: Sequence[str], card: DatasetCard, /) -> Change:
    """Return the augmentation that does ``names`` in order.

    It takes counts uint8 ``[N, T, C, H, W]`` and returns them as floats, divided by 256,
    in the memory layout it was given.

    Raises:
        SpecError: If a name is unknown, or would change the label.
    """
    transforms = [_suited(name, card) for name in names]

    def change(frames: Tensor, generator: torch.Generator) -> Tensor:
        if generator.device.type != "cpu":
            raise SpecError(
                f"augmentation draws on the CPU, so that every device gets the same; got a "
                f"generator on {generator.device}"
            )
        for transform in transforms if len(frames) else ():
            frames = transform.change(frames, generator)
        return floats(frames)

    return change


def _suited(name: str, card: DatasetCard) -> _EventTransform:
    """Return the transform of that name if it may be applied to such samples."""
    if name not in TRANSFORMS:
        near = difflib.get_close_matches(name, TRANSFORMS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(TRANSFORMS)}"
        raise SpecError(f"no augmentation {name!r} of events; {hint}")
    transform = TRANSFORMS[name]
    if transform.mirrors and not card.flip_keeps_label:
        raise SpecError(f"augmentation {name!r}: a mirrored sample of {card.title} loses its label")
    return transform
