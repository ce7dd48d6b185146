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
    matrices = torch.stack(entries, dim=1).view(-1, 2, 3).to(images)
    grid = affine_grid(matrices, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


_SAME_X: Row = (1.0, 0.0, 0.0)
_SAME_Y: Row = (0.0, 1.0, 0.0)


def _shear_x(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    return _looked_up(images, (1.0, strengths * reach.slope, 0.0), _SAME_Y)


def _shear_y(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    return _looked_up(images, _SAME_X, (strengths * reach.slope, 1.0, 0.0))


def _shift_x(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    return _looked_up(images, (1.0, 0.0, 2 * strengths * reach.shift), _SAME_Y)


def _shift_y(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    return _looked_up(images, _SAME_X, (0.0, 1.0, 2 * strengths * reach.shift))


def _rotate(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    angle = torch.deg2rad(strengths * reach.turn_degrees)
    sine, cosine = angle.sin(), angle.cos()
    return _looked_up(images, (cosine, -sine, 0.0), (sine, cosine, 0.0))


def _factors(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    """Return what an enhancement multiplies with: 1 leaves the image as it is."""
    return (1 + strengths * reach.blend).to(images)


def _brightness(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    from kornia.enhance import adjust_brightness_accumulative

    return adjust_brightness_accumulative(images, _factors(images, strengths, reach))


def _contrast(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    from kornia.enhance import adjust_contrast_with_mean_subtraction

    return adjust_contrast_with_mean_subtraction(images, _factors(images, strengths, reach))


def _colour(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    from kornia.enhance import adjust_saturation_with_gray_subtraction

    return adjust_saturation_with_gray_subtraction(images, _factors(images, strengths, reach))


def _sharpness(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    from kornia.enhance import sharpness

    return sharpness(images, _factors(images, strengths, reach))


def _posterise(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:
    """Keep the highest bits of 8."""
    from kornia.enhance import posterize

    lost = (strengths.abs() * reach.bits_lost).round().int()
    return posterize(images, (8 - lost).to(images.device))


def _solarise(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:  # noqa: ARG001  one shape for all
    """Invert what is at least ``1 - strength`` bright."""
    from kornia.enhance import solarize

    return solarize(images, (1 - strengths.abs()).to(images))


def _autocontrast(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:  # noqa: ARG001  one shape for all
    """Stretch every channel to [0, 1]; a constant channel stays as it is.

    Kornia's ``normalize_min_max`` would turn it black.
    """
    low = images.amin(dim=(2, 3), keepdim=True)
    high = images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-6), images)


def _equalise(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:  # noqa: ARG001  one shape for all
    from kornia.enhance import equalize

    return equalize(images)


def _invert(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:  # noqa: ARG001  one shape for all
    return 1 - images


def _identity(images: Tensor, strengths: Tensor, reach: Reach) -> Tensor:  # noqa: ARG001  one shape for all
    return images


OPERATIONS: Mapping[str, Operation] = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "shift_x": _shift_x,
    "shift_y": _shift_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "colour": _colour,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterise": _posterise,
    "solarise": _solarise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "invert": _invert,
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
        here = chosen.to(images.device)
        operation = OPERATIONS[_NAMES[place]]
        changed[here] = operation(images[here], strengths[chosen], reach).to(images.dtype)
    return changed


def _signs(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, (count,), generator=generator) * 2 - 1
