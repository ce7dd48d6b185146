"""How long cells take, by rows of their kind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from harness.contracts.cell import Cell
from harness.contracts.row import Provenance, Row
from harness.engine.forecast import Forecast, Outlook, in_words
from tests.engine.test_runs import METRICS, _cells

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def _took(cell: Cell, seconds: float, *, device: str = "cpu", peak: int = 0) -> Row:
    metrics = replace(METRICS, train_seconds=min(abs(seconds), 50.0), peak_memory_bytes=peak)
    made = Provenance(
        device=device,
        started_at=BEGAN.isoformat(),
        ended_at=(BEGAN + timedelta(seconds=seconds)).isoformat(),
    )
    return Row(cell=cell, status="ok", metrics=metrics, provenance=made)


def test_a_cell_takes_what_the_median_of_its_kind_took() -> None:
    first, second, third, asked = _cells(4)
    known = Forecast([_took(first, 10), _took(second, 1000), _took(third, 20)])
    assert known.seconds(asked, "cpu") == 20
    assert known.seconds(asked, "cuda:1") is None
    assert known.seconds(replace(asked, timesteps=8), "cpu") is None


def test_the_most_alike_is_asked_first() -> None:
    [cell] = _cells(1)
    other, elsewhere = replace(cell, method="esd"), replace(cell, backend="norse")
    known = Forecast([_took(other, 500), _took(elsewhere, 300)])
    assert known.seconds(cell, "cpu") == 300
    known.add(_took(cell, 7))
    assert known.seconds(cell, "cpu") == 7
    assert known.seconds(replace(cell, method="bsd"), "cpu") == 300, "the median of all three"


def test_a_trial_takes_what_cells_take_at_other_rates_and_then_what_trials_do() -> None:
    [cell] = _cells(1)
    faster = replace(cell.recipe, learning_rate=7 * cell.recipe.learning_rate)
    trial = replace(cell, judged="validation", recipe=faster)
    known = Forecast([_took(cell, 90)])
    assert known.seconds(trial, "cpu") == 90
    known.add(_took(replace(trial, recipe=cell.recipe), 60))
    assert known.seconds(trial, "cpu") == 60
    longer = replace(faster, epochs=faster.epochs + 1)
    assert known.seconds(replace(trial, recipe=longer), "cpu") is None


def test_what_was_made_here_counts_before_what_is_published() -> None:
    [cell] = _cells(1)
    published = Forecast([_took(cell, 500)])
    assert Forecast(otherwise=published).seconds(cell, "cpu") == 500
    assert Forecast([_took(cell, 5)], otherwise=published).seconds(cell, "cpu") == 5


def test_rows_without_numbers_and_clocks_put_back_mislead_nobody() -> None:
    [cell] = _cells(1)
    known = Forecast([Row(cell=cell, status="timeout", error="stopped"), _took(cell, -3600)])
    assert known.seconds(cell, "cpu") == 50, "what its training took"
    for times in ({"started_at": "yesterday"}, {"started_at": "2026-01-01"}):
        odd = _took(cell, 5)
        odd = replace(odd, provenance=replace(odd.provenance, **times))
        assert Forecast([odd]).seconds(cell, "cpu") == 5, "a stranger's row may say anything"
    untold = Row(cell=cell, status="ok", metrics=METRICS)
    assert Forecast([untold]).seconds(cell, "cpu") is None


def test_gpu_memory_is_of_the_same_kind_and_has_room_to_spare() -> None:
    first, second = _cells(2)
    known = Forecast([_took(first, 1, device="cuda", peak=2**30), _took(first, 1, peak=2**35)])
    assert known.gpu_bytes(second, "cuda:1") == int(1.2 * 2**30) + 7 * 2**27
    assert known.gpu_bytes(replace(second, method="esd"), "cuda:1") is None
    assert known.gpu_bytes(second, "cpu") is None
    assert Forecast(otherwise=known).gpu_bytes(second, "cuda") is not None


def test_what_is_left_is_shared_by_slots_and_never_less_than_the_longest() -> None:
    outlook = Outlook({"a": 10.0, "b": 10.0, "c": 10.0, "d": 10.0}, slots=2)
    assert outlook.seconds() == 20
    outlook.moved("a", 0.5, 0.0)
    assert outlook.seconds() == pytest.approx(17.5)
    for each in "bcd":
        outlook.ended(each, 10.0)
    assert outlook.seconds() == 5
    outlook.ended("a", 10.0)
    assert outlook.seconds() == 0


def test_a_run_that_is_faster_than_foreseen_says_so_before_its_first_cell_ends() -> None:
    outlook = Outlook({"a": 100.0, "b": 100.0}, slots=1)
    outlook.moved("a", 0.2, 1000.0)  # it goes on where it was
    assert outlook.seconds() == pytest.approx(180)
    outlook.moved("a", 0.6, 1010.0)  # 10 s for what was foreseen to take 40
    assert outlook.seconds() == pytest.approx((40 + 100) * (10 + 5) / (40 + 5))
    outlook.ended("a", 20.0)
    assert outlook.seconds() == pytest.approx(100 * (20 + 5) / (80 + 5))


def test_a_cell_that_fails_at_once_tells_no_speed() -> None:
    outlook = Outlook({"a": 100.0, "b": 100.0}, slots=1)
    outlook.ended("a", 0.1, ok=False)
    assert outlook.seconds() == 100


def test_what_nobody_foresaw_takes_as_long_as_what_has_ended() -> None:
    outlook = Outlook({"a": None, "b": None, "c": 30.0}, slots=1)
    assert outlook.seconds() is None
    outlook.ended("a", 10.0)
    assert outlook.seconds() == 40


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((None, "unknown"), (0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min")),
        *((5400, "1 h 30 min"), (7500, "2 h 05 min")),
    ],
)
def test_times_in_words(seconds: float | None, words: str) -> None:
    assert in_words(seconds) == words
