"""How a Siamese tracker follows one thing from frame to frame (Xu et al., AAAI 2020)."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.frames import Frames, Pixels, centre_of, crop, padded_side, paired
from harness.training.losses.boxes import STRIDE_PX

Floats = NDArray[np.float64]

# The published values for AlexNet but those that were fitted on one benchmark.
_WINDOW = 0.21  # weight of the cosine window, against jumps
_PENALTY = 0.04  # on changes of size and ratio
_PACE = 0.52  # of the size, times how sure the tracker is
_LEAST_PX = 4.0  # no side is less
# What follows from a box is asked of the next search: on grids, so that the last bits, in which
# processors differ, lead nowhere.
_PARTS_OF_A_PX, _PARTS_OF_A_SCORE = 2.0**10, 2.0**20


@dataclass(kw_only=True)
class Follower:
    """A tracker on one sequence.

    Attributes:
        template: What it follows, ``[h, h, 3]``.
        centre: Where that was last, ``x, y``, in pixels of the frame.
        size: Its width and height then.
        search_px: Side of the crop it is looked for in.
    """

    template: Pixels
    centre: Floats
    size: Floats
    search_px: int

    @classmethod
    def started(cls, frames: Frames, frame: Pixels, box: NDArray[Any]) -> "Follower":
        """Return a tracker that was shown ``box`` in ``frame``."""
        centre, side = centre_of(box), float(padded_side(box[2:]))
        return cls(
            template=crop(frame, centre, side, frames.template_px),
            centre=np.asarray(centre, dtype=np.float64),
            size=np.asarray(box[2:], dtype=np.float64),
            search_px=frames.search_px,
        )

    def looks_at(self, frame: Pixels) -> Tensor:  # [1, 6, S, S], in [0, 1]
        """Return the pair that the network is asked about."""
        pair = paired(self.template, crop(frame, self.centre, self._side(), self.search_px))
        pixels = torch.from_numpy(pair).to(torch.get_default_dtype())
        return pixels.div_(255).unsqueeze(0)

    def _side(self) -> float:
        return float(padded_side(self.size)) * self.search_px / len(self.template)

    def follow(
        self,
        answer: NDArray[Any],  # [T, P, 6]
        frame: Pixels,
    ) -> Floats:
        """Move to where the last step's answer says; return the boxes after every step, [T, 4].

        Before the last step these are what the tracker would say if it stopped thinking there,
        in the same search: it has been led there by whole answers.
        """
        steps = np.arange(1, len(answer) + 1)[:, None, None]
        so_far = answer.astype(np.float64).cumsum(0) / steps
        moved = [self._moved(each, frame.shape[1::-1]) for each in so_far]
        self.centre, self.size = moved[-1]
        return np.array([[*(centre - size / 2), *size] for centre, size in moved])

    def _moved(
        self,
        answer: Floats,  # [P, 6]
        frame: tuple[int, ...],  # width, height
    ) -> tuple[Floats, Floats]:
        """Return the next centre and size."""
        scale = self.search_px / self._side()
        distances = STRIDE_PX * np.exp(np.clip(answer[:, 2:], -8, 8))  # [P, 4]
        sizes = distances[:, :2] + distances[:, 2:]
        scores = _sigmoid(answer[:, 0]) * _sigmoid(answer[:, 1])
        steady = np.exp(-_PENALTY * (self._change(sizes, self.size * scale) - 1))
        weighed = (1 - _WINDOW) * steady * scores + _WINDOW * _window(len(answer))
        best = int((weighed * _PARTS_OF_A_SCORE).round().argmax())
        shift = _points(len(answer))[best] + (distances[best, 2:] - distances[best, :2]) / 2
        pace = _PACE * float(steady[best] * scores[best])
        size = (1 - pace) * self.size + pace * sizes[best] / scale
        bounds = np.array(frame, dtype=np.float64)
        return (
            np.clip(_on_grid(self.centre + shift / scale), 0, bounds),
            np.clip(_on_grid(size), _LEAST_PX, np.maximum(bounds, _LEAST_PX)),
        )

    def _change(self, sizes: Floats, last: Floats) -> Floats:
        """Return how much size and ratio change, ``[P]``: 1 for nothing, 2 for twice or half."""
        reach = padded_side(sizes) / padded_side(last)
        ratio = sizes[:, 0] / sizes[:, 1] * (last[1] / last[0])
        whole: Floats = np.maximum(reach, 1 / reach) * np.maximum(ratio, 1 / ratio)
        return whole


def _on_grid(pixels: Floats) -> Floats:
    return np.round(pixels * _PARTS_OF_A_PX) / _PARTS_OF_A_PX


def _sigmoid(values: Floats) -> Floats:
    shares: Floats = 0.5 * (1 + np.tanh(values / 2))
    return shares


def _points(points: int) -> Floats:
    """Return where the points are from the centre of a search, ``x, y``, ``[P, 2]``."""
    side = isqrt(points)
    along = STRIDE_PX * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)


def _window(points: int) -> Floats:
    """Return the cosine window, 1 in the middle, ``[P]``."""
    along = np.hanning(isqrt(points))
    return np.outer(along, along).ravel()
