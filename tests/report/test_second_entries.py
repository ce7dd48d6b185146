"""The authors' constants stand beside what tuning chose, and are compared with nothing."""

import csv
from dataclasses import replace
from io import StringIO

import pytest

from harness.cli.publishing import _tell_mine
from harness.contracts.ledger import Ledger
from harness.contracts.row import Row
from harness.engine.publish import Changes, Publication
from harness.report import Leaderboard, leaderboard, render, to_csv
from tests.report.rows import SUITE, right, spiking, with_cell

FIVE = replace(SUITE, seeds=(0, 1, 2, 3, 4))


def _tuned(method: str, correct: int, seed: int, rate: float) -> Row:
    row = right(method, correct + seed, seed=seed)
    return with_cell(row, recipe=replace(row.cell.recipe, learning_rate=rate))


TUNED = [
    _tuned(method, correct, seed, 0.3)
    for method, correct in (("direct", 340), ("logit_kd", 360), ("better", 350))
    for seed in range(5)
]
# Better than all that is tuned.
THEIRS = [_tuned("logit_kd", 390, seed, 0.1) for seed in range(5)]


def _board(rows: list[Row]) -> Leaderboard:
    return leaderboard(rows, suite=FIVE, authors={row.cell_id for row in THEIRS})


def test_they_are_marked_and_in_no_group_comparison_or_ranking() -> None:
    (setting,) = _board([*TUNED, *THEIRS]).settings
    by_name = {line.method: line for line in setting.lines}
    assert by_name.keys() == {"direct", "logit_kd", "better", "logit_kd (authors')"}
    theirs = by_name["logit_kd (authors')"]
    assert theirs.accuracy is not None
    assert theirs.accuracy.value == pytest.approx(392 / 400)
    found = (theirs.group, theirs.is_first, theirs.gain, theirs.gain_p_holm, theirs.best)
    assert found == (None, False, None, None, None)
    assert by_name["logit_kd"].is_first
    page = render(_board([*TUNED, *THEIRS]), command="")
    assert "| 98.0 ± " in page
    assert "**98.0" not in page
    assert "3 pairs a track and table" in page  # of three tuned methods
    assert "*(authors')*: a second entry" in page.partition("\n## ")[0]


def test_what_is_tuned_is_judged_as_if_they_were_not_there() -> None:
    (alone,) = _board(TUNED).settings
    (both,) = _board([*TUNED, *THEIRS]).settings
    assert [line for line in both.lines if not line.authors] == list(alone.lines)
    assert "(authors')" not in render(_board(TUNED), command="")


def test_energy_models_are_compared_by_how_they_order_what_is_tuned() -> None:
    rows = [replace(row, ledger=spiking(2 + place // 5)) for place, row in enumerate(TUNED)]
    # Theirs has the fewest spikes, and the dearest neurons.
    plain = spiking(1).to_plain()
    plain["layers"]["neurons"]["counts"]["neuron_add"] = [10**9, 0]
    theirs = [replace(row, ledger=Ledger.from_plain(plain)) for row in THEIRS]
    models = "horowitz_45nm_fp32:cached", "horowitz_45nm_fp32:cached_with_neurons"

    def tau(found: Leaderboard) -> float | None:
        [taus] = found.settings[0].stability.values()
        return taus[models]

    assert tau(_board([*rows, *theirs])) == 1
    # Of 6 pairs theirs is in 3, the other way round by the second model.
    assert tau(leaderboard([*rows, *theirs], suite=FIVE)) == 0


def test_mean_ranks_are_of_what_is_tuned() -> None:
    names = ("direct", "logit_kd", "better")
    sixth = [_tuned(name, 340, 5, 0.3) for name in names]
    theirs = [*THEIRS, _tuned("logit_kd", 390, 5, 0.1)]
    rows = [*TUNED, *sixth, *theirs]
    found = leaderboard(rows, suite=FIVE, authors={row.cell_id for row in theirs})
    assert found.rankings["default"].mean_ranks.keys() == set(names)


def test_a_baseline_with_a_second_entry_is_the_tuned_one() -> None:
    theirs = [_tuned("direct", 330, seed, 0.1) for seed in range(5)]
    rows = [*TUNED, *theirs]
    (setting,) = leaderboard(rows, suite=FIVE, authors={row.cell_id for row in theirs}).settings
    gains = {line.method: line.gain for line in setting.lines}
    assert gains["direct"] is None
    assert gains["logit_kd"] is not None
    assert gains["logit_kd"].difference.value == 20 / 400


def test_the_table_for_programs_says_which_they_are() -> None:
    told = list(csv.DictReader(StringIO(to_csv(_board([*TUNED, *THEIRS])))))
    assert {one["method"]: one["authors"] for one in told} == {
        "direct": "False",
        "logit_kd": "False",
        "better": "False",
        "logit_kd (authors')": "True",
    }


def test_the_terminal_sets_ones_own_beside_rows_of_the_same_budget_and_no_second_entry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = right("logit_kd", 380)
    tuned, theirs = right("direct", 360), with_cell(right("direct", 400), params={"weight": 9.0})
    longer = with_cell(right("direct", 392), recipe_name="long")
    rows = (mine, tuned, theirs, longer)
    _tell_mine(
        "digits",
        Publication(
            rows=rows,
            mine={mine.cell_id: "here"},
            authors=frozenset({theirs.cell_id}),
            files=(),
            changes=Changes(),
            warnings=(),
            refused=(),
        ),
    )
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert told[0] == ["training", "budget", "default:"]
    assert told[2:] == [["yours", "logit_kd", "95.0"], ["direct", "90.0"]]
