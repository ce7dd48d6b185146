"""Golden values with their derivations, and what the statistics must refuse."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.contracts.errors import SpecError
from harness.statistics import (
    Interval,
    bootstrap,
    compare_paired,
    friedman,
    holm,
    interquartile_mean,
    kendall_tau,
    mcnemar,
    mean_over_seeds,
    rank_stability,
    ranks_with_ties,
    sign_flip_p,
    wilson_interval,
)

Z = 1.959963984540054  # the standard normal's 97.5 % point
# Student's with 2 degrees of freedom: t / sqrt(2 + t^2) = 0.95.
T_2 = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))

some_values = st.lists(st.integers(-50, 50).map(float), min_size=6, max_size=8)


@given(trials=st.integers(1, 500), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_wilson_is_the_closed_form_and_holds_its_estimate(trials: int, share: float) -> None:
    successes = round(share * trials)
    p = successes / trials
    # Wilson 1927: the p0 with (p - p0)^2 = z^2 p0 (1 - p0) / n, a quadratic in p0.
    middle = (p + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = math.sqrt(p * (1 - p) / trials + Z**2 / (4 * trials**2)) * Z / (1 + Z**2 / trials)
    found = wilson_interval(successes, trials)
    assert found.holds(p)
    assert found.low == pytest.approx(max(0.0, middle - half), abs=1e-12)
    assert found.high == pytest.approx(min(1.0, middle + half), abs=1e-12)
    assert 0 <= found.low <= found.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_fraction(successes: int, trials: int) -> None:
    with pytest.raises(SpecError, match=f"got {successes}/{trials}"):
        wilson_interval(successes, trials)


def test_student_interval_of_five_published_runs() -> None:
    # megvii-research/mdistiller#7: mean 75.978; squared deviations .049284 + .031684 +
    # .007744 + .016384 + .029584 = .13468, sd = sqrt(.13468 / 4) = .183494;
    # t(4) = 2.776445, half-width 2.776445 * .183494 / sqrt(5) = .227838.
    found = mean_over_seeds([76.20, 75.80, 75.89, 75.85, 76.15])
    assert found.value == pytest.approx(75.978, abs=1e-9)
    assert found.deviation == pytest.approx(0.183494, abs=1e-6)
    assert found.interval is not None
    assert found.interval.half_width == pytest.approx(0.227838, abs=1e-6)
    assert not found.interval.holds(76.32)  # what the repository claims


def test_three_seeds_are_known_to_two_and_a_half_deviations() -> None:
    # Values -1, 0, 1: sd = 1, half-width T_2 / sqrt(3) = 2.484138.
    found = mean_over_seeds([0.0, -1.0, 1.0])
    assert found.interval is not None
    assert found.interval.half_width == pytest.approx(T_2 / math.sqrt(3), rel=1e-9)


def test_one_run_has_no_interval() -> None:
    found = mean_over_seeds([0.9])
    assert (found.value, found.deviation, found.interval, found.n) == (0.9, None, None, 1)


def test_equal_accuracies_are_known_only_to_what_rounding_hides() -> None:
    # Rounding to 1/n_test is uniform over one step: sd = step / sqrt(12).
    found = mean_over_seeds([0.95, 0.95, 0.95], resolution=0.01)
    assert found.deviation == 0
    assert found.interval is not None
    assert found.interval.half_width == pytest.approx(T_2 * 0.01 / math.sqrt(12 * 3), rel=1e-9)


def test_no_seeds_and_no_numbers_are_refused() -> None:
    with pytest.raises(SpecError, match="at least 1 values, got 0"):
        mean_over_seeds([])
    with pytest.raises(SpecError, match="finite values"):
        mean_over_seeds([0.9, math.nan])


def test_six_pairs_that_all_gain_have_the_smallest_p_of_sixty_four() -> None:
    found = compare_paired([2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0] * 6)
    # Differences 1..6: mean 3.5, sum of squares 17.5, sd = sqrt(3.5); t = 3.5 / sqrt(3.5 / 6).
    assert found.difference.value == 3.5
    assert found.difference.deviation == pytest.approx(math.sqrt(3.5))
    # Only all plus and all minus reach |sum| = 21: 2 of 2^6 choices.
    assert found.p_sign_flip == 2 / 64
    assert found.p_t == pytest.approx(0.0059335, abs=1e-7)  # scipy's t(5) tail beyond 4.582576
    assert (found.verdict, found.provisional) == ("better", False)


@given(differences=some_values)
@settings(max_examples=40, deadline=None)
def test_sign_flip_p_is_what_enumeration_by_hand_gives(differences: list[float]) -> None:
    observed = abs(sum(differences))  # integers: exact
    flips = product((-1, 1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in flips]
    assert sign_flip_p(differences) == sum(s >= observed for s in sums) / len(sums)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_significance_under_six_pairs(count: int) -> None:
    # Five pairs give at best 2 / 2^5 = 0.0625, so any printed p would mislead.
    with pytest.raises(SpecError, match="run more seeds"):
        sign_flip_p([1.0] * count)
    found = compare_paired([float(n) for n in range(1, count + 1)], [0.0] * count)
    assert found.p_t is None
    assert found.p_sign_flip is None
    assert found.provisional == (count < 5)


@given(ours=some_values, data=st.data())
@settings(max_examples=40, deadline=None)
def test_comparing_the_other_way_round_mirrors_everything(
    ours: list[float], data: st.DataObject
) -> None:
    size = len(ours)
    theirs = data.draw(st.lists(st.integers(-50, 50).map(float), min_size=size, max_size=size))
    there = compare_paired(ours, theirs, resolution=0.5)
    back = compare_paired(theirs, ours, resolution=0.5)
    mirrored = {"better": "worse", "worse": "better", "within noise": "within noise"}
    assert back.verdict == mirrored[there.verdict]
    assert back.difference.value == -there.difference.value
    assert back.p_sign_flip == there.p_sign_flip
    assert there.difference.interval is not None
    assert (there.verdict == "within noise") == there.difference.interval.holds(0.0)


def test_pairing_sees_what_the_spread_between_seeds_hides() -> None:
    # Seeds differ by 10, the method always gains 1, 1.1 or 0.9: paired it is clear.
    found = compare_paired([11.0, 21.1, 30.9], [10.0, 20.0, 30.0])
    assert found.verdict == "better"
    assert found.provisional
    apart = mean_over_seeds([11.0, 21.1, 30.9]).interval
    assert apart is not None
    assert apart.holds(20.0)


def test_the_same_step_in_three_seeds_is_no_proof() -> None:
    # One test sample in 360, three times. A difference of two roundings has
    # sd >= step / sqrt(6), so the half-width is T_2 / sqrt(18) = 1.014 steps.
    step = 1 / 360
    ours, theirs = [0.95 + step] * 3, [0.95] * 3
    assert compare_paired(ours, theirs, resolution=step).verdict == "within noise"
    assert compare_paired([0.95 + 2 * step] * 3, theirs, resolution=step).verdict == "better"
    assert compare_paired(theirs, theirs, resolution=step).verdict == "within noise"


def test_one_pair_says_nothing() -> None:
    found = compare_paired([0.9], [0.1])
    assert (found.verdict, found.difference.interval, found.provisional) == ("unknown", None, True)


def test_pairs_that_do_not_pair_are_refused() -> None:
    with pytest.raises(SpecError, match="equal lengths, got 2 and 1"):
        compare_paired([1.0, 2.0], [1.0])
    with pytest.raises(SpecError, match="at least 2 values, got 0"):
        compare_paired([], [])


def test_constant_gains_have_p_zero_and_no_gain_has_p_one() -> None:
    assert compare_paired([1.0] * 6, [0.0] * 6).p_t == 0
    same = compare_paired([1.0] * 6, [1.0] * 6)
    assert (same.p_t, same.p_sign_flip) == (1.0, 1.0)


def test_mcnemar_reads_only_the_samples_on_which_they_differ() -> None:
    first = np.array([True] * 5 + [False] * 1 + [True] * 90 + [False] * 4)
    second = np.array([False] * 5 + [True] * 1 + [True] * 90 + [False] * 4)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (5, 1)
    # Two-sided binomial: 2 * (C(6,0) + C(6,1)) / 2^6 = 14/64.
    assert found.p == pytest.approx(14 / 64, rel=1e-12)
    assert mcnemar(second, first).p == found.p
    assert mcnemar(first, first).p == 1.0
    with pytest.raises(SpecError, match="same samples"):
        mcnemar(first, second[:-1])


def test_holm_multiplies_by_the_number_of_hypotheses_left() -> None:
    # Sorted .01, .02, .04 times 3, 2, 1: .03, .04, .04; never falling; back in order given.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04), rel=1e-12)
    # .01 * 2 = .02, then .015 * 1 is lifted to the .02 before it.
    assert holm([0.015, 0.01]) == pytest.approx((0.02, 0.02), rel=1e-12)
    assert holm([]) == ()


def test_kendall_tau_counts_pairs_in_order() -> None:
    # 6 pairs, one of them swapped: (5 - 1) / 6.
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6, rel=1e-12)
    # One tie on the left: (5 - 0) / sqrt(5 * 6).
    assert kendall_tau([1, 1, 3, 4], [1, 2, 3, 4]) == pytest.approx(5 / math.sqrt(30), rel=1e-12)
    assert kendall_tau([1, 1], [1, 2]) is None
    assert kendall_tau([], []) is None


def test_stability_compares_judges_over_what_both_judged() -> None:
    found = rank_stability(
        {
            "b": {"x": 1.0, "y": 2.0, "z": 3.0, "w": None},
            "a": {"x": 10.0, "y": 20.0, "z": 5.0, "w": 1.0},
            "c": {"x": None, "y": 1.0},
        }
    )
    # a against b over x, y, z: one pair agrees (x < y), two do not: -1/3.
    assert found["a", "b"] == pytest.approx(-1 / 3, rel=1e-12)
    assert found["a", "c"] is None
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]


def test_friedman_is_corrected_for_ties() -> None:
    # Ranks 1, 2, 3 in four blocks: chi2 = 12*4/(3*4) * (1 + 0 + 1) = 8; df = 2: p = exp(-4).
    ordered = [[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0]]
    assert friedman(ordered) == pytest.approx(math.exp(-4), rel=1e-12)
    # The first two tie in one block: rank sums 4.5, 7.5, 12; 12/48 * 220.5 - 48 = 7.125,
    # over 1 - 6/(4 * 24) = .9375 is 7.6; uncorrected it would be exp(-3.5625).
    tied = [[1.0, 1.0, 1.0, 2.0], [2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0]]
    assert friedman(tied) == pytest.approx(math.exp(-3.8), rel=1e-12)
    with pytest.raises(SpecError, match="three methods"):
        friedman(ordered[:2])


def test_noise_cannot_separate_ranks() -> None:
    found = ranks_with_ties(
        {
            "best": {0: 0.90, 1: 0.91, 2: 0.92},
            "its equal": {0: 0.91, 1: 0.89, 2: 0.92},  # lower on average, not in every seed
            "worse": {0: 0.80, 1: 0.81, 2: 0.82},
            "lonely": {7: 0.99},
        }
    )
    # A single run, paired with nobody, beats nobody and is beaten by nobody.
    assert found == {"best": 1, "its equal": 1, "worse": 3, "lonely": 1}


def test_interquartile_mean_cuts_a_quarter_at_either_end() -> None:
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0]) == 3.5


def test_bootstrap_is_repeatable_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    found = bootstrap(values, seed=1, resamples=999)
    assert found == bootstrap(values, seed=1, resamples=999)
    assert found.holds(values.mean())
    # The normal approximation, to a tenth of its width: skew moves BCa no further here.
    half = Z * values.std(ddof=1) / math.sqrt(200)
    assert found.half_width == pytest.approx(half, rel=0.1)
    assert bootstrap([2.0, 2.0], seed=0) == Interval(2.0, 2.0)
    with pytest.raises(SpecError, match="at least 2 values"):
        bootstrap([1.0], seed=0)


@given(values=some_values, shift=st.integers(-5, 5))
@settings(max_examples=30, deadline=None)
def test_a_shift_moves_the_interval_and_nothing_else(values: list[float], shift: int) -> None:
    assume(len(set(values)) > 1)
    here = mean_over_seeds(values).interval
    there = mean_over_seeds([value + shift for value in values]).interval
    assert here is not None
    assert there is not None
    assert there.low - here.low == pytest.approx(shift, abs=1e-9)
    assert there.half_width == pytest.approx(here.half_width, rel=1e-9)
