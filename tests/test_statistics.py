"""Golden values with their derivations, and what the statistics must refuse."""

import math
import subprocess
import sys
from collections.abc import Hashable
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.contracts.errors import SpecError
from harness.statistics import (
    ALPHA,
    compare_common,
    compare_paired,
    critical_t,
    equivalence,
    holm,
    mcnemar,
    mean_over_seeds,
    probability_of_best,
    rank_stability,
    ranking,
    rounding_share,
    significance_groups,
    wilson_interval,
)

# Student's with 2 degrees of freedom: t / sqrt(2 + t^2) = 0.95.
T_2 = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))

some_values = st.lists(st.integers(-50, 50).map(float), min_size=6, max_size=8)


@given(trials=st.integers(1, 10**6), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_wilson_is_what_scipy_says_and_holds_its_estimate(trials: int, share: float) -> None:
    successes = round(share * trials)
    found = wilson_interval(successes, trials)
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert found.holds(successes / trials)
    assert tuple(found) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.high <= 1


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_of_published_fractions(
    successes: int, trials: int, low: float, high: float
) -> None:
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I.
    assert tuple(wilson_interval(successes, trials)) == pytest.approx((low, high), abs=5e-5)


def test_a_wilson_interval_needs_no_scipy() -> None:
    # Every cell asks for some; SciPy would cost each of them most of a second.
    script = (
        "import sys; from harness.statistics import wilson_interval; wilson_interval(9, 10);"
        "print([name for name in sys.modules if name.startswith(('scipy', 'statsmodels'))])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


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


def test_below_five_seeds_a_verdict_is_provisional() -> None:
    for seeds, expected in ((2, True), (4, True), (5, False)):
        values = [float(seed) for seed in range(seeds)]
        assert compare_paired(values, [0.5] * seeds).provisional is expected
        assert equivalence(values, 1.0).provisional is expected
    # Student's with 4 degrees of freedom has its 97.5 % point at 2.776445 (printed tables).
    assert critical_t(5) / math.sqrt(5) == pytest.approx(2.776445 / math.sqrt(5), abs=1e-6)


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


def test_the_paired_t_test_of_students_sleepers() -> None:
    # Student (1908): hours of sleep that ten patients gained by one drug and by another. He has a
    # mean difference of 1.58; R prints for the same data p = .002833 and .7001142 to 2.4598858.
    one = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    other = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    found = compare_paired(one, other)
    assert found.difference.value == pytest.approx(1.58, abs=1e-12)
    assert found.difference.interval == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert found.p_t == pytest.approx(0.002833, abs=5e-7)


def test_the_paired_t_test_of_six_gains() -> None:
    found = compare_paired([2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0] * 6)
    # Differences 1..6: mean 3.5, sum of squares 17.5, sd = sqrt(3.5); t = 3.5 / sqrt(3.5 / 6).
    assert found.difference.value == 3.5
    assert found.difference.deviation == pytest.approx(math.sqrt(3.5))
    assert found.p_t == pytest.approx(0.0059335, abs=1e-7)  # scipy's t(5) tail beyond 4.582576
    assert (found.verdict, found.provisional) == ("better", False)


@given(ours=some_values, shift=st.integers(-60, 60), resolution=st.sampled_from([0.0, 1.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_p_is_scipys_and_falls_below_5_per_cent_with_the_interval_clear_of_0(
    ours: list[float], shift: int, resolution: float
) -> None:
    found = compare_paired(ours, [float(shift)] * len(ours), resolution=resolution)
    assert found.p_t is not None
    assert (found.p_t < ALPHA) == (found.verdict != "within noise")
    if resolution == 0 and len(set(ours)) > 1:
        expected = scipy.stats.ttest_rel(ours, [shift] * len(ours)).pvalue
        assert found.p_t == pytest.approx(expected, rel=1e-9)


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
    assert back.p_t == there.p_t
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
    # t = step / (step / sqrt(18)), and with 2 degrees of freedom p = 1 - t / sqrt(2 + t^2).
    p = compare_paired(ours, theirs, resolution=step).p_t
    assert p == pytest.approx(1 - math.sqrt(18 / 20), rel=1e-6)


def test_one_pair_says_nothing() -> None:
    found = compare_paired([0.9], [0.1])
    assert (found.verdict, found.difference.interval, found.provisional) == ("unknown", None, True)
    assert found.p_t is None


def test_pairs_that_do_not_pair_are_refused() -> None:
    with pytest.raises(SpecError, match="equal lengths, got 2 and 1"):
        compare_paired([1.0, 2.0], [1.0])
    with pytest.raises(SpecError, match="at least 2 values, got 0"):
        compare_paired([], [])


def test_constant_gains_have_p_zero_and_no_gain_has_p_one() -> None:
    assert compare_paired([1.0] * 6, [0.0] * 6).p_t == 0
    assert compare_paired([1.0] * 6, [1.0] * 6).p_t == 1


def test_only_seeds_that_both_have_are_paired() -> None:
    found = compare_common({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.0, 2: 8.0, 3: 0.0})
    assert found is not None
    assert (found.difference.value, found.difference.n) == (1.0, 2)
    assert compare_common({0: 1.0}, {1: 1.0}) is None


def test_the_bar_is_students_point_and_rises_with_the_hypotheses() -> None:
    assert critical_t(3) == pytest.approx(T_2, rel=1e-12)
    # One of 435 pairs at 5 %: with 2 degrees of freedom, p = 1 - t / sqrt(2 + t^2).
    t = critical_t(3, hypotheses=435)
    assert 1 - t / math.sqrt(2 + t**2) == pytest.approx(0.05 / 435, rel=1e-9)


def test_holm_multiplies_by_the_number_of_hypotheses_left() -> None:
    # Sorted .01, .02, .04 times 3, 2, 1: .03, .04, .04; never falling; back in order given.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04), rel=1e-12)
    # .01 * 2 = .02, then .015 * 1 is lifted to the .02 before it.
    assert holm([0.015, 0.01]) == pytest.approx((0.02, 0.02), rel=1e-12)
    assert holm([]) == ()


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=8), data=st.data())
@settings(max_examples=60, deadline=None)
def test_holm_rejects_what_the_definition_rejects_in_any_order(
    p_values: list[float], data: st.DataObject
) -> None:
    adjusted = holm(p_values)
    # Holm 1979: step through the sorted p until one exceeds alpha / (how many are left).
    rejected, left = set(), len(p_values)
    for index in sorted(range(len(p_values)), key=p_values.__getitem__):
        if p_values[index] * left >= ALPHA:
            break
        rejected.add(index)
        left -= 1
    assert {index for index, p in enumerate(adjusted) if p < ALPHA} == rejected
    assert all(1 >= after >= before for before, after in zip(p_values, adjusted, strict=True))
    order = data.draw(st.permutations(range(len(p_values))))
    assert holm([p_values[index] for index in order]) == tuple(adjusted[index] for index in order)


def test_stability_compares_judges_over_what_both_judged() -> None:
    found = rank_stability(
        {"b": [1.0, 2.0, 3.0, None], "a": [10.0, 20.0, 5.0, 1.0], "c": [None, 1.0, None, None]}
    )
    # a against b over the first three: one pair agrees, two do not: -1/3.
    assert found["a", "b"] == pytest.approx(-1 / 3, rel=1e-12)
    assert found["a", "c"] is None
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert rank_stability({}) == {}


@given(
    orders=st.lists(
        st.tuples(*[st.one_of(st.none(), st.integers(0, 4).map(float))] * 2), max_size=9
    )
)
@settings(max_examples=100, deadline=None)
def test_stability_is_scipys_tau_b_where_both_order_something(
    orders: list[tuple[float | None, float | None]],
) -> None:
    found = rank_stability({"a": [a for a, _ in orders], "b": [b for _, b in orders]})["a", "b"]
    both = [(a, b) for a, b in orders if a is not None and b is not None]
    if len({a for a, _ in both}) < 2 or len({b for _, b in both}) < 2:
        assert found is None
    else:
        expected = scipy.stats.kendalltau([a for a, _ in both], [b for _, b in both]).statistic
        assert found == pytest.approx(expected, abs=1e-12)


# By five seeds: `worse` loses by 10 within 0.1, and `wild` is 10 better or worse by chance.
BEST = {seed: 90 + 0.1 * (seed % 2) for seed in range(5)}
WORSE = dict.fromkeys(range(5), 80.0)
WORST = dict.fromkeys(range(5), 70.0)
WILD = {0: 99.0, 1: 60.0, 2: 95.0, 3: 50.0, 4: 90.0}


def test_groups_peel_off_those_that_nothing_left_is_significantly_better_than() -> None:
    # best - worse: t(4) = 10.04 / (0.0548 / sqrt(5)) = 410, so p < 1e-9 and Holm's sixfold too.
    found = significance_groups(
        {"worst": WORST, "wild": WILD, "best": BEST, "worse": WORSE}, resolution=0.01
    )
    assert found == {"best": 1, "wild": 1, "worse": 2, "worst": 3}


def test_noise_alone_separates_nobody_and_a_single_value_is_in_no_group() -> None:
    equal = {seed: value + (-1) ** seed for seed, value in BEST.items()}
    assert significance_groups({"a": BEST, "b": equal}) == {"a": 1, "b": 1}
    assert significance_groups({"a": BEST, "lonely": {0: 10.0}}) == {"a": 1}
    assert significance_groups({"lonely": {0: 10.0}}) == {}
    assert significance_groups({}) == {}
    with pytest.raises(SpecError, match="a comparison needs finite values"):
        significance_groups({"a": BEST, "b": {0: math.nan, 1: 1.0}})


def test_groups_know_what_rounding_hides() -> None:
    # As for one pair: with three seeds a gain must exceed T_2 / sqrt(18) = 1.014 steps.
    base = dict.fromkeys(range(3), 90.0)
    one, two = (dict.fromkeys(range(3), 90.0 + steps) for steps in (1, 2))
    assert significance_groups({"base": base, "one": one}, resolution=1.0) == {"base": 1, "one": 1}
    assert significance_groups({"base": base, "two": two}, resolution=1.0) == {"base": 2, "two": 1}


@given(
    table=st.lists(
        st.tuples(
            st.integers(0, 40),
            st.dictionaries(st.integers(0, 5), st.integers(0, 3), min_size=1),
        ),
        min_size=2,
        max_size=4,
    ),
    resolution=st.sampled_from([0.0, 1.0, 8.0]),
)
@settings(max_examples=120, deadline=None)
def test_groups_are_those_of_pairs_compared_one_by_one(
    table: list[tuple[int, dict[int, int]]], resolution: float
) -> None:
    scores = {
        str(place): {seed: float(level + value) for seed, value in values.items()}
        for place, (level, values) in enumerate(table)
    }
    pairs = {
        (one, other): compared
        for one, other in combinations(scores, 2)
        if (compared := compare_common(scores[one], scores[other], resolution=resolution))
        and compared.p_t is not None
    }
    adjusted = holm([compared.p_t or 0.0 for compared in pairs.values()])
    assume(all(abs(p - ALPHA) > 1e-9 for p in adjusted))
    better = {
        pair if compared.difference.value > 0 else pair[::-1]
        for (pair, compared), p in zip(pairs.items(), adjusted, strict=True)
        if p < ALPHA
    }
    found = significance_groups(scores, resolution=resolution)
    assert set(found) == {name for name, values in scores.items() if len(values) > 1}
    left, number = set(found), 1
    while left:
        first = {name for name in left if not any((other, name) in better for other in left)}
        first = first or left
        assert {name for name in left if found[name] == number} == first
        left, number = left - first, number + 1


def test_who_has_one_seed_in_common_is_not_compared() -> None:
    elsewhere = {seed + 4: 70.0 for seed in range(5)}
    assert significance_groups({"best": BEST, "elsewhere": elsewhere}) == {
        "best": 1,
        "elsewhere": 1,
    }


def test_more_methods_in_a_table_ask_for_more_evidence() -> None:
    # Gains 1, 2, 3: t(2) = 2 / (1 / sqrt(3)) = 3.46, p = .074; 5, 6, 7: t = 10.4, p = .0091.
    base = {0: 0.0, 1: 0.0, 2: 0.0}
    clear = {0: 5.0, 1: 6.0, 2: 7.0}
    assert significance_groups({"base": base, "clear": clear}) == {"clear": 1, "base": 2}
    # Among six pairs the same p is .055.
    others = {"x": {0: 5.0, 1: 0.0, 2: -3.0}, "y": {0: 1.0, 1: -8.0, 2: 9.0}}
    crowd = significance_groups({"base": base, "clear": clear, **others})
    assert set(crowd.values()) == {1}


def test_a_circle_over_unlike_seeds_is_one_group() -> None:
    # a beats b by 10 over seeds 0 to 2, b beats c over 3 to 5, c beats a over 6 to 8.
    a = dict.fromkeys((0, 1, 2), 10.0) | dict.fromkeys((6, 7, 8), 0.0)
    b = dict.fromkeys((0, 1, 2), 0.0) | dict.fromkeys((3, 4, 5), 10.0)
    c = dict.fromkeys((3, 4, 5), 0.0) | dict.fromkeys((6, 7, 8), 10.0)
    assert significance_groups({"a": a, "b": b, "c": c}) == {"a": 1, "b": 1, "c": 1}


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


# Demsar (2006), "Statistical comparisons of classifiers over multiple data sets", table 6:
# areas under the curve of four variants of C4.5 on 14 data sets. On the 13th two print alike, and
# the ranks beside them tell which was higher.
_DEMSAR = {
    "C4.5": "763 599 954 628 882 936 661 583 775 1000 940 619 972 957",
    "+m": "768 591 971 661 888 931 668 583 838 1000 962 666 981 978",
    "+cf": "771 590 968 654 886 916 609 563 866 1000 965 614 975.01 946",
    "+m+cf": "798 569 967 657 898 931 685 625 875 1000 962 669 975 970",
}


def demsar() -> dict[str, dict[Hashable, float]]:
    return {
        name: {place: float(value) for place, value in enumerate(text.split())}
        for name, text in _DEMSAR.items()
    }


def test_ranks_are_those_of_demsars_example() -> None:
    found = ranking(demsar())
    assert found is not None
    # Printed there: 3.143, 2.000, 2.893, 1.964, and a critical difference of 1.25.
    expected = {"C4.5": 3.143, "+m": 2.0, "+cf": 2.893, "+m+cf": 1.964}
    assert found.mean_ranks == pytest.approx(expected, abs=5e-4)
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), rel=1e-3)
    assert found.blocks == 14
    # 9.28 on 3 degrees of freedom there, not corrected for ties: of 4^3 - 4 = 60 a data set, four
    # that are alike on one take 60 and two that are alike, on three, 6 each.
    corrected = 9.28 / (1 - (60 + 3 * 6) / (14 * 60))
    assert found.p == pytest.approx(scipy.stats.chi2.sf(corrected, 3), rel=5e-3)
    assert found.left_out == ()


def test_friedmans_test_by_hand() -> None:
    # Three candidates in the same order on each of six blocks: rank sums 18, 12, 6, so that
    # 12 / (6 * 3 * 4) * (324 + 144 + 36) - 3 * 6 * 4 = 12, and with 2 degrees of freedom exp(-6).
    scores: dict[str, dict[Hashable, float]] = {
        name: dict.fromkeys(range(6), float(place)) for place, name in enumerate("abc")
    }
    found = ranking(scores)
    assert found is not None
    assert found.p == pytest.approx(math.exp(-6), rel=1e-9)
    # One block the other way round: sums 16, 12, 8 and 12 / 72 * 464 - 72 = 16 / 3.
    for place, name in enumerate("cba"):
        scores[name][0] = float(place)
    found = ranking(scores)
    assert found is not None
    assert found.p == pytest.approx(math.exp(-8 / 3), rel=1e-9)


@pytest.mark.parametrize(
    ("candidates", "quantile"),
    [
        (3, 2.343),
        (4, 2.569),
        (5, 2.728),
        (6, 2.850),
        (7, 2.949),
        (8, 3.031),
        (9, 3.102),
        (10, 3.164),
    ],
)
def test_critical_differences_go_by_demsars_table(candidates: int, quantile: float) -> None:
    # Demsar (2006), table 5 (a), at .05; over 6 blocks.
    found = ranking(
        {str(place): dict.fromkeys(range(6), float(place)) for place in range(candidates)}
    )
    assert found is not None
    scale = math.sqrt(candidates * (candidates + 1) / 36)
    assert found.critical_difference == pytest.approx(quantile * scale, abs=1e-3 * scale)


def test_a_candidate_that_lacks_a_block_is_left_out_and_named() -> None:
    scores = demsar()
    scores["part"] = {0: 999.0}
    found = ranking(scores)
    assert found is not None
    assert found.left_out == ("part",)
    assert found.mean_ranks["+m+cf"] == pytest.approx(1.964, abs=5e-4)


def test_ranks_need_six_blocks_and_three_candidates() -> None:
    few = {name: {block: values[block] for block in range(5)} for name, values in demsar().items()}
    assert ranking(few) is None
    assert ranking({name: demsar()[name] for name in ("+m", "+cf")}) is None
    assert ranking({name: dict(demsar()[name]) for name in ("+m", "+cf", "C4.5")}) is not None
    assert ranking({}) is None


def test_candidates_that_are_alike_share_every_rank() -> None:
    found = ranking({name: dict.fromkeys(range(6), 0.5) for name in "abc"})
    assert found is not None
    assert found.mean_ranks == dict.fromkeys("abc", 2.0)
    assert found.p == 1.0


def test_the_probability_of_being_best_is_that_of_the_draws() -> None:
    # Ahead by 1 on five seeds and behind by 2.5 on one: the mean of six draws is ahead if the
    # bad seed comes at most once, (5/6)^6 + 6 (1/6) (5/6)^5 = .7368; sd of the bootstrap .0044.
    ours = dict.fromkeys(range(5), 1.0) | {5: -2.5}
    found = probability_of_best({"ours": ours, "theirs": dict.fromkeys(range(6), 0.0)})
    assert found["ours"] == pytest.approx((5 / 6) ** 6 + (5 / 6) ** 5, abs=4 * 0.0044)
    assert sum(found.values()) == pytest.approx(1)


def test_who_ties_shares_and_fewer_than_six_common_seeds_say_nothing() -> None:
    same = dict.fromkeys(range(6), 0.9)
    assert probability_of_best({"a": same, "b": dict(same)}) == {"a": 0.5, "b": 0.5}
    assert probability_of_best({"a": same, "b": dict.fromkeys(range(1, 7), 0.9)}) == {}
    assert probability_of_best({}) == {}


def test_a_thousand_seeds_are_as_welcome_as_two() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.9, 0.01, 1000).tolist()
    found = mean_over_seeds(values)
    assert found.interval is not None
    half = scipy.stats.t.ppf(0.975, 999) * np.std(values, ddof=1) / math.sqrt(1000)
    assert found.interval.half_width == pytest.approx(half, rel=1e-9)
    assert compare_paired(values, values).verdict == "within noise"
    many = {name: dict(enumerate(values)) for name in "ab"}
    assert significance_groups(many) == {"a": 1, "b": 1}
    assert probability_of_best(many) == {"a": 0.5, "b": 0.5}


