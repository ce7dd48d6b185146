"""Augmentation of a whole batch on its device.

Every sample gets numbers of its own, all from the generator that is handed in, on the CPU:
the same generator gives the same batch on every device, and the global generator is
neither read nor moved. Pixels are in [0, 1], before normalisation; what is cut off or
comes in from outside is black.

``crop``, ``shift``, ``flip`` and ``cutout`` only move and erase pixels. They therefore
run on the bytes, a quarter of the memory, and give exactly what they would give on floats.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad

from harness.contracts.dataset import DatasetCard
from harness.contracts.errors import SpecError
from harness.data.autoaugment import autoaugment, trivialaugment
from harness.data.sending import sent

Change = Callable[[Tensor, torch.Generator], Tensor]


def random_crop(
    images: Tensor,  # [N, C, H, W]
    generator: torch.Generator,
    *,
    margin: int,
) -> Tensor:
    """Add ``margin`` black pixels on each side and cut ``H x W`` out anywhere."""
    samples, channels, height, width = images.shape
    tall, wide = height + 2 * margin, width + 2 * margin
    offsets = torch.randint(2 * margin + 1, (samples, 2), generator=generator)
    # A row of a crop is one run of memory in the padded pixels, so cropping is copying rows.
    rows = torch.arange(0, samples * tall * wide, wide).view(samples, tall)[:, :height]
    starts = (rows + (offsets[:, :1] * wide + offsets[:, 1:])).flatten()  # in pixels
    beside = margin * channels
    padded = pad(_pixels_last(images).flatten(2), (beside, beside, margin, margin))
    runs = padded.flatten().unfold(0, width * channels, channels)  # a view: one run a pixel
    cropped = runs.index_select(0, sent(starts, images.device))
    return _laid_out_like(images, cropped.view(samples, height, width, channels))


def random_flip(
    images: Tensor,  # [N, C, H, W]
    generator: torch.Generator,
) -> Tensor:
    """Mirror left and right with probability 1/2."""
    samples = len(images)
    mirrored = torch.randint(2, (samples,), generator=generator)
    pixels = _pixels_last(images)
    turned = pixels.index_select(0, sent(mirrored.nonzero().squeeze(1), images.device)).flip(2)
    # Copying whole images out of both piles is several times as fast as torch.where.
    chosen = torch.arange(samples).where(mirrored == 0, samples - 1 + mirrored.cumsum(0))
    both = torch.cat([pixels, turned])
    return _laid_out_like(images, both.index_select(0, sent(chosen, images.device)))


def cutout(
    images: Tensor,  # [N, C, S, S]
    generator: torch.Generator,
) -> Tensor:
    """Blacken a square of half the side (DeVries & Taylor 2017).

    Its centre is anywhere in the image, so up to three quarters of the square may lie
    outside and change nothing.
    """
    samples, channels, side, _ = images.shape
    length = side // 2
    centres = torch.randint(side, (2, samples, 1), generator=generator)
    inside = torch.arange(side) - (centres - length // 2)
    # Bytes: torch broadcasts "or" over bools eight times more slowly.
    keep = sent((inside < 0) | (inside >= length), images.device, torch.uint8)  # [2, N, S]
    keep_row = keep[0][:, :, None]
    keep_column = keep[1].repeat_interleave(channels, dim=1)[:, None]  # [N, 1, S C]
    pixels = _pixels_last(images).flatten(2) * (keep_row | keep_column).to(images.dtype)
    return _laid_out_like(images, pixels.view(samples, side, side, channels))


def _pixels_last(images: Tensor) -> Tensor:
    """Return ``[N, H, W, C]``, contiguous; a view if ``images`` is channels-last."""
    return images.permute(0, 2, 3, 1).contiguous()


def _laid_out_like(
    images: Tensor,
    pixels: Tensor,  # [N, H, W, C]
) -> Tensor:
    """Return ``pixels`` as ``[N, C, H, W]`` in the memory layout of ``images``."""
    changed = pixels.permute(0, 3, 1, 2)
    kept = images.is_contiguous(memory_format=torch.channels_last)
    return changed if kept else changed.contiguous()


@dataclass(frozen=True, kw_only=True)
class Transform:
    """One name of a recipe.

    Attributes:
        change: What it does to a batch.
        on_bytes: Whether it gives on uint8 exactly what it gives on floats.
        mirrors: Whether it needs labels that survive a mirror.
        in_colour: Whether it needs three channels.
    """

    change: Change
    on_bytes: bool = True
    mirrors: bool = False
    in_colour: bool = False


TRANSFORMS: Mapping[str, Transform] = {
    "crop": Transform(change=partial(random_crop, margin=4)),
    "shift": Transform(change=partial(random_crop, margin=1)),
    "flip": Transform(change=random_flip, mirrors=True),
    "cutout": Transform(change=cutout),
    "autoaugment": Transform(change=autoaugment, on_bytes=False, in_colour=True),
    "trivialaugment": Transform(change=trivialaugment, on_bytes=False, in_colour=True),
}


def augment(names: Sequence[str], card: DatasetCard, /) -> Change:
    """Return the augmentation that does ``names`` in order.

    It takes ``[N, C, H, W]``, uint8 or floats in [0, 1], and returns floats in [0, 1] in
    the memory layout it was given.

    Raises:
        SpecError: If a name is unknown, or does not suit the data set.
    """
    if names and card.image.shape[1] != card.image.shape[2]:
        raise SpecError(f"augmentation needs square samples, {card.title} has {card.image.shape}")
    return in_order(names, TRANSFORMS, card, of="images")


def in_order(
    names: Sequence[str], known: Mapping[str, Transform], card: DatasetCard, *, of: str
) -> Change:
    """Return what does ``names`` of the ``known`` transforms to a batch, then ``floats``.

    Raises:
        SpecError: If a name is unknown, or does not suit the data set.
    """
    transforms = [_suited(name, known, card, of) for name in names]

    def change(batch: Tensor, generator: torch.Generator) -> Tensor:
        if generator.device.type != "cpu":
            raise SpecError(
                f"augmentation draws on the CPU, so that every device gets the same; got a "
                f"generator on {generator.device}"
            )
        for transform in transforms if len(batch) else ():
            batch = transform.change(batch if transform.on_bytes else floats(batch), generator)
        return floats(batch)

    return change


def floats(images: Tensor, /) -> Tensor:
    """Return uint8 in [0, 1], of torch's default type, and floats as they are.

    Counts of events ``[N, T, C, H, W]`` are divided by 256: exact, so that a
    normalisation by 1/256 gives the counts back.
    """
    if images.dtype != torch.uint8:
        return images
    values = images.to(torch.get_default_dtype())
    # On floats, in place: torch.div on bytes takes seven times as long.
    return values.mul_(2**-8) if images.dim() == 5 else values.div_(255)


def _suited(name: str, known: Mapping[str, Transform], card: DatasetCard, of: str) -> Transform:
    """Return the transform of that name if it can be applied to such samples."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise SpecError(f"no augmentation {name!r} of {of}; {hint}")
    transform = known[name]
    if transform.mirrors and not card.flip_keeps_label:
        raise SpecError(f"augmentation {name!r}: a mirrored sample of {card.title} loses its label")
    if transform.in_colour and card.image.shape[0] != 3:
        raise SpecError(
            f"augmentation {name!r} needs three colours; samples of {card.title} are "
            f"{card.image.shape}"
        )
    return transform
