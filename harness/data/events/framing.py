"""Frames from events: how many there were, by step, pixel and polarity.

Events are Tonic's structured arrays with the fields ``x``, ``y``, ``t`` and ``p``. What a
step is follows Tonic's ``ToFrame`` to the last event (``n_time_bins`` for steps of equal
duration, ``n_event_bins`` for steps of equally many events), counted in one pass; a test
holds the two against each other.
"""

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import DataError, SpecError

# A structured array: NumPy's types cannot say with which fields.
Events = NDArray[Any]
POLARITIES = 2
MOST = 255


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How events become frames.

    Attributes:
        timesteps: Frames a recording.
        sensor: Width and height of the sensor, in pixels.
        size: Width and height of a frame; smaller than the sensor adds neighbours up.
        by: Whether steps have equal durations or equally many events.
    """

    timesteps: int
    sensor: tuple[int, int]
    size: tuple[int, int]
    by: Literal["time", "count"]

    def __post_init__(self) -> None:
        if self.timesteps < 1:
            raise SpecError(f"Framing.timesteps must be at least 1, got {self.timesteps!r}")
        if not all(0 < i <= o for i, o in zip(self.size, self.sensor, strict=True)):
            raise SpecError(f"Framing.size must lie within {self.sensor}, got {self.size!r}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """One sample as it lies in memory, ``[T, H, W, C]``."""
        return (self.timesteps, self.size[1], self.size[0], POLARITIES)


def frames(events: Events, framing: Framing, /, *, name: str) -> NDArray[np.uint8]:
    """Return how many events fell where and when, ``[T, H, W, C]``, at most 255 each.

    Channel 0 counts OFF events, channel 1 ON events.

    Raises:
        DataError: If there are no events, too few for the steps, or one beyond the sensor.
    """
    x, y = np.ascontiguousarray(events["x"]), np.ascontiguousarray(events["y"])
    t, p = events["t"].astype(np.int64), np.ascontiguousarray(events["p"])
    if p.dtype != np.bool_:  # 0 and 1, or -1 and 1
        p = p > 0
    _check(x, y, t, framing, name=name)
    if (t[1:] < t[:-1]).any():  # some recorders interleave packets
        order = np.argsort(t, kind="stable")
        x, y, t, p = x[order], y[order], t[order], p[order]
    cuts = _cuts(t, framing, name=name)
    used = slice(cuts[0], cuts[-1])
    column, row = _places(framing)
    # Nothing is left to clip, and "clip" is three times as fast as raising.
    cell = row.take(y[used], mode="clip")
    cell += column.take(x[used], mode="clip")
    cell += p[used]
    step_cells = prod(framing.shape[1:])
    cell += np.repeat(np.arange(framing.timesteps) * step_cells, np.diff(cuts))
    return _counted(cell, framing.timesteps * step_cells).reshape(framing.shape)


def _counted(cell: NDArray[np.int64], cells: int) -> NDArray[np.uint8]:
    """Return how often each of ``cells`` cells occurs, at most 255 times."""
    counts = np.zeros(cells, dtype=np.uint8)
    np.add.at(counts, cell, np.uint8(1))
    # A count that ran over is 256 short; rare, so bytes are tried before anything wider.
    if counts.sum(dtype=np.uint32) != len(cell):
        counts = np.bincount(cell, minlength=cells).clip(max=MOST).astype(np.uint8)
    return counts


def _check(
    x: NDArray[Any],
    y: NDArray[Any],
    t: NDArray[np.int64],
    framing: Framing,
    *,
    name: str,
) -> None:
    """Refuse what cannot be counted, before it is counted wrongly."""
    if not len(t):
        raise DataError(f"{name} holds no events; get the recording again, or leave it out")
    if len(t) < framing.timesteps:
        raise DataError(
            f"{name} holds {len(t)} events, too few for {framing.timesteps} timesteps; ask for "
            "fewer timesteps, or leave the recording out"
        )
    for axis, values, end in (("x", x, framing.sensor[0]), ("y", y, framing.sensor[1])):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= end:
            wrong = low if low < 0 else high
            raise DataError(
                f"{name} has an event at {axis}={wrong}, beyond the sensor's 0..{end - 1}; the "
                "file is damaged or of another format: get it again"
            )


def _cuts(t: NDArray[np.int64], framing: Framing, *, name: str) -> NDArray[np.int64]:
    """Return where steps begin and the last one ends, ``[T + 1]``, as Tonic cuts."""
    steps = np.arange(framing.timesteps + 1)
    if framing.by == "count":
        return steps * (len(t) // framing.timesteps)
    window = (t[-1] - t[0]) // framing.timesteps
    if window < 1:
        raise DataError(
            f"{name} lasts {t[-1] - t[0]} microseconds, too short for {framing.timesteps} "
            "timesteps; ask for fewer timesteps, or leave the recording out"
        )
    cuts: NDArray[np.int64] = np.searchsorted(t, t[0] + steps * window)
    return cuts


@cache
def _places(framing: Framing) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where in a step each column and each row of the sensor begins.

    Their sum is an OFF count's place in ``[H, W, C]``.
    """
    (wide, high), (width, height) = framing.sensor, framing.size
    # Tonic's Downsample, in its own arithmetic: multiply in floating point, then truncate.
    column = (np.arange(wide) * (width / wide)).astype(np.int64) * POLARITIES
    row = (np.arange(high) * (height / high)).astype(np.int64) * (POLARITIES * width)
    return column, row