def test_two_one_sided_tests_by_hand() -> None:
    # Values -1, 0, 1 about 10: mean 0 over the target, standard error 1 / sqrt(3). The nearer
    # bound is a margin away: t = 3 sqrt(3), and with 2 degrees of freedom the tail is
    # 1/2 - t / (2 sqrt(2 + t^2)).
    t = 3 * math.sqrt(3)
    found = equivalence([9.0, 10.0, 11.0], 10.0, margin=3.0)
    assert found.p == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t**2)), rel=1e-9)
    assert found.p == pytest.approx(0.0175494, abs=1e-7)
    assert (found.verdict, found.provisional, found.margin) == ("reproduced", True, 3.0)
    # Half a margin off, t is 1.5 sqrt(3) and p .061: not shown to be the same.
    off = equivalence([10.5, 11.5, 12.5], 10.0, margin=3.0)
    t = 1.5 * math.sqrt(3)
    assert off.p == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t**2)), rel=1e-9)
    assert off.verdict == "within noise"


def test_what_is_significantly_off_and_not_within_the_margin_is_lower_or_higher() -> None:
    values = [90.0, 90.1, 89.9, 90.05, 89.95]
    assert equivalence(values, 91.0, margin=0.5).verdict == "lower"
    assert equivalence(values, 89.0, margin=0.5).verdict == "higher"
    # Significantly lower, and still the same by the margin that was stated before.
    found = equivalence(values, 90.2, margin=0.5)
    assert found.difference.interval is not None
    assert not found.difference.interval.holds(0.0)
    assert (found.verdict, found.provisional) == ("reproduced", False)


