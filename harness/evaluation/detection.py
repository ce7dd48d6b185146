"""How well the frames of videos are told apart: average precision, calibrated and not; recall.

A frame is scored for every class. Of frames in one video each tells what the next is, so
videos and never frames are drawn anew for an interval. Plain arrays, no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.seeds import stream
from harness.statistics import Interval

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """The frames of one class in the order of their scores, the highest first.

    Sorted once; every draw of videos is then three cumulative sums.

    Attributes:
        positive: ``[F]``; 1 where the frame is of the class, else 0.
        video: ``[F]``; which it is in.
        ends: Of each group of frames with the same score that holds a positive, its last place.
    """

    positive: Numbers
    video: Integers
    ends: Integers

    def precision(
        self,
        drawn: Numbers,  # [V]: how often each video counts
        /,
        *,
        calibrated: bool = False,
    ) -> float:
        """Return the average precision, NaN if no frame that counts is of the class.

        ``sum_k (R_k - R_(k-1)) P_k`` over the thresholds ``k``, one a distinct score, with
        recall ``R`` and precision ``P = TP / (TP + FP)``. Calibrated it is
        ``TP / (TP + FP / w)``, where there are ``w`` negatives for each positive (De Geest et
        al., ECCV 2016, section 5), so that a class's frequency does not matter.
        """
        weight = drawn[self.video]
        hits = np.cumsum(weight * self.positive)
        seen = np.cumsum(weight)
        positives = hits[-1] if len(hits) else 0.0
        if not positives:
            return float("nan")
        true, called = hits[self.ends], seen[self.ends]
        false = called - true
        if calibrated:
            negatives = seen[-1] - positives
            # Without a negative there is none among those called either.
            false = false * positives / negatives if negatives else false
        # Where all so far were drawn 0 times, nothing is gained there, either.
        precision = np.divide(true, true + false, out=np.zeros_like(true), where=true > 0)
        return float(np.sum(np.diff(true, prepend=0.0) * precision) / positives)


def ranked(
    scores: NDArray[Any],  # [F]
    positive: Mask,  # [F]
    videos: Integers,  # [F], 0 to V - 1
) -> Ranked:
    """Sort the frames of one class."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, positive = scores[order], positive[order]
    last = np.flatnonzero(np.diff(sorted_scores, append=-np.inf))  # no score is -inf
    found = np.diff(np.cumsum(positive)[last], prepend=0) > 0
    return Ranked(positive=positive.astype(np.float64), video=videos[order], ends=last[found])


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The mean of a figure over classes.

    Attributes:
        value: In [0, 1].
        interval: At 95 %, over videos; the value itself where there is one video.
        videos: How many were drawn from.
    """

    value: float
    interval: Interval
    videos: int


def mean_average_precision(
    scores: NDArray[Any],  # [F, K]
    positives: Mask,  # [F, K]
    videos: NDArray[np.integer],  # [F], any numbers
    /,
    *,
    classes: range | None = None,
    calibrated: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Detection:
    """Return the mean over ``classes`` that occur, in frames that have any class.

    A frame without one (ambiguous, or past the end) is dropped for every class. Background
    is a class like any other, and left out by ``classes``.

    Args:
        scores: Of each frame for each class, higher is likelier; only their order counts.
        positives: What each frame is.
        videos: Which video it is in.
        classes: Which count; all by default.
        calibrated: Whether precision is calibrated.
        resamples: How often videos are drawn with replacement, as many as there are.
        seed: Of those draws.

    Raises:
        SpecError: If shapes differ, a score is not finite, or no frame is of a class that counts.
    """
    _refuse_shapes(scores, positives, videos)
    known = positives.any(1)
    scores, positives = scores[known], positives[known]
    names, numbers = np.unique(videos[known], return_inverse=True)
    wanted = classes if classes is not None else range(positives.shape[1])
    by_class = [ranked(scores[:, k], positives[:, k], numbers.astype(np.int64)) for k in wanted]

    def figures(drawn: Numbers) -> Numbers:
        return np.array([one.precision(drawn, calibrated=calibrated) for one in by_class])

    values = figures(np.ones(len(names)))
    if np.isnan(values).all():
        raise SpecError(
            f"no frame of {len(scores)} is of a class that counts, so there is no precision"
        )
    return _detection(values, figures, len(names), resamples, seed)


def _detection(
    values: Numbers,
    figures: Callable[[Numbers], Numbers],
    videos: int,
    resamples: int,
    seed: int,
) -> Detection:
    """Return the mean over classes, with the interval of what other draws of videos give."""
    mean = float(np.nanmean(values))
    again = (figures(drawn) for drawn in _draws(videos, resamples, seed))
    return Detection(value=mean, interval=_percentiles(again, mean), videos=videos)


def class_mean_recall(
    scores: NDArray[Any],  # [N, K]
    positives: Mask,  # [N, K]
    videos: NDArray[np.integer],  # [N]
    /,
    *,
    top: int = 5,
    resamples: int = 1000,
    seed: int = 0,
) -> Detection:
    """Return recall among the ``top`` highest scores, by class, averaged over classes present.

    A class's recall is the share of its samples that have it among their ``top`` (Furnari et
    al., ECCVW 2018; Damen et al., IJCV 2022). Of equal scores the lower class stands first.
    A sample without a class is dropped; one whose scores are all 0 is not, and misses most.

    Raises:
        SpecError: If shapes differ, a score is not finite, or no sample has a class.
    """
    _refuse_shapes(scores, positives, videos)
    known = positives.any(1)
    scores, positives = scores[known], positives[known]
    if not len(scores):
        raise SpecError("no sample has a class, so there is no recall")
    names, numbers = np.unique(videos[known], return_inverse=True)
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    sample, found = np.nonzero(positives)
    hit = (chosen[sample] == found[:, None]).any(1)
    shape = (len(names), positives.shape[1])
    hits, seen = np.zeros(shape), np.zeros(shape)  # [V, K]
    np.add.at(hits, (numbers[sample], found), hit)
    np.add.at(seen, (numbers[sample], found), 1.0)

    def figures(drawn: Numbers) -> Numbers:
        samples = drawn @ seen
        recall: Numbers = np.divide(
            drawn @ hits, samples, out=np.full(shape[1], np.nan), where=samples > 0
        )
        return recall

    values = figures(np.ones(len(names)))
    return _detection(values, figures, len(names), resamples, seed)


def marginal(
    probabilities: NDArray[Any],  # [N, A]
    part: Integers,  # [A]: which verb, say, an action has
    /,
    *,
    parts: int,
) -> Numbers:
    """Return the probability of each part, ``[N, parts]``: the sum over actions that have it."""
    total = np.zeros((len(probabilities), parts))
    for action, name in enumerate(part):
        total[:, name] += probabilities[:, action]
    return total


def _draws(videos: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """Yield how often each of ``videos`` comes in a draw of as many with replacement."""
    chance = stream(seed, "videos")
    if videos > 1:
        for _ in range(resamples):
            yield chance.multinomial(videos, np.full(videos, 1 / videos)).astype(np.float64)


def _percentiles(figures: Iterator[Numbers], value: float) -> Interval:
    """Return the middle 95 % of the means; a draw without any class that counts has none."""
    means = [float(np.nanmean(one)) for one in figures if not np.isnan(one).all()]
    if not means:
        return Interval(value, value)
    low, high = np.percentile(means, [2.5, 97.5])
    # A percentile interval may miss the estimate; a reader expects it inside.
    return Interval(min(float(low), value), max(float(high), value))


def _refuse_shapes(scores: NDArray[Any], positives: Mask, videos: NDArray[np.integer]) -> None:
    if scores.shape != positives.shape or scores.ndim != 2 or videos.shape != scores.shape[:1]:
        raise SpecError(
            f"scores are {list(scores.shape)}, labels {list(positives.shape)} and videos "
            f"{list(videos.shape)}; expected [F, K], [F, K] and [F]"
        )
    if not np.isfinite(scores).all():
        raise SpecError("a score is not finite: the network has left the numbers")
