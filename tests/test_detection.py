"""Average precision of frames and class-mean recall, by hand, by scikit-learn and over videos."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from harness.contracts.errors import SpecError
from harness.evaluation.detection import (
    class_mean_recall,
    marginal,
    mean_average_precision,
    ranked,
)


def average_precision(
    scores: NDArray[Any], positive: NDArray[np.bool_], *, calibrated: bool = False
) -> float:
    """Return one class's precision over frames of one video."""
    one = np.zeros(len(scores), dtype=np.int64)
    return ranked(scores, positive, one).precision(np.ones(1), calibrated=calibrated)


def random_frames(seed: int, frames: int, *, levels: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    draw = np.random.default_rng(seed)
    # Few levels make ties, and thirds are no exact binary numbers.
    return draw.integers(levels, size=frames) / 3, draw.random(frames) < 0.3


@given(
    seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 60), levels=st.sampled_from([1, 3, 1000])
)
def test_average_precision_is_that_of_scikit_learn(seed: int, frames: int, levels: int) -> None:
    scores, positive = random_frames(seed, frames, levels=levels)
    positive[0] = True  # scikit-learn warns of a class without a frame
    # Sums of at most 60 quotients below 1: an error of 60 ulps.
    assert average_precision(scores, positive) == pytest.approx(
        average_precision_score(positive, scores), abs=60 * 2.3e-16
    )


@given(seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([2, 1000]))
def test_a_video_drawn_twice_counts_as_two_videos(seed: int, levels: int) -> None:
    scores, positive = random_frames(seed, 40, levels=levels)
    draw = np.random.default_rng(seed)
    videos, times = draw.integers(5, size=40), draw.integers(3, size=5)
    positive[0], times[videos[0]] = True, 1
    copies = np.repeat(np.arange(40), times[videos])
    for calibrated in (False, True):
        drawn = ranked(scores, positive, videos).precision(
            times.astype(np.float64), calibrated=calibrated
        )
        again = average_precision(scores[copies], positive[copies], calibrated=calibrated)
        assert drawn == pytest.approx(again, abs=120 * 2.3e-16)  # up to twice as many frames


def test_average_precision_by_hand() -> None:
    # Ranks: +, -, +, -. Precision 1/1 at recall 1/2 and 2/3 at recall 1.
    scores, positive = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert average_precision(scores, positive) == pytest.approx((1 + 2 / 3) / 2)


def test_calibrated_precision_by_hand() -> None:
    # Ranks: -, +, -, -, +, -, so w = 4 / 2 = 2. At the first positive 1 / (1 + 1/2), at the
    # second 2 / (2 + 3/2).
    scores = np.array([6, 5, 4, 3, 2, 1]) / 10
    positive = np.array([False, True, False, False, True, False])
    assert average_precision(scores, positive, calibrated=True) == pytest.approx(
        (2 / 3 + 4 / 7) / 2
    )
    assert average_precision(scores, positive) == pytest.approx((1 / 2 + 2 / 5) / 2)


def test_frames_of_one_score_are_called_together() -> None:
    # Two of four frames at one score: precision 1/2 there, whatever their order in the file.
    positive = np.array([True, True, False, False])
    for order in ([0, 1, 2, 3], [2, 3, 0, 1], [2, 0, 3, 1]):
        assert average_precision(np.ones(4), positive[order]) == 1 / 2
    assert average_precision(np.ones(4), positive, calibrated=True) == 2 / (2 + 2 / 1)


def test_chance_is_a_half_when_calibrated_and_the_frequency_when_not() -> None:
    draw = np.random.default_rng(0)
    scores, positive = draw.random(200_000), draw.random(200_000) < 0.05
    # 10,000 positives: precision at each has a deviation of at most .5 / sqrt(10,000) = .005.
    assert average_precision(scores, positive) == pytest.approx(0.05, abs=0.005)
    assert average_precision(scores, positive, calibrated=True) == pytest.approx(0.5, abs=0.02)


def test_a_perfect_detector_scores_one_and_a_class_of_every_frame_too() -> None:
    scores = np.array([0.9, 0.8, 0.1])
    assert average_precision(scores, scores > 0.5, calibrated=True) == 1
    assert average_precision(scores, scores > 0, calibrated=True) == 1


def test_a_class_without_a_frame_has_no_precision() -> None:
    assert np.isnan(average_precision(np.ones(3), np.zeros(3, dtype=np.bool_)))
    assert np.isnan(average_precision(np.ones(0), np.zeros(0, dtype=np.bool_)))


# Three classes, of which 0 is background and 2 never occurs; the last frame is ambiguous.
SCORES = np.array([[0.1, 0.9, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.0, 0.8, 1]])
POSITIVES = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.bool_)
VIDEOS = np.array([7, 7, 3, 3])