@given(values=some_values, target=st.integers(-40, 40), margin=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_equivalence_is_scipys_two_tests_and_the_90_per_cent_interval(
    values: list[float], target: int, margin: int
) -> None:
    assume(len(set(values)) > 1)
    found = equivalence(values, target, margin=margin)
    above = scipy.stats.ttest_1samp(values, target - margin, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, target + margin, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)
    low, high = scipy.stats.ttest_1samp(values, target).confidence_interval(0.90)
    inside = target - margin < low and high < target + margin
    assert (found.verdict == "reproduced") == inside


def test_one_run_and_equal_runs_and_no_margin() -> None:
    one = equivalence([0.9], 0.9)
    assert (one.verdict, one.p, one.provisional) == ("unknown", None, True)
    assert equivalence([0.9] * 5, 0.9).verdict == "reproduced"
    assert equivalence([0.9] * 5, 0.8).verdict == "higher"
    # Equal runs of ten samples are known to a step of .1 / sqrt(12 * 5) = .013, and no better.
    assert equivalence([0.9] * 5, 0.9, resolution=0.1).verdict == "within noise"
    with pytest.raises(SpecError, match=r"positive margin, got 0\.0"):
        equivalence([0.9], 0.9, margin=0.0)


# Shrout and Fleiss (1979), table 2: six targets, each judged by four. Printed there: mean squares
# 11.24 between and 6.26 within, and an intraclass correlation ICC(1,1) of .17.
_JUDGED = [
    (9.0, 2.0, 5.0, 8.0),
    (6.0, 1.0, 3.0, 2.0),
    (8.0, 4.0, 6.0, 8.0),
    (7.0, 1.0, 2.0, 6.0),
    (10.0, 5.0, 6.0, 9.0),
    (6.0, 2.0, 4.0, 7.0),
]


def test_the_share_of_rounding_is_one_less_the_intraclass_correlation() -> None:
    found = rounding_share({"one": _JUDGED})
    assert found is not None
    assert (found.runs, found.provisional) == (6, False)
    assert found.value == pytest.approx(1 - 0.17, abs=0.005)
    assert found.value == pytest.approx(4 / (11.24 / 6.26 + 3), abs=1e-3)
    # The intraclass correlation's interval, -.133 to .723 (as the R package psych prints it).
    assert tuple(found.interval) == pytest.approx((1 - 0.723, 1.0), abs=5e-4)


def test_the_share_of_pairs_by_hand() -> None:
    # Means 0 1 2 3 4 5, differences 1: between 2 * 17.5 / 5 = 7, within 1/2, F = 14, 2/15.
    pairs = [(seed - 0.5, seed + 0.5) for seed in range(6)]
    found = rounding_share({"one": pairs})
    assert found is not None
    assert found.value == pytest.approx(2 / 15, rel=1e-12)
    upper, lower = scipy.stats.f.ppf(0.975, 5, 6), scipy.stats.f.ppf(0.975, 6, 5)
    expected = (2 / (14 * lower + 1), 2 / (14 / upper + 1))
    assert tuple(found.interval) == pytest.approx(expected, rel=1e-9)
    # Means that are alike: F = 0, and all of what varies is within.
    alike = rounding_share({"one": [(-0.5, 0.5)] * 6})
    assert alike is not None
    assert alike.value == 1.0


def test_candidates_are_pooled_about_their_own_means() -> None:
    # Two candidates of three seeds: means 0 1 2 and 100 101 102, differences 1 in every pair.
    # Between is 2 (2 + 2) / 4 = 2 and within 1/2, so F = 4 and the share 2/5.
    pairs = {
        name: [(at + seed - 0.5, at + seed + 0.5) for seed in range(3)]
        for name, at in {"a": 0.0, "b": 100.0}.items()
    }
    found = rounding_share(pairs)
    assert found is not None
    assert found.value == pytest.approx(0.4, rel=1e-12)
    assert (found.runs, found.provisional) == (6, True)
    five = rounding_share({name: [(seed, seed + 1.0) for seed in range(5)] for name in "ab"})
    assert five is not None
    assert (five.runs, five.provisional) == (10, False)
    # Who has one seed has no seed to compare with.
    assert rounding_share({**pairs, "lonely": [(0.0, 90.0)]}) == found


def test_a_share_needs_six_pairs_and_something_that_moves() -> None:
    assert rounding_share({"one": _JUDGED[:5]}) is None
    assert rounding_share({"one": [(1.0, 1.0)] * 6}) is None
    assert rounding_share({}) is None
    with pytest.raises(SpecError, match=r"two or more; got \[2, 4\]"):
        rounding_share({"one": [*_JUDGED, (1.0, 2.0)]})
    with pytest.raises(SpecError, match=r"two or more; got \[1\]"):
        rounding_share({"one": [(1.0,)] * 6})


def test_equal_draws_explain_nothing_and_at_most_what_a_step_hides() -> None:
    equal = {"one": [(seed / 10, seed / 10) for seed in range(6)]}
    found = rounding_share(equal)
    assert found is not None
    assert (found.value, found.interval) == (0.0, (0.0, 0.0))
    found = rounding_share(equal, resolution=0.1)
    assert found is not None
    assert found.interval.low == found.value == 0
    # Between 2 * .175 / 5 = .07; a step of .1 has variance 1/1200.
    upper = scipy.stats.f.ppf(0.975, 5, 6)
    assert found.interval.high == pytest.approx(2 / (1200 * 0.07 / upper + 1), rel=1e-8)


def test_the_share_of_a_thousand_seeds_is_that_of_their_variances() -> None:
    rng = np.random.default_rng(0)
    seeds, first, second = rng.normal(0, 1, (3, 1000))
    pairs = list(zip(seeds + 0.5 * first, seeds + 0.5 * second, strict=True))
    found = rounding_share({"one": pairs})
    assert found is not None
    assert found.interval.holds(0.25 / 1.25)
    assert found.interval.half_width < 0.03


def test_mcnemar_of_a_published_table() -> None:
    # Fagerland, Lydersen and Laake (2013), table 1: of 21 children 1 had airways that were
    # hyper-responsive before a transplant alone and 7 after it alone; exact p = .070.
    assert mcnemar(1, 7) == pytest.approx(0.070, abs=5e-4)
    assert mcnemar(7, 1) == 2 * (1 + 8) / 2**8
    assert mcnemar(0, 0) == mcnemar(3, 3) == 1.0
    # With five samples even equal signs have p = 2 / 2^5 > .05.
    assert mcnemar(5, 0) == 0.0625
    with pytest.raises(SpecError, match="counted from 0, got 3 and -1"):
        mcnemar(3, -1)


@given(ours=st.integers(0, 3000), theirs=st.integers(0, 3000))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_scipys_sign_test_at_any_number(ours: int, theirs: int) -> None:
    assume(ours + theirs > 0)
    expected = scipy.stats.binomtest(ours, ours + theirs, 0.5).pvalue
    assert mcnemar(ours, theirs) == pytest.approx(expected, rel=1e-7, abs=1e-300)
    assert mcnemar(theirs, ours) == mcnemar(ours, theirs)
