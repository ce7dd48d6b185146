"""Whether an order of methods holds at another budget is said of every board."""

import json
import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from harness.contracts.row import Row
from harness.report import _figures as figures
from harness.report import leaderboard, render, to_json
from harness.report._budgets import LEAST_METHODS, Order, _halves, _taus, orders, sentence
from harness.statistics import Interval, rank_stability
from tests.report.rows import BUDGET, SUITE, right, with_cell, with_metrics

METHODS = [f"m{number:02}" for number in range(LEAST_METHODS)]
LONG = replace(BUDGET, epochs=12)
NOT_ASKED = "Whether the order of methods holds at another training budget was not asked here."


def _at(recipe: str, method: str, correct: int, seed: int) -> Row:
    row = with_metrics(
        right(method, correct, seed=seed),
        train_samples=(LONG if recipe == "long" else BUDGET).epochs * 320,
    )
    return with_cell(row, recipe_name=recipe, recipe=LONG if recipe == "long" else BUDGET)


def _rows(small: list[int], large: list[int], *, seeds: int = 3) -> list[Row]:
    """Return methods with so many right answers at either budget, for every seed."""
    return [
        _at(recipe, method, correct, seed)
        for recipe, scores in (("default", small), ("long", large))
        for (method, correct), seed in product(zip(METHODS, scores, strict=True), range(seeds))
    ]


def _order(rows: list[Row]) -> Order:
    (found,) = orders(leaderboard(rows, suite=SUITE))
    return found


RISING = list(range(300, 300 + 2 * LEAST_METHODS, 2))


def test_the_same_order_holds_and_its_reverse_does_not() -> None:
    same = _order(_rows(RISING, RISING))
    assert (same.tau, same.interval, same.within, same.holds) == (1.0, (1.0, 1.0), 1.0, True)
    assert (same.first, same.second, same.steps) == ("default", "long", (30, 120))
    assert (same.methods, same.seeds) == (tuple(METHODS), (0, 1, 2))
    contrary = _order(_rows(RISING, RISING[::-1]))
    assert (contrary.tau, contrary.holds) == (-1.0, False)


def test_a_file_of_ranks_is_of_one_budget() -> None:
    board = leaderboard(_rows(RISING, RISING, seeds=6), suite=SUITE)
    tables = figures.tables(board)
    assert {one["budget"] for one in tables["ranks"]} == {"default", "long"}
    for figure in figures.figures():
        shown = {one["budget"] for one in figures.chosen(figure, tables) if "budget" in one}
        assert shown <= {"default"}, figure.name


def test_tau_is_of_the_means_by_pairs() -> None:
    swapped = RISING.copy()
    swapped[0], swapped[1], swapped[2] = RISING[2], RISING[0], RISING[1]
    # Two of 45 pairs are contrary: the one that fell from third to first passed two.
    assert _order(_rows(RISING, swapped)).tau == pytest.approx(1 - 2 * 2 / 45)
    tied = [300, 300, *RISING[2:]]
    # The larger budget orders 44 pairs, all of them alike.
    assert _order(_rows(RISING, tied)).tau == pytest.approx(44 / math.sqrt(45 * 44))


def test_taus_of_many_draws_are_what_rank_stability_says_of_each() -> None:
    first, second = np.random.default_rng(0).integers(0, 5, (2, 12, 40)).astype(float)  # and ties
    first[:, 3] = second[:, 7] = 1.0  # orders nothing
    found = _taus(first, second)
    assert (found[3], found[7]) == (None, None)
    for draw, tau in enumerate(found):
        judges = {"a": first[:, draw].tolist(), "b": second[:, draw].tolist()}
        assert tau == rank_stability(judges)["a", "b"]


def test_an_order_holds_from_three_of_four_pairs_on() -> None:
    # Three of four pairs alike and one contrary: tau is 3/4 - 1/4.
    found = _order(_rows(RISING, RISING))
    assert replace(found, interval=Interval(0.5, 1.0)).holds
    assert not replace(found, interval=Interval(0.49, 1.0)).holds
    assert not replace(found, interval=None).holds


def test_an_order_that_changes_with_the_seed_is_not_said_to_hold() -> None:
    small = [row for row in _rows(RISING, RISING) if row.cell.recipe_name == "default"]
    # Two of three seeds in the same order, and one in the contrary: the means keep it.
    large = [
        _at("long", method, correct, seed)
        for seed, scores in enumerate((RISING, RISING[::-1], RISING))
        for method, correct in zip(METHODS, scores, strict=True)
    ]
    found = _order([*small, *large])
    assert found.tau == 1.0
    # The contrary seed is drawn twice or thrice in 7 of 27 draws, and decides then.
    assert found.interval == (-1.0, 1.0)
    assert not found.holds
    # The smaller budget: 1 in all three halvings. The larger: the contrary seed against the two
    # others is -1; with either of them it is a tie of all methods, which orders nothing.
    assert found.within == pytest.approx((3 - 1) / 6)


