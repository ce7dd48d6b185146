"""How well boxes follow what they were put around: OTB's one pass and VOT's resets.

Boxes are ``[N, 4]``: left, top, width and height in pixels, where pixel ``i`` covers
``[i, i + 1)``. Polygons are ``[N, 8]``: four corners ``x, y``, one after the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.seeds import stream

Floats = NDArray[np.float64]

_THRESHOLDS = np.linspace(0, 1, 21)
WITHIN_PX = 20.0
# States of a run with resets, a frame each.
TRACKED, STARTED, FAILED, SKIPPED = 0, 1, 2, 3
SKIPPED_FRAMES = 5  # from a failure to the next start (VOT 2013 to 2019)
_BURN_IN = 10  # frames from a start on that say nothing of accuracy
_LENGTHS = (99, 355)  # frames after a start; VOT2018's 100 to 356 count the start itself
_RESAMPLES = 2_000


def overlaps(ours: NDArray[Any], theirs: NDArray[Any]) -> Floats:
    """Return the intersection over union of boxes ``[N, 4]``, ``[N]``; 0 where both are empty."""
    low = np.maximum(ours[:, :2], theirs[:, :2])
    high = np.minimum(ours[:, :2] + ours[:, 2:], theirs[:, :2] + theirs[:, 2:])
    shared: Floats = np.clip(high - low, 0, None).prod(1)
    union: Floats = ours[:, 2:].prod(1) + theirs[:, 2:].prod(1) - shared
    return _ratio(shared, union)


def _ratio(shared: Floats, union: Floats) -> Floats:
    whole: Floats = np.divide(shared, union, out=np.zeros(len(shared)), where=union > 0)
    return whole


def centre_errors_px(ours: NDArray[Any], theirs: NDArray[Any]) -> Floats:
    """Return the distance of the centres of boxes ``[N, 4]``, in pixels, ``[N]``."""
    apart: Floats = np.hypot(*(ours[:, :2] + ours[:, 2:] / 2 - theirs[:, :2] - theirs[:, 2:] / 2).T)
    return apart


def success_curve(found: Floats) -> Floats:
    """Return which share of overlaps ``[N]`` is above 0, .05, ... 1, ``[21]``."""
    curve: Floats = (found[:, None] > _THRESHOLDS).mean(0)
    return curve


def success(found: Floats) -> float:
    """Return the area under the success curve, as the mean of its 21 points.

    No overlap is above 1, so a perfect tracker has 20/21 (Wu et al., TPAMI 2015, and its tools).
    """
    return float(success_curve(found).mean())


def precision(errors_px: Floats) -> float:
    """Return which share of centres is at most ``WITHIN_PX`` away."""
    return float((errors_px <= WITHIN_PX).mean())


def box_of(polygon: NDArray[Any]) -> Floats:  # [8] -> [4]
    """Return the upright box around a polygon's mean corner with its area and reach.

    Its sides are those of the bounding box, both times the root of what share of it the
    polygon's area is (as trackers are started in VOT). A zero area has none.
    """
    corners = np.asarray(polygon, dtype=np.float64).reshape(4, 2)
    reach = np.ptp(corners, axis=0)
    share = abs(_area(corners)) / max(reach.prod(), np.finfo(float).tiny)
    size = reach * np.sqrt(share)
    return np.concatenate([corners.mean(0) - size / 2, size])


def polygon_overlaps(
    boxes: NDArray[Any],  # [N, 4]
    polygons: NDArray[Any],  # [N, 8], convex
) -> Floats:
    """Return the exact intersection over union of boxes and convex polygons, ``[N]``."""
    found = np.zeros(len(boxes))
    for place, (box, polygon) in enumerate(zip(boxes, polygons, strict=True)):
        corners = polygon.reshape(4, 2).astype(np.float64)
        shared = abs(_area(_clipped(corners, box)))
        union = box[2] * box[3] + abs(_area(corners)) - shared
        found[place] = shared / union if union > 0 else 0.0
    return found


def _area(corners: Floats) -> float:
    """Return the signed area of a polygon ``[n, 2]`` (the shoelace formula)."""
    x, y = corners.T if len(corners) else np.zeros((2, 1))
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _clipped(corners: Floats, box: NDArray[Any]) -> Floats:
    """Return the part of a convex polygon in a box (Sutherland & Hodgman 1974)."""
    left, top, width, height = box
    for axis, edge, side in (
        (0, left, 1),
        (0, left + width, -1),
        (1, top, 1),
        (1, top + height, -1),
    ):
        inside = (corners[:, axis] - edge) * side
        kept = []
        for here in range(len(corners)):
            before = here - 1
            if inside[here] * inside[before] < 0:
                part = inside[before] / (inside[before] - inside[here])
                kept.append(corners[before] + part * (corners[here] - corners[before]))
            if inside[here] >= 0:
                kept.append(corners[here])
        corners = np.array(kept).reshape(-1, 2)
    return corners


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a tracker did on one sequence, being started again after each failure.

    Attributes:
        overlaps: With the truth, float64 ``[N]``; read where a frame was tracked.
        states: ``STARTED``, ``TRACKED``, ``FAILED`` or ``SKIPPED``, int ``[N]``; the first is
            a start.
    """

    overlaps: Floats
    states: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.states) == 0 or self.states[0] != STARTED:
            raise SpecError("a run begins with the frame that the tracker is started on")

    @property
    def failures(self) -> int:
        """How often the tracker lost its target."""
        return int((self.states == FAILED).sum())

    def counted(self) -> Floats:
        """Return the overlaps that say something of accuracy."""
        burnt = np.zeros(len(self.states), dtype=bool)
        for start in np.flatnonzero(self.states == STARTED):
            burnt[start : start + _BURN_IN] = True
        counted: Floats = self.overlaps[(self.states == TRACKED) & ~burnt]
        return counted

    def stretches(self) -> list[tuple[Floats, bool]]:
        """Return the overlaps after each start, and whether that ended in a failure.

        Of a failure the frame itself counts, as 0.
        """
        found = []
        for start in np.flatnonzero(self.states == STARTED):
            after = self.states[start + 1 :]
            ends = np.flatnonzero(after == FAILED)
            stop = int(ends[0]) + 1 if len(ends) else len(after)
            known = self.overlaps[start + 1 : start + 1 + stop].copy()
            if len(ends):
                known[-1] = 0.0
            found.append((known, len(ends) > 0))
        return found


