"""The search is the same for every method, sees no test data, and is what boards go by."""

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from harness import discovery, results
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.contracts.row import Metrics, Row, Status
from harness.contracts.task import Scale
from harness.contracts.tuning import Trial, Tuning
from harness.engine import cell as cell_engine
from harness.engine import grid, tune
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.publish import _authors, publish
from harness.engine.resolve import opened
from harness.engine.tune import SEED, WITH_WEIGHT, WITHOUT, chosen, frozen, points, searches
from harness.results import Published
from harness.statistics import wilson_interval
from harness.store import Store

TWO = Axes(methods=("direct", "logit_kd"))


def _searches(tmp_path: Path, axes: Axes = TWO, trials: int = 8) -> list[tune.Search]:
    return searches("digits", axes, Store(tmp_path), Published(), trials=trials)


def test_every_method_is_tried_as_often_at_the_same_points_and_first_as_it_is() -> None:
    assert len(WITH_WEIGHT) == len(set(WITH_WEIGHT)) == len(WITHOUT) == len(set(WITHOUT)) == 8
    assert WITH_WEIGHT[0] == WITHOUT[0] == (1.0, 1.0)
    assert {weight for _, weight in WITH_WEIGHT} == {1.0, 3.0, 1 / 3}
    assert {weight for _, weight in WITHOUT} == {1.0}


def test_a_method_without_a_weight_of_its_own_is_tried_at_more_learning_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_weight", lambda name: "temperature" if name == "logit_kd" else "")
    direct, taught = _searches(tmp_path)
    assert points("direct") == WITHOUT
    assert [cell.recipe.learning_rate for cell in direct.cells] == [
        *(0.1, 0.3, 0.0333, 0.9, 0.0111, 0.173, 0.0577, 0.52)
    ]
    assert [cell.recipe.learning_rate for cell in taught.cells] == [
        *(0.1, 0.3, 0.0333, 0.9, 0.1, 0.1, 0.3, 0.0333)
    ]
    # The default temperature is 4.
    assert [cell.params["temperature"] for cell in taught.cells] == [
        *(4.0, 4.0, 4.0, 4.0, 12.0, 1.33, 1.33, 12.0)
    ]


def test_a_trial_shares_no_seed_with_the_board_and_is_judged_on_validation_data(
    tmp_path: Path,
) -> None:
    tried = [cell for search in _searches(tmp_path) for cell in search.cells]
    board = grid.cells("digits", TWO, Store(tmp_path), Published())
    assert {cell.seed for cell in tried} == {SEED}
    assert not {cell.seed for cell in tried} & {cell.seed for cell in board}
    assert {cell.judged for cell in tried} == {"validation"}
    assert {cell.timesteps for cell in tried} == {2}  # the middle of 1, 2, 4
    assert len({cell.cell_id for cell in tried}) == len(tried)


def test_a_suite_that_uses_the_searchs_seed_and_too_many_trials_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpecError, match=r"--trials must be in 1\.\.8, got 9"):
        _searches(tmp_path, trials=9)
    with pytest.raises(SpecError, match="--repeats must be at least 1, got 0"):
        searches("digits", TWO, Store(tmp_path), Published(), trials=1, repeats=0)
    digits = grid.load_suite("digits")
    monkeypatch.setattr(tune, "load_suite", lambda _: replace(digits, seeds=(0, SEED + 1)))
    assert _searches(tmp_path)
    with pytest.raises(SpecError, match="seed 1001, which is kept for tuning"):
        searches("digits", TWO, Store(tmp_path), Published(), trials=1, repeats=2)


def test_a_choice_among_more_trials_is_not_replaced(tmp_path: Path) -> None:
    (search,) = _searches(tmp_path, Axes(methods=("direct",), backends=("reference",)), trials=4)
    for cell in search.cells:
        Store(tmp_path).save(_row(cell, 70))
    known = Published(tunings=(cast("Tuning", chosen(search, Store(tmp_path))),))
    ask = partial(searches, "digits", Axes(methods=("direct",)), Store(tmp_path), known)
    with pytest.raises(SpecError, match=r"among 4 points of 1 seeds.*--trials 4 --repeats 1"):
        ask(trials=3)
    assert [len(one.cells) for one in (*ask(), *ask(trials=4), *ask(trials=5))] == [4, 4, 5]
    assert ask(trials=2, repeats=2)


def _row(cell: Cell, right: int | None, status: Status = "ok") -> Row:
    if right is None:
        return Row(cell=cell, status=status, error="it diverged")
    low, high = wilson_interval(right, 100)
    metrics = Metrics(score=right / 100, score_low=low, score_high=high, n_test=100)
    return Row(cell=cell, status="ok", metrics=metrics)