def test_any_number_of_seeds_is_halved() -> None:
    assert _halves(5) == [list(one) for one in combinations(range(5), 2)]
    # 15 seeds have 6,435 halves and 24 have 2.7 million: of more than 2,000 so many are drawn.
    for seeds in (15, 24, 1000):
        found = _halves(seeds)
        assert len(found) == 2000
        assert {len(set(half)) for half in found} == {seeds // 2}
        assert found == _halves(seeds)
        # Each seed is in half of them, give or take five standard deviations of sqrt(2000 / 4).
        counts = np.bincount(np.concatenate(found), minlength=seeds)
        assert abs(counts - 1000).max() < 5 * math.sqrt(500)


def test_seeds_that_are_equal_in_sum_are_ties_in_whatever_order_they_are_added() -> None:
    rows = _rows([280] * LEAST_METHODS, RISING)
    found = [one for one in rows if (one.cell.method, one.cell.recipe_name) != ("m00", "default")]
    # 279 + 280 + 281 are thrice 280; the means of these fractions of 400 differ by an ulp.
    found += [_at("default", "m00", correct, seed) for seed, correct in enumerate((279, 280, 281))]
    assert _order(found).tau is None
    assert "undefined" in sentence(leaderboard(found, suite=SUITE))


def test_below_three_seeds_and_ten_methods_nothing_is_claimed() -> None:
    suite = replace(SUITE, seeds=(0, 1))
    board = leaderboard(_rows(RISING, RISING, seeds=2), suite=suite)
    (few,) = orders(board)
    assert (few.interval, few.within, few.holds) == (None, None, False)
    assert "is 1.00 over 2 seeds, too few to say whether the order holds." in sentence(board)
    fewer = [row for row in _rows(RISING, RISING) if row.cell.method != "m00"]
    assert sentence(leaderboard(fewer, suite=SUITE)) == NOT_ASKED


def test_seeds_that_are_not_run_yet_do_not_hide_the_order_of_those_that_are() -> None:
    rows = [row for row in _rows(RISING, RISING) if row.cell.recipe_name == "default"]
    long = [row for row in _rows(RISING, RISING) if row.cell.recipe_name == "long"]
    first = [row for row in long if row.cell.seed == 0]
    found = _order([*rows, *first])
    assert (found.methods, found.seeds, found.tau) == (tuple(METHODS), (0,), 1.0)
    board = leaderboard([*rows, *first], suite=SUITE)
    assert "1.00 over 1 seed, too few" in sentence(board)
    # A second seed of nine methods is too few to be asked; of ten it counts, and a method
    # that lacks it is left out.
    second = [row for row in long if row.cell.seed == 1]
    assert _order([*rows, *first, *second[1:]]).seeds == (0,)
    assert _order([*rows, *first, *second]).seeds == (0, 1)
    eleventh = [_at(recipe, "m10", 300, 0) for recipe in ("default", "long")]
    assert _order([*rows, *first, *eleventh]).methods == (*METHODS, "m10")
    assert _order([*rows, *first, *second, *eleventh]).methods == tuple(METHODS)


def test_what_answers_another_question_is_not_compared() -> None:
    other = [
        with_cell(row, recipe=replace(row.cell.recipe, batch_size=8))
        if row.cell.recipe_name == "long"
        else row
        for row in _rows(RISING, RISING)
    ]
    assert not orders(leaderboard(other, suite=SUITE))
    theirs = {row.cell_id for row in _rows(RISING, RISING) if row.cell.method == "m00"}
    assert not orders(leaderboard(_rows(RISING, RISING), suite=SUITE, authors=theirs))


def test_it_stands_in_the_first_lines_and_in_the_table_for_programs() -> None:
    board = leaderboard(_rows(RISING, RISING[::-1]), suite=SUITE)
    told = (
        "From `default` (30 steps) to `long` (120), Kendall's tau of the order of 10 methods "
        "(scratch, T = 2) is -1.00 (-1.00 to -1.00 over 3 seeds): the order does not hold. "
        "Between halves of the seeds at one budget it is 1.00."
    )
    assert sentence(board) == told
    page = render(board, command="harness report toy")
    assert told in page.partition("\n## ")[0]
    (order,) = json.loads(to_json(board, command=""))["orders_over_budgets"]
    assert (order["tau"], order["holds"], order["methods"]) == (-1.0, False, METHODS)
    alone = leaderboard([right("direct", 360)], suite=SUITE)
    assert NOT_ASKED in render(alone, command="")


def test_budgets_stand_in_the_order_in_which_the_suite_has_them() -> None:
    for names in (("default", "long"), ("long", "default")):
        both = {"default": BUDGET, "long": LONG}
        suite = replace(SUITE, recipes={name: both[name] for name in names})
        found = leaderboard(_rows(RISING, RISING), suite=suite)
        assert tuple(setting.cell.recipe_name for setting in found.settings) == names
        (order,) = orders(found)
        assert (order.first, order.second) == ("default", "long")  # the smaller one first


def test_simulators_that_decide_alike_say_it_once() -> None:
    rows = _rows(RISING, RISING)
    both = [*rows, *(with_cell(row, backend="beta") for row in rows)]
    assert _order(both).backend == "alpha"
