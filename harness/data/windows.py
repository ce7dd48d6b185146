"""Windows of sequences of any length, cut when they are asked for: nothing is copied before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Stands for ``[N, L, D]``: for each window, the frames at some offsets from its newest.

    What lies before the first frame of a window's own sequence, or behind the last, is zeros.

    Attributes:
        frames: Of all sequences, one after the other, ``[F, D]``; may be mapped from a file.
        newest: The place of each window's newest frame, int64 ``[N]``.
        first: The place of the first frame of its sequence, int64 ``[N]``.
        last: Of the last, int64 ``[N]``.
        offsets: Which frames a window has, int64 ``[L]``: 0 is the newest, -1 the one before.
    """

    frames: NDArray[Any]
    newest: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        sizes = {len(self.newest), len(self.first), len(self.last)}
        if self.frames.ndim != 2 or len(sizes) != 1:
            raise SpecError(
                "windows need frames [F, D] and as many newest as first and last frames, got "
                f"{self.frames.shape} and {len(self.newest)}, {len(self.first)}, {len(self.last)}"
            )
        if len(self.last) and int(self.last.max()) >= len(self.frames):
            raise SpecError(
                f"a window ends at frame {int(self.last.max())} of {len(self.frames)}; labels and "
                "features are of other lengths"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, L, D)``."""
        return len(self.newest), len(self.offsets), self.frames.shape[1]

    @property
    def ndim(self) -> int:
        """3."""
        return 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the frames."""
        return self.frames.dtype

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.newest)

    def __getitem__(self, places: slice | NDArray[np.int64], /) -> NDArray[Any]:
        """Return the windows at ``places``, ``[n, L, D]``."""
        wanted = self.newest[places][:, None] + self.offsets  # [n, L]
        inside = (self.first[places][:, None] <= wanted) & (wanted <= self.last[places][:, None])
        cut = self.frames[np.where(inside, wanted, 0)]
        cut[~inside] = 0
        return cut

    def take(self, places: NDArray[np.int64], /, *, axis: int = 0) -> Windows:  # noqa: ARG002  as of an array
        """Return the windows at ``places``, in that order, still uncut."""
        return replace(
            self, newest=self.newest[places], first=self.first[places], last=self.last[places]
        )