def test_the_best_on_validation_is_chosen_and_of_equals_the_earliest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (search,) = _searches(tmp_path, Axes(methods=("direct",)), trials=4)
    for cell, right in zip(search.cells, (70, 80, None, 80), strict=True):
        assert chosen(search, store) is None  # not all of them are there
        store.save(_row(cell, right, "diverged"))
    found = chosen(search, store)
    assert found is not None
    assert found.learning_rate == 0.3
    (store.folder(search.cells[1]) / "row.json").write_text("{")
    assert chosen(search, store) is None
    assert [trial.accuracy for trial in found.trials] == [0.7, 0.8, None, 0.8]
    assert [trial.status for trial in found.trials] == ["ok", "ok", "diverged", "ok"]


def test_the_best_mean_over_seeds_is_chosen_of_points_that_succeeded_at_all(tmp_path: Path) -> None:
    store, axes = Store(tmp_path), Axes(methods=("direct",))
    (search,) = searches("digits", axes, store, Published(), trials=4, repeats=2)
    assert [cell.seed for cell in search.cells] == [SEED, SEED + 1] * 4
    rates = [cell.recipe.learning_rate for cell in search.cells]
    assert rates == [0.1, 0.1, 0.3, 0.3, 0.0333, 0.0333, 0.9, 0.9]
    # Means 75, 85 and 80; the last has the best seed of all and another that diverged.
    for cell, right in zip(search.cells, (90, 60, 85, 85, 70, 90, 99, None), strict=True):
        assert chosen(search, store) is None
        store.save(_row(cell, right, "diverged"))
    found = chosen(search, store)
    assert found is not None
    assert (found.learning_rate, found.repeats, [*found.seeds]) == (0.3, 2, [SEED, SEED + 1])
    assert len(found.trials) == 8
    with pytest.raises(SpecError, match=f"seed {SEED + 1} chose learning rates and weights"):
        grid.cells("digits", replace(axes, seeds=(SEED + 1,)), store, Published(tunings=(found,)))


