"""Frames of sequences, read when they are asked for, and square crops around boxes.

A box is left, top, width and height in pixels of its frame, where pixel ``i`` covers
``[i, i + 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.contracts.errors import DataError

# A decoder is chosen by content: a file of another format may start a program (EPS: Ghostscript).
_FORMATS = ("JPEG", "PNG", "BMP")
# What Pillow raises for a file that is no image, is damaged, or too large to be a photograph.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # where warnings are errors
)
CONTEXT = 0.5  # of the mean side, on either side of a box (Bertinetto et al., ECCVW 2016)
Pixels = NDArray[np.uint8]
Box = NDArray[Any]  # [4]


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Stands for the frames of sequences, one after the other, each of a size of its own.

    Attributes:
        paths: Where each lies.
        template_px: Side of the crop that a tracker of this set is shown of what it follows.
        search_px: Side of the one that it looks in.
        windows: Left, top, width and height of what is seen of each, int64 ``[N, 4]``; None
            is all.
    """

    paths: tuple[Path, ...]
    template_px: int
    search_px: int
    windows: NDArray[np.int64] | None = None

    @property
    def ndim(self) -> int:
        """1: frames of several sizes have no common shape."""
        return 1

    @property
    def shape(self) -> tuple[int]:
        """``(N,)``."""
        return (len(self.paths),)

    @property
    def dtype(self) -> np.dtype[Any]:
        """An image each."""
        return np.dtype(object)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.paths)

    def __getitem__(self, place: int, /) -> Pixels:  # [H, W, 3]
        """Return a frame.

        Raises:
            DataError: If it is no image, or damaged.
        """
        frame = read(self.paths[place])
        if self.windows is None:
            return frame
        left, top, width, height = self.windows[place]
        return frame[top : top + height, left : left + width]

    def take(self, places: NDArray[np.int64], /, *, axis: int = 0) -> Frames:  # noqa: ARG002  as of an array
        """Return the frames at ``places``, in that order, still unread."""
        return replace(
            self,
            paths=tuple(self.paths[place] for place in places),
            windows=None if self.windows is None else self.windows[places],
        )


def read(path: Path, /) -> Pixels:  # [H, W, 3]
    """Return an image in colour.

    Raises:
        DataError: If the file is no image, or damaged.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return np.asarray(image.convert("RGB"))
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def size_of(path: Path, /) -> tuple[int, int]:
    """Return ``(width, height)`` of an image without decoding it.

    Raises:
        DataError: If the file is no image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.size
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    words = " ".join(str(error).split()).replace(f"'{path}'", "").strip()
    return DataError(f"{path} cannot be read as an image: {words}; get it again")


def padded_side(size: NDArray[Any]) -> Any:  # [..., 2] -> [...]
    """Return the side of the square with the area of boxes and their context.

    ``sqrt((w + c) (h + c))`` with ``c = CONTEXT (w + h)``.
    """
    return np.sqrt((size + CONTEXT * size.sum(-1, keepdims=True)).prod(-1))


def centre_of(box: Box) -> NDArray[Any]:  # [2]
    """Return the centre of a box, ``x, y``."""
    return np.asarray(box[:2] + box[2:] / 2)


def crop(
    frame: Pixels,  # [H, W, 3]
    centre: NDArray[Any],  # x, y
    side: float,
    out_px: int,
) -> Pixels:  # [out_px, out_px, 3]
    """Return the square of ``side`` pixels around ``centre``, scaled to ``out_px``.

    What lies outside the frame has its mean colour.
    """
    scale = side / out_px
    left, top = np.asarray(centre) - side / 2
    whole = Image.fromarray(frame)
    # Forty times as fast as an array's mean, which a tracker takes of every frame.
    mean = whole.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    cut = whole.transform(
        (out_px, out_px),
        Image.Transform.AFFINE,
        (scale, 0, left, 0, scale, top),
        resample=Image.Resampling.BILINEAR,
        fillcolor=mean,
    )
    return np.asarray(cut)


def paired(template: Pixels, search: Pixels) -> Pixels:  # [6, S, S]
    """Return a template ``[h, h, 3]`` and a search ``[S, S, 3]`` as one sample.

    The template's channels come first, in the upper left corner; the rest of them is 0.
    """
    side, small = len(search), len(template)
    pair = np.zeros((6, side, side), dtype=np.uint8)
    pair[:3, :small, :small] = template.transpose(2, 0, 1)
    pair[3:] = search.transpose(2, 0, 1)
    return pair
