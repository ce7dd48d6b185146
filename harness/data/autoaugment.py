"""AutoAugment and TrivialAugment, drawn anew for every sample of a batch.

Kornia does the pixels and we do the chance: ``kornia.augmentation.auto`` draws one policy
for a whole batch, takes its numbers from the global generator, and shears by up to 54
degrees where the papers mean a slope of 0.3 (17 degrees).

An operation has a strength in [0, 1]; how far it goes at 1 is its ``Reach``. Shifts, shears,
turns and enhancements go either way with equal chance. What comes in from outside is black.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from harness.data.sending import sent


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What operations do at full strength.

    Attributes:
        slope: Of a shear, in pixels a pixel.
        shift: As a fraction of the side.
        turn_degrees: Of a rotation.
        blend: By how much an enhancement's factor differs from 1.
        bits_lost: Of 8, by posterising.
    """

    slope: float
    shift: float
    turn_degrees: float
    blend: float
    bits_lost: int


Operation = Callable[
    [
        Tensor,  # images [n, C, H, W] in [0, 1]
        Tensor,  # signed strengths [n] in [-1, 1]
        Reach,
    ],
    Tensor,
]


Row = tuple[Tensor | float, Tensor | float, Tensor | float]


def _looked_up(images: Tensor, from_x: Row, from_y: Row) -> Tensor:
    """Take every pixel ``(x, y)`` from where the two rows send ``(x, y, 1)``, the nearest.

    Coordinates are measured from the centre in half sides, so a square image is meant.
    """
    entries = [torch.as_tensor(entry).expand(len(images)) for entry in (*from_x, *from_y)]
    matrices = sent(torch.stack(entries, dim=1).view(-1, 2, 3), images.device, images.dtype)
    grid = affine_grid(matrices, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _moved(rows: Callable[[Tensor, Reach], tuple[Row, Row]]) -> Operation:
    """Return what looks pixels up where ``rows`` send them at some strength."""
    return lambda images, strengths, reach: _looked_up(images, *rows(strengths, reach))


_SAME_X: Row = (1.0, 0.0, 0.0)
_SAME_Y: Row = (0.0, 1.0, 0.0)


def _turned(strengths: Tensor, reach: Reach) -> tuple[Row, Row]:
    angle = torch.deg2rad(strengths * reach.turn_degrees)
    sine, cosine = angle.sin(), angle.cos()
    return (cosine, -sine, 0.0), (sine, cosine, 0.0)


def _enhanced(name: str) -> Operation:
    """Return Kornia's enhancement of that name; a factor of 1 leaves the image as it is."""

    def operation(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
        from kornia import enhance

        enhanced: Tensor = getattr(enhance, name)(
            images, sent(1 + strengths * reach.blend, images.device, images.dtype)
        )
        return enhanced

    return operation


def _posterise(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    """Keep the highest bits of 8."""
    from kornia.enhance import posterize

    lost = (strengths.abs() * reach.bits_lost).round().int()
    return posterize(images, sent(8 - lost, images.device))


def _solarise(images: Tensor, strengths: Tensor, _: Reach) -> Tensor:
    """Invert what is at least ``1 - strength`` bright."""
    from kornia.enhance import solarize

    return solarize(images, sent(1 - strengths.abs(), images.device, images.dtype))


def _autocontrast(images: Tensor, *_: object) -> Tensor:
    """Stretch every channel to [0, 1]; a constant channel stays as it is.

    Kornia's ``normalize_min_max`` would turn it black.
    """
    low = images.amin(dim=(2, 3), keepdim=True)
    high = images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-6), images)


def _equalise(images: Tensor, *_: object) -> Tensor:
    from kornia.enhance import equalize

    return equalize(images)


OPERATIONS: Mapping[str, Operation] = {
    "identity": lambda images, *_: images,
    "shear_x": _moved(lambda by, reach: ((1.0, by * reach.slope, 0.0), _SAME_Y)),
    "shear_y": _moved(lambda by, reach: (_SAME_X, (by * reach.slope, 1.0, 0.0))),
    "shift_x": _moved(lambda by, reach: ((1.0, 0.0, 2 * by * reach.shift), _SAME_Y)),
    "shift_y": _moved(lambda by, reach: (_SAME_X, (0.0, 1.0, 2 * by * reach.shift))),
    "rotate": _moved(_turned),
    "brightness": _enhanced("adjust_brightness_accumulative"),
    "colour": _enhanced("adjust_saturation_with_gray_subtraction"),
    "contrast": _enhanced("adjust_contrast_with_mean_subtraction"),
    "sharpness": _enhanced("sharpness"),
    "posterise": _posterise,
    "solarise": _solarise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "invert": lambda images, *_: 1 - images,
}
_NAMES = tuple(OPERATIONS)

# Operation, probability and level of 0..9, twice (Cubuk et al., CVPR 2019, table 7 of the
# appendix). Autocontrast, equalise and invert have no strength; the paper's levels are kept.
AUTOAUGMENT_CIFAR10 = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("shift_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("shift_y", 0.7, 9)),
    (("autocontrast", 0.5, 8), ("equalise", 0.9, 2)),
    (("shear_y", 0.2, 7), ("posterise", 0.3, 7)),
    (("colour", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalise", 0.6, 5), ("equalise", 0.5, 1)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("colour", 0.7, 7), ("shift_x", 0.5, 8)),
    (("equalise", 0.3, 7), ("autocontrast", 0.4, 8)),
    (("shift_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("colour", 0.2, 8)),
    (("solarise", 0.5, 2), ("invert", 0.0, 3)),
    (("equalise", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalise", 0.2, 8), ("equalise", 0.6, 4)),
    (("colour", 0.9, 9), ("equalise", 0.6, 6)),
    (("autocontrast", 0.8, 4), ("solarise", 0.2, 8)),
    (("brightness", 0.1, 3), ("colour", 0.7, 0)),
    (("solarise", 0.4, 5), ("autocontrast", 0.9, 3)),
    (("shift_y", 0.9, 9), ("shift_y", 0.7, 9)),
    (("autocontrast", 0.9, 2), ("solarise", 0.8, 3)),
    (("equalise", 0.8, 8), ("invert", 0.1, 3)),
    (("shift_y", 0.7, 9), ("autocontrast", 0.9, 1)),
)

# Ranges of table 6 there, whose shifts are 150 of 331 pixels; signs as in the released code.
AUTOAUGMENT_REACH = Reach(slope=0.3, shift=150 / 331, turn_degrees=30, blend=0.9, bits_lost=4)

# Mueller & Hutter, ICCV 2021, the "wide" space: uniform over these, level of 0..30.
TRIVIALAUGMENT_WIDE = tuple(name for name in OPERATIONS if name != "invert")


def wide_reach(side_pixels: int) -> Reach:
    """Return TrivialAugment's; its shifts are 32 pixels whatever the size."""
    return Reach(slope=0.99, shift=32 / side_pixels, turn_degrees=135, blend=0.99, bits_lost=6)


def autoaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Give every image one of 25 pairs of operations, each applied with its probability."""
    pairs = torch.randint(len(AUTOAUGMENT_CIFAR10), (len(images),), generator=generator)
    for place in (0, 1):
        table = [pair[place] for pair in AUTOAUGMENT_CIFAR10]
        operations = torch.tensor([_NAMES.index(name) for name, _, _ in table])[pairs]
        chances = torch.tensor([chance for _, chance, _ in table])[pairs]
        strengths = torch.tensor([level / 9 for _, _, level in table])[pairs]
        applied = torch.rand(len(images), generator=generator) < chances
        operations = operations.where(applied, _NAMES.index("identity"))
        strengths = strengths * _signs(len(images), generator)
        images = operated(images, operations, strengths, AUTOAUGMENT_REACH)
    return images


def trivialaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Give every image one operation and one strength, both uniform."""
    allowed = torch.tensor([_NAMES.index(name) for name in TRIVIALAUGMENT_WIDE])
    operations = allowed[torch.randint(len(allowed), (len(images),), generator=generator)]
    strengths = torch.randint(31, (len(images),), generator=generator) / 30
    strengths = strengths * _signs(len(images), generator)
    return operated(images, operations, strengths, wide_reach(images.shape[-1]))


def operated(
    images: Tensor,  # [N, C, H, W] in [0, 1]
    operations: Tensor,  # [N], places in OPERATIONS
    strengths: Tensor,  # [N] in [-1, 1]
    reach: Reach,
) -> Tensor:
    """Return every image after its own operation, in the layout given."""
    changed = images.clone()
    for place in sorted(set(operations.tolist())):
        chosen = (operations == place).nonzero().squeeze(1)
        here = sent(chosen, images.device)
        operation = OPERATIONS[_NAMES[place]]
        changed[here] = operation(images[here], strengths[chosen], reach).to(images.dtype)
    return changed


def _signs(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (count,), generator=generator) * 2 - 1