def accuracy(runs: Sequence[Run]) -> float:
    """Return the mean overlap of tracked frames, burn-in left out; NaN if there are none."""
    counted = np.concatenate([run.counted() for run in runs])
    return float(counted.mean()) if len(counted) else float("nan")


def failures_per_frame(runs: Sequence[Run]) -> float:
    """Return how many failures there are a frame; in per cent it is VOT2018's robustness.

    Lower is better.
    """
    return sum(run.failures for run in runs) / sum(len(run.states) for run in runs)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """The expected overlap by length, of each sequence, still to be averaged.

    A stretch is known at a length if it is at least so long, or failed before: then it counts
    as 0 from there on (Kristan et al., TPAMI 2016, section 4.2).

    Attributes:
        sums: Of the mean overlaps of known stretches, ``[sequences, lengths]``.
        known: How many these are, likewise.
    """

    sums: Floats
    known: Floats

    def value(self, places: NDArray[np.int64] | None = None) -> float:
        """Return the expected average overlap of the sequences at ``places``, all if None.

        That is the mean over the lengths at which anything is known; NaN if there is none.
        """
        chosen = slice(None) if places is None else places
        sums, known = self.sums[chosen].sum(0), self.known[chosen].sum(0)
        if not (known > 0).any():
            return float("nan")
        return float((sums[known > 0] / known[known > 0]).mean())


def expected(runs: Sequence[Run], *, lengths: tuple[int, int] = _LENGTHS) -> Expected:
    """Return the expected overlap over frames after a start, at each of ``lengths``."""
    low, high = lengths
    if not 1 <= low <= high:
        raise SpecError(f"lengths must be 1 <= low <= high, got {lengths}")
    shape = len(runs), high - low + 1
    sums, known = np.zeros(shape), np.zeros(shape)
    for row, run in enumerate(runs):
        for stretch, failed in run.stretches():
            whole = np.zeros(high)
            whole[: len(stretch)] = stretch[:high]
            means = whole.cumsum() / np.arange(1, high + 1)
            upto = high if failed else min(high, len(stretch))
            sums[row, : max(0, upto - low + 1)] += means[low - 1 : upto]
            known[row, : max(0, upto - low + 1)] += 1
    return Expected(sums=sums, known=known)


def over_sequences(
    statistic: Callable[[NDArray[np.int64]], float], sequences: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of ``statistic(places)`` over drawn sequences.

    Sequences are drawn with replacement, the same ones for everybody who asks about so many.
    One alone says nothing of others: everything from 0 to 1 is plausible.

    Raises:
        SpecError: If there is no sequence.
    """
    if sequences < 1:
        raise SpecError("there is no sequence to draw from")
    if sequences == 1:
        return 0.0, 1.0
    drawn = stream(0, "sequences").integers(sequences, size=(_RESAMPLES, sequences))
    values = np.array([statistic(places) for places in drawn])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