def test_the_mean_is_over_classes_that_occur_and_frames_that_have_one() -> None:
    found = mean_average_precision(SCORES, POSITIVES, VIDEOS, classes=range(1, 3))
    # The ambiguous frame would stand between the two positives: 1/1 and 2/3.
    assert found.value == 1
    assert found.videos == 2
    assert found == mean_average_precision(SCORES, POSITIVES, VIDEOS, classes=range(1, 2))


def test_background_is_left_out_by_its_number() -> None:
    scores = SCORES.copy()
    scores[1, 0] = 0  # the only background frame is called last: precision 1/3
    assert mean_average_precision(scores, POSITIVES, VIDEOS, classes=range(1, 3)).value == 1
    assert mean_average_precision(scores, POSITIVES, VIDEOS).value == pytest.approx((1 + 1 / 3) / 2)


def test_without_a_frame_that_counts_there_is_an_error() -> None:
    with pytest.raises(SpecError, match="no frame of 3 is of a class"):
        mean_average_precision(SCORES, POSITIVES, VIDEOS, classes=range(2, 3))


def test_whole_videos_are_drawn_and_never_frames() -> None:
    # Every frame of video 0 is called right, every one of video 1 wrong: a draw of two videos
    # has precision 1, 1/2-ish or 0-ish, so its interval is wide; were frames drawn, 1000 of them
    # would leave a deviation of .5 / sqrt(1000).
    draw = np.random.default_rng(0)
    positive = draw.random(1000) < 0.5
    videos = np.repeat([0, 1], 500)
    right = np.where(videos == 0, positive, ~positive)
    scores = np.stack([0 * right, right + draw.random(1000) / 2], axis=1)
    positives = np.stack([~positive, positive], axis=1)
    found = mean_average_precision(scores, positives, videos, classes=range(1, 2), resamples=200)
    assert found.interval.low < 0.5
    assert found.interval.high > 0.99


def test_an_interval_is_the_same_for_the_same_seed_and_holds_the_value() -> None:
    draw = np.random.default_rng(1)
    positives = np.eye(4, dtype=np.bool_)[draw.integers(4, size=300)]
    scores = positives + draw.normal(size=(300, 4))
    videos = draw.integers(12, size=300)
    one, again, other = (
        mean_average_precision(scores, positives, videos, resamples=200, seed=seed)
        for seed in (0, 0, 1)
    )
    assert one.interval == again.interval != other.interval
    assert one.value == other.value
    assert one.interval.low < one.value < one.interval.high
    # Eight times the videos, each as before: an interval about sqrt(8) as narrow.
    many = mean_average_precision(
        np.tile(scores, (8, 1)),
        np.tile(positives, (8, 1)),
        (videos + 12 * np.arange(8)[:, None]).reshape(-1),
        resamples=200,
    )
    assert many.interval.half_width < one.interval.half_width / 1.8


def test_one_video_alone_tells_no_spread() -> None:
    found = mean_average_precision(SCORES, POSITIVES, np.zeros(4, dtype=np.int64))
    assert found.interval.low == found.interval.high == found.value


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(SpecError, match="not finite"):
        mean_average_precision(SCORES * np.nan, POSITIVES, VIDEOS)
    with pytest.raises(SpecError, match=r"scores are \[4, 3\], labels \[3, 3\]"):
        mean_average_precision(SCORES, POSITIVES[:3], VIDEOS)


def test_recall_is_averaged_over_classes_and_not_over_samples() -> None:
    # Class 0: of three samples one is hit; class 1: its only one is. (1/3 + 1) / 2.
    scores = np.array([[3, 2, 1, 0], [0, 3, 2, 1], [0, 3, 2, 1], [0, 3, 2, 1.0]])
    positives = np.eye(4, dtype=np.bool_)[[0, 0, 0, 1]]
    found = class_mean_recall(scores, positives, np.arange(4), top=2)
    assert found.value == pytest.approx((1 / 3 + 1) / 2)
    assert class_mean_recall(scores, positives, np.arange(4), top=4).value == 1


def test_a_sample_without_scores_misses_and_one_without_a_class_does_not_count() -> None:
    scores = np.zeros((3, 8))
    scores[1, 7] = 1
    positives = np.zeros((3, 8), dtype=np.bool_)
    positives[0, 7] = positives[1, 7] = True
    # Of equal scores the lower classes stand first: 0 to 4, so the first misses class 7.
    assert class_mean_recall(scores, positives, np.arange(3)).value == 1 / 2


def test_recall_over_videos_draws_videos() -> None:
    scores = np.array([[1, 0.0], [1, 0], [0, 1], [0, 1]])
    positives = np.array([[1, 0]] * 4, dtype=np.bool_)
    found = class_mean_recall(scores, positives, np.array([0, 0, 1, 1]), top=1, resamples=100)
    assert (found.value, found.interval.low, found.interval.high) == (1 / 2, 0, 1)


def test_a_verb_is_as_likely_as_all_its_actions() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    verbs = np.array([1, 0, 1])
    assert marginal(probabilities, verbs, parts=3) == pytest.approx(
        np.array([[0.25, 0.75, 0], [0.2, 0.8, 0]])
    )
