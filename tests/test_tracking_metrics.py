"""The measures of tracking, against cases derived by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.contracts.errors import SpecError
from harness.data.preview import corners_of
from harness.evaluation import tracking as measures
from harness.evaluation.tracking import FAILED, SKIPPED, STARTED, TRACKED, Run

BOXES = np.array([[10.0, 20, 40, 10], [12, 21, 40, 10], [14, 22, 40, 10], [16, 23, 40, 10]])


def moved(*, right: float = 0, down: float = 0) -> NDArray[np.float64]:
    return np.add(BOXES, [right, down, 0, 0])


def run(values: list[float], states: list[int]) -> Run:
    return Run(overlaps=np.array(values), states=np.array(states))


def test_a_perfect_tracker_has_twenty_of_twenty_one_points() -> None:
    found = measures.overlaps(BOXES, BOXES)
    assert found.tolist() == [1.0] * 4
    # 1 > 0, .05, ... .95 and not 1 > 1.
    assert measures.success(found) == 20 / 21
    assert measures.precision(measures.centre_errors_px(BOXES, BOXES)) == 1.0


def test_a_pixel_to_the_right_costs_a_column() -> None:
    found = measures.overlaps(moved(right=1), BOXES)
    # 39 x 10 shared of 2 x 400 - 390 = 410: .951, above 0 ... .95, again twenty points.
    assert found == pytest.approx([390 / 410] * 4, rel=1e-15)
    assert measures.success(found) == 20 / 21
    # Three: 370 / 430 = .860, above 0 ... .85: eighteen points.
    assert measures.success(measures.overlaps(moved(right=3), BOXES)) == 18 / 21
    assert measures.centre_errors_px(moved(right=3, down=4), BOXES).tolist() == [5.0] * 4


def test_an_overlap_that_equals_a_threshold_is_not_above_it() -> None:
    half = np.array([[0.0, 0, 10, 10]])
    # 50 shared of 100: exactly .5, above 0 ... .45, ten points.
    assert measures.success(measures.overlaps(half * [1, 1, 1, 0.5], half)) == 10 / 21


def test_twenty_pixels_are_within_and_more_are_not() -> None:
    assert measures.precision(measures.centre_errors_px(moved(right=20), BOXES)) == 1.0
    assert measures.precision(measures.centre_errors_px(moved(right=20.5), BOXES)) == 0.0


def test_a_tracker_lost_at_frame_three_of_four_has_half_the_points() -> None:
    lost = BOXES.copy()
    lost[2:, 0] += 1000
    found = measures.overlaps(lost, BOXES)
    assert found.tolist() == [1, 1, 0, 0]
    # Half the frames are above each of twenty thresholds; no overlap is not above 0.
    assert measures.success(found) == 10 / 21
    assert measures.precision(measures.centre_errors_px(lost, BOXES)) == 0.5


def test_boxes_that_only_touch_and_empty_ones_share_nothing() -> None:
    one = np.array([[0.0, 0, 2, 2]])
    assert measures.overlaps(one, np.array([[2.0, 0, 2, 2]])).tolist() == [0]
    assert measures.overlaps(one * 0, one * 0).tolist() == [0]


def test_overlap_with_a_polygon_is_exact() -> None:
    box = np.array([[0.0, 0, 4, 4]])
    assert measures.polygon_overlaps(box, corners_of(box[0])[None]).tolist() == [1.0]
    # A square on its tip, half the box's area and inside it: 8 of 16.
    tip = np.array([[2.0, 0, 4, 2, 2, 4, 0, 2]])
    assert measures.polygon_overlaps(box, tip).tolist() == [0.5]
    # Turned round the other way it has the same area.
    assert measures.polygon_overlaps(box, tip[:, [0, 1, 6, 7, 4, 5, 2, 3]]).tolist() == [0.5]
    # Half the tip is right of x = 2: 4 shared of 8 + 16 - 4.
    assert measures.polygon_overlaps(np.add(box, [2, 0, 0, 0]), tip).tolist() == [4 / 20]
    assert measures.polygon_overlaps(np.add(box, [9, 0, 0, 0]), tip).tolist() == [0.0]


def test_a_polygon_starts_a_tracker_as_a_box_of_its_own_area() -> None:
    box = measures.box_of(np.array([2.0, 0, 4, 2, 2, 4, 0, 2]))
    # Bounding box 4 x 4, area 8 of 16: sides 4 sqrt(1/2), around (2, 2).
    assert box == pytest.approx([2 - math.sqrt(2)] * 2 + [math.sqrt(8)] * 2, rel=1e-12)
    upright = np.array([3.0, 1, 5, 2])
    assert measures.box_of(corners_of(upright)).tolist() == upright.tolist()


def test_accuracy_leaves_out_burn_in_failures_and_skipped_frames() -> None:
    states = [STARTED, *[TRACKED] * 12, FAILED, *[SKIPPED] * 4, STARTED, *[TRACKED] * 10]
    values = [1.0, *[0.2] * 9, *[0.6] * 3, 0.0, *[9.0] * 4, 1.0, *[0.2] * 9, 0.8]
    # Frames 0-9 and 18-27 burn in: .6, .6, .6 and .8 count.
    assert measures.accuracy([run(values, states)]) == pytest.approx(2.6 / 4, rel=1e-15)
    assert measures.failures_per_frame([run(values, states)]) == 1 / 29
    assert math.isnan(measures.accuracy([run(values[:5], states[:5])]))


def test_a_run_that_does_not_begin_with_a_start_is_refused() -> None:
    with pytest.raises(SpecError, match="begins with the frame"):
        run([1.0], [TRACKED])


def test_expected_overlap_counts_a_failure_as_zero_for_ever() -> None:
    # .8, .4, then lost: at lengths 1 ... 4 the means are .8, .6, .4 and .3.
    lost = run([1, 0.8, 0.4, 0.7], [STARTED, TRACKED, TRACKED, FAILED])
    means = [0.8, 0.6, 0.4, 0.3]
    assert measures.expected([lost], lengths=(1, 4)).value() == pytest.approx(sum(means) / 4)
    # One that merely ends after two frames is unknown at 3 and 4.
    ended = run([1, 0.2, 0.4], [STARTED, TRACKED, TRACKED])
    both = measures.expected([lost, ended], lengths=(1, 4))
    assert both.value() == pytest.approx(((0.8 + 0.2) / 2 + (0.6 + 0.3) / 2 + 0.4 + 0.3) / 4)
    assert both.value(np.array([1, 1])) == pytest.approx((0.2 + 0.3) / 2)
    assert math.isnan(measures.expected([ended], lengths=(3, 4)).value())


def test_expected_overlap_begins_anew_after_each_start() -> None:
    states = [STARTED, TRACKED, FAILED, SKIPPED, SKIPPED, SKIPPED, SKIPPED, STARTED, TRACKED]
    twice = run([1, 0.6, 0.3, 0, 0, 0, 0, 1, 0.9], states)
    # At length 1 two stretches, .6 and .9; at 2 the first alone, (.6 + 0) / 2.
    assert measures.expected([twice], lengths=(1, 2)).value() == pytest.approx((0.75 + 0.3) / 2)
    assert measures.expected([twice], lengths=(1, 1)).value() == pytest.approx(0.75)


def test_the_shortest_of_a_hundred_frames_counts_the_start() -> None:
    hundred = [STARTED, *[TRACKED] * 99]
    assert measures.expected([run([1.0] * 100, hundred)]).value() == 1.0
    assert math.isnan(measures.expected([run([1.0] * 99, hundred[:99])]).value())


def test_a_perfect_tracker_has_all_of_the_expected_overlap() -> None:
    perfect = run([1.0] * 200, [STARTED, *[TRACKED] * 199])
    assert measures.expected([perfect]).value() == 1.0
    with pytest.raises(SpecError, match="1 <= low <= high"):
        measures.expected([perfect], lengths=(0, 3))


def test_sequences_are_resampled_whole_and_alike_for_all() -> None:
    values = np.array([0.2, 0.4, 0.9])

    def mean(places: NDArray[np.int64]) -> float:
        return float(values[places].mean())

    low, high = measures.over_sequences(mean, 3)
    assert (low, high) == measures.over_sequences(mean, 3)
    # Of 27 draws one is thrice the least and one thrice the largest: 3.7 %, more than 2.5 %.
    assert (low, high) == pytest.approx((0.2, 0.9))
    assert measures.over_sequences(mean, 1) == (0.0, 1.0)
    with pytest.raises(SpecError, match="no sequence"):
        measures.over_sequences(mean, 0)
