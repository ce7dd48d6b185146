"""What one sample is, and what is to be answered: the two ends of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image, or one frame of events.

    Attributes:
        shape: ``(C, H, W)``.
        mean: Of each channel of the training images, in units of [0, 1].
        std: Likewise the standard deviation.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A text as token numbers, ``[length]``, padded at its end.

    Attributes:
        vocabulary: How many tokens there are.
        length: Of every sample, with its padding.
        pad: The token that is none: attention and averages leave it out.
    """

    vocabulary: int
    length: int
    pad: int = 0


@dataclass(frozen=True, kw_only=True)
class Features:
    """A window of a longer sequence of features, ``[length, width]``.

    Attributes:
        width: Numbers at a place of the sequence.
        length: Places in a window.
        rate_hz: Places a second.
    """

    width: int
    length: int
    rate_hz: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A template and where to look for it, ``[2 C, H, W]``.

    The template's channels come first, in the upper left corner of a canvas as large as the
    search.

    Attributes:
        template: ``(C, h, w)``.
        search: ``(C, H, W)``, no smaller.
        mean: Of each of the ``2 C`` channels, in units of [0, 1].
        std: Likewise the standard deviation.
    """

    template: tuple[int, int, int]
    search: tuple[int, int, int]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Classes:
    """A choice of one class, or a score for each.

    Attributes:
        classes: How many.
    """

    classes: int


Input: TypeAlias = Image | Tokens | Features | Pair