def test_equal_means_are_equal_in_whatever_order_seeds_were_right(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (search,) = searches(
        "digits", Axes(methods=("direct",)), store, Published(), trials=2, repeats=3
    )
    for cell, right in zip(search.cells, (10, 20, 30, 30, 20, 10), strict=True):
        store.save(_row(cell, right, "diverged"))
    found = chosen(search, store)
    assert found is not None
    assert found.learning_rate == 0.1  # the earliest of equals


def test_a_method_that_comes_later_is_tried_as_often_as_those_before(tmp_path: Path) -> None:
    axes = Axes(methods=("direct",))
    trial = Trial(learning_rate=0.1, params={}, cell_id="", status="ok", accuracy=0.5)
    had = Tuning(**{**CHOICE, "trials": (trial,) * 6, "repeats": 3})
    known = Published(tunings=(had, replace(had, recipe_name="long", repeats=1)))
    (as_others,) = searches("digits", axes, Store(tmp_path), known)
    assert [cell.seed for cell in as_others.cells] == [SEED, SEED + 1, SEED + 2] * 2
    (long,) = searches("digits", replace(axes, recipe="long"), Store(tmp_path), known)
    assert (len(long.cells), long.repeats) == (6, 1)
    (told,) = searches("digits", axes, Store(tmp_path), known, trials=1, repeats=1)
    assert len(told.cells) == 1
    (first,) = searches("digits", axes, Store(tmp_path), Published())
    assert (len(first.cells), first.repeats) == (8, 1)


def test_where_less_is_better_the_least_is_chosen(tmp_path: Path) -> None:
    store, pixels = Store(tmp_path), Scale(unit="px", higher_is_better=False, most=None)
    (search,) = _searches(tmp_path, Axes(methods=("direct",)), trials=3)
    for cell, apart in zip(search.cells, (4.0, 2.5, 3.0), strict=True):
        found = {"score": apart, "score_low": apart, "score_high": apart, "n_test": 100}
        metrics = Metrics(**found, metric="distance", scale=pixels)
        store.save(Row(cell=cell, status="ok", metrics=metrics))
    choice = chosen(search, store)
    assert choice is not None
    assert choice.learning_rate == 0.3
    assert [trial.accuracy for trial in choice.trials] == [4.0, 2.5, 3.0]


def test_a_method_of_which_nothing_succeeded_keeps_its_defaults(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (search,) = _searches(tmp_path, Axes(methods=("direct",)), trials=2)
    for cell in search.cells:
        store.save(_row(cell, None, "failed"))
    found = chosen(search, store)
    assert found is not None
    assert found.learning_rate == 0.1


CHOICE: dict[str, Any] = {
    "method": "logit_kd",
    "model": "digits_convnet",
    "recipe_name": "short",
    "seed": SEED,
    "timesteps": 2,
    "backend": "spikingjelly",
    "learning_rate": 0.3,
    "params": {"temperature": 12.0},
}


def test_what_is_frozen_is_read_back_and_boards_go_by_it_unless_told_not_to(
    tmp_path: Path,
) -> None:
    trial = Trial(learning_rate=0.3, params={}, cell_id="0" * 16, status="ok", accuracy=0.9)
    choice = Tuning(**CHOICE, trials=(trial,))
    results.freeze("digits", [choice], results=tmp_path)
    known = results.published("digits", results=tmp_path)
    assert known.tunings == (choice,)
    assert not known.rows
    direct, taught = (
        next(c for c in grid.cells("digits", TWO, Store(tmp_path), known) if c.method == method)
        for method in ("direct", "logit_kd")
    )
    assert (direct.recipe.learning_rate, taught.recipe.learning_rate) == (0.1, 0.3)
    assert taught.params["temperature"] == 12.0
    plain = replace(TWO, as_chosen=False)
    untouched = grid.cells("digits", plain, Store(tmp_path), known)
    assert {cell.recipe.learning_rate for cell in untouched} == {0.1}
    assert untouched == grid.cells("digits", TWO, Store(tmp_path), Published())


def test_a_budget_can_take_the_choices_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(grid.load_suite("digits"), tuned_at={"long": "short"})
    for module in (grid, tune):
        monkeypatch.setattr(module, "load_suite", lambda _: asked)
    known = Published(tunings=(Tuning(**CHOICE),))
    long = replace(TWO, recipe="long")
    found = grid.cells("digits", long, Store(tmp_path), known)
    assert {(cell.method, cell.recipe.learning_rate) for cell in found} == {
        ("direct", 0.1),
        ("logit_kd", 0.3),
    }
    assert {cell.recipe.epochs for cell in found} == {asked.recipes["long"].epochs}
    with pytest.raises(SpecError, match="'long' of suite 'digits' takes the choices of 'short'"):
        _searches(tmp_path, long)
    first = replace(asked, tuned_at={"short": "long"})  # nobody names it: it is the first
    monkeypatch.setattr(tune, "load_suite", lambda _: first)
    with pytest.raises(SpecError, match="'short' of suite 'digits' takes the choices of 'long'"):
        _searches(tmp_path, TWO)
    set_ = replace(long, settings={"logit_kd": {"temperature": (2.0,)}})
    assert "not the 12.0 that tuning chose" in grid.overruled("digits", set_, known)[0]


def test_a_budget_that_is_not_there_chooses_for_none() -> None:
    digits = grid.load_suite("digits")
    for wrong in ({"long": "shrot"}, {"shrot": "short"}):
        with pytest.raises(SpecError, match=r"Suite\.tuned_at names 'shrot'"):
            replace(digits, tuned_at=wrong)


def test_a_new_choice_takes_the_place_of_the_old_and_of_no_other() -> None:
    old, other = Tuning(**CHOICE), Tuning(**{**CHOICE, "method": "direct", "params": {}})
    new = replace(old, learning_rate=0.9)
    assert frozen([old, other], [new]) == [other, new]


def test_every_weight_that_is_tuned_is_a_number_of_the_method() -> None:
    for name in discovery.names("methods"):
        card = discovery.method_card(name)
        if card and card.weight:
            assert isinstance(discovery.method_parameters(name)[card.weight], float), name


class _OutOfReach:
    """A split that nobody may look at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"somebody asked test data for {name}")

    def __len__(self) -> int:
        raise AssertionError("somebody counted test data")


def test_a_trial_cannot_see_test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = opened("digits", None, 2)
    blind = replace(splits, test=_OutOfReach())
    monkeypatch.setattr(cell_engine, "opened_for", lambda *_: blind)
    (search,) = _searches(tmp_path, Axes(methods=("direct",), backends=("reference",)), trials=1)
    (trial,) = search.cells
    short = replace(trial.recipe, epochs=1, train_samples=64, precision="float32")
    trial = replace(trial, recipe=short, teacher=None)
    conditions = Conditions(runs=tmp_path, data_root=None)
    row = cell_engine.run(
        Order(cell=trial, conditions=conditions, log_path=tmp_path / "log"), lambda _: None
    )
    assert row.metrics is not None
    assert row.metrics.n_test == len(splits.validation.labels)
    board = Order(
        cell=replace(trial, judged="test"), conditions=conditions, log_path=tmp_path / "log"
    )
    with pytest.raises(AssertionError, match="test data"):
        cell_engine.run(board, lambda _: None)


def test_the_seed_that_chose_judges_nothing_that_it_chose(tmp_path: Path) -> None:
    known = Published(tunings=(Tuning(**CHOICE),))
    same = replace(TWO, seeds=(0, SEED))
    with pytest.raises(SpecError, match=f"seed {SEED} chose learning rates and weights"):
        grid.cells("digits", same, Store(tmp_path), known)
    plain = grid.cells("digits", replace(same, as_chosen=False), Store(tmp_path), known)
    assert {cell.seed for cell in plain} == {0, SEED}
    assert grid.cells("digits", replace(same, recipe="long"), Store(tmp_path), known)


def test_the_authors_constants_are_published_beside_the_choice(tmp_path: Path) -> None:
    results.freeze("digits", [Tuning(**CHOICE)], results=tmp_path / "results")
    known = results.published("digits", results=tmp_path / "results")
    store = Store(tmp_path / "runs")
    one = replace(TWO, timesteps=(2,), backends=("norse",), seeds=(0, SEED), as_chosen=False)
    theirs = grid.cells("digits", one, store, known)
    chosen_too = grid.cells("digits", replace(one, seeds=(0,), as_chosen=True), store, known)
    # Another learning rate that neither tuning nor the suite has.
    other = replace(theirs[1], recipe=replace(theirs[1].recipe, learning_rate=0.5))
    for cell in {cell.cell_id: cell for cell in (*theirs, *chosen_too, other)}.values():
        store.save(_row(cell, 90))
    publish("digits", runs=store.root, folder=tmp_path / "results", data_root=None)
    with (tmp_path / "results" / "digits" / "leaderboard.csv").open(encoding="utf-8") as file:
        told = [(line["method"], line["learning_rate"]) for line in csv.DictReader(file)]
    assert sorted(told) == [("direct", "0.1"), ("logit_kd", "0.3"), ("logit_kd (authors')", "0.1")]


def _tried(*rates: float, **choice: Any) -> Tuning:
    trials = (
        Trial(learning_rate=rate, params={}, cell_id="0" * 16, status="ok", accuracy=0.9)
        for rate in rates
    )
    return Tuning(**{**CHOICE, **choice}, trials=tuple(trials))


@pytest.mark.parametrize(
    ("rates", "end"),
    [
        ((0.3, 0.9, 0.1), None),
        ((0.3, 0.3, 0.1, 0.1), "highest"),
        ((0.9, 0.3), "lowest"),
        ((0.3, 0.3), None),  # nothing else was tried
        ((), None),
    ],
)
def test_a_choice_is_at_an_end_if_no_rate_beyond_it_was_tried(
    rates: tuple[float, ...], end: str | None
) -> None:
    assert _tried(*rates).end == end


def test_a_board_says_whose_rate_is_an_end_of_those_tried(tmp_path: Path) -> None:
    choices = [_tried(0.1, 0.3), _tried(0.1, 0.3, 0.9, method="direct", params={})]
    results.freeze("digits", choices, results=tmp_path / "results")
    store, known = Store(tmp_path / "runs"), Published(tunings=tuple(choices))
    chosen = grid.cells("digits", replace(TWO, seeds=(0,)), store, known)
    theirs = grid.cells("digits", replace(TWO, seeds=(0,), as_chosen=False), store, known)
    for cell in (*chosen, *theirs):
        store.save(_row(cell, 90))
    publish("digits", runs=store.root, folder=tmp_path / "results", data_root=None)
    board = (tmp_path / "results" / "digits" / "leaderboard.md").read_text(encoding="utf-8")
    assert "so that one beyond it may be better: the highest, 0.3, of logit_kd\n" in board


def test_the_authors_constants_stand_beside_a_choice_of_another_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(grid.load_suite("digits"), tuned_at={"long": "short"})
    monkeypatch.setattr(grid, "load_suite", lambda _: asked)
    one = replace(TWO, recipe="long", as_chosen=False)
    theirs = grid.cells("digits", one, Store(tmp_path), Published())
    marked = _authors("digits", [_row(cell, 90) for cell in theirs], [Tuning(**CHOICE)])
    assert marked == {cell.cell_id for cell in theirs if cell.method == "logit_kd"}
