"""What the tables say, against rows whose every number is known."""

import csv
import json
import math
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.errors import SpecError
from harness.contracts.record import Row
from harness.report import Leaderboard, leaderboard, render, to_csv, to_json, write
from harness.report import _words as words
from harness.report._groups import Group
from harness.statistics import Interval, Mean, compare_paired
from tests.report.rows import board_rows, right, wrong

COMMAND = "nox -s leaderboard -- toy"
T_2 = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))  # Student's 97.5 % point, 2 degrees of freedom


def board(rows: list[Row] | None = None) -> Leaderboard:
    return leaderboard(board_rows() if rows is None else rows, baseline="direct")


def group(found: Leaderboard, method: str, backend: str = "alpha") -> Group:
    groups = (one for setting in found.settings for one in setting.groups)
    return next(one for one in groups if (one.method, one.backend) == (method, backend))


def page(rows: list[Row] | None = None) -> str:
    return render(board(rows), command=COMMAND, remarks={})


def test_a_gain_is_the_mean_of_the_differences_seed_by_seed() -> None:
    found = group(board(), "better").gain
    assert found is not None
    # Gains of 12, 13 and 12 of 400 samples: mean 37/3; deviations -1/3, 2/3, -1/3, sd
    # sqrt(6/9/2) = .577350; half-width T_2 * .577350 / sqrt(3) = 1.434218 samples.
    assert found.difference.value == pytest.approx(37 / 3 / 400, rel=1e-9)
    assert found.difference.interval is not None
    half = T_2 * math.sqrt(1 / 3) / math.sqrt(3) / 400
    assert found.difference.interval.half_width == pytest.approx(half, rel=1e-9)
    assert (found.verdict, found.provisional) == ("better", True)
    assert "| +3.1 ± 0.4 | better? |" in page()  # 3.083 and .359 per cent


def test_noise_is_called_noise_and_shares_a_rank() -> None:
    found = board()
    noisy = group(found, "noisy", "beta")
    assert noisy.gain is not None
    assert noisy.gain.verdict == "within noise"
    ranks = {one.method: one.rank for one in found.settings[0].tables[2, "beta"]}
    assert ranks == {"better": 1, "noisy": 2, "direct": 2}
    assert "| 2= | noisy | 89.8 ± 1.3 |" in page()


def test_bold_is_the_best_and_what_noise_cannot_tell_from_it() -> None:
    text = page()
    assert "| better | **93.3 ± 0.7** | **92.8 ± 0.7** |" in text
    assert "| direct | 90.2 ± 0.6 | 89.8 ± 0.6 |" in text
    # With two seeds left, noise hides whether it is worse than the best.
    assert "| noisy | **90 ± 5** (1/3 diverged) | 89.8 ± 1.3 |" in text


def test_a_failed_seed_is_neither_dropped_nor_zero() -> None:
    found = group(board(), "noisy")
    assert found.outcome() == "1/3 diverged"
    assert found.accuracy is not None
    # Seeds 1 and 2: 361 - 2 and 362 of 400.
    assert found.accuracy.value == pytest.approx((359 + 362) / 2 / 400)
    assert found.accuracy.n == 2
    text = page()
    assert "(1/3 diverged)" in text
    assert (
        r"| noisy | alpha | 2 | 0 | diverged | loss is nan \| after 3 steps | toy/log.txt |" in text
    )


def test_a_method_that_never_finished_stands_last_without_a_number() -> None:
    found = board()
    table = found.settings[0].tables[2, "alpha"]
    assert [one.method for one in table] == ["better", "direct", "noisy", "broken"]
    assert (table[-1].accuracy, table[-1].rank, table[-1].gain) == (None, None, None)
    assert "| broken | 1/1 timeout | — |" in page()
    line = next(row for row in csv.DictReader(StringIO(to_csv(found))) if row["method"] == "broken")
    assert (line["test_accuracy_mean"], line["rank"], line["outcome"]) == ("", "", "1/1 timeout")


def test_a_page_of_failures_alone_is_a_page() -> None:
    rows = [wrong("broken", "oom", "17 GiB asked"), wrong("direct", "skipped", "no such neuron")]
    text = page(rows)
    assert "1/1 oom" in text
    assert "1/1 skipped" in text
    assert "no such neuron" in text


def test_one_seed_has_wilsons_interval_and_no_verdict() -> None:
    rows = [right("direct", 360), right("better", 372)]
    found = group(board(rows), "better")
    assert found.accuracy is not None
    assert found.accuracy.interval is None
    # Wilson for 372/400: (.93 + z^2/800 +- z sqrt(.93*.07/400 + z^2/640000)) / (1 + z^2/400).
    assert tuple(found.wilson()[0]) == pytest.approx((0.900691, 0.951128), abs=1e-6)
    assert found.gain is not None
    assert found.gain.verdict == "unknown"
    assert "| 93.0 | 2.5 | +3.0 | one seed |" in page(rows)


def test_six_seeds_earn_p_values_adjusted_for_the_methods_of_the_table() -> None:
    rows = [
        right(method, 350 + seed + gain * (1 + seed % 2), seed=seed)
        for method, gain in (("direct", 0), ("a", 10), ("b", 5))
        for seed in range(6)
    ]
    found = board(rows)
    a, b = group(found, "a"), group(found, "b")
    assert a.gain is not None
    assert b.gain is not None
    assert not a.gain.provisional
    assert a.gain.p_sign_flip == 2 / 64
    assert a.gain.p_t is not None
    # Gains of b are half of a's, so both t are equal, and so are p and 2 p.
    assert a.gain_p_holm == pytest.approx(2 * a.gain.p_t)
    assert b.gain_p_holm == pytest.approx(2 * a.gain.p_t)
    assert "better |" in render(found, command=COMMAND, remarks={})
    assert "better?" not in render(found, command=COMMAND, remarks={})


def test_without_the_baseline_there_is_no_gain() -> None:
    found = leaderboard(board_rows(), baseline="absent")
    assert all(one.gain is None for setting in found.settings for one in setting.groups)
    assert "over absent" not in render(found, command=COMMAND, remarks={})


def test_simulators_are_compared_seed_by_seed() -> None:
    contest = next(one for one in board().settings[0].contests if one.method == "direct")
    # Two samples of 400 in every seed; no spread, so rounding alone bounds it:
    # T_2 / sqrt(6) / sqrt(3) = 1.014 samples.
    assert contest.comparison.difference.value == pytest.approx(2 / 400)
    assert contest.comparison.difference.interval is not None
    half = T_2 / math.sqrt(18) / 400
    assert contest.comparison.difference.interval.half_width == pytest.approx(half, rel=1e-6)
    said = "| 2 | direct | alpha | 90.25 | beta | 89.75 | +0.50 ± 0.25 | alpha higher? |"
    assert said in page()


def test_the_same_weights_elsewhere_are_counted_decision_by_decision() -> None:
    transfer = board().settings[0].transfers[0]
    # Alpha: seeds 0, 1, 2 differ in 0, 1, 2 decisions; noisy lacks seed 0: 3 * 3 in 8 cells.
    assert (transfer.differing, transfer.decisions) == (9, 8 * 400)
    assert (transfer.cells_differing, transfer.cells) == (6, 8)
    assert "| 2 | alpha | gamma | 9 of 3,200 | 6 of 8 |" in page()


def test_methods_order_is_compared_between_energy_models() -> None:
    rows = [
        right("direct", 360, energy=500.0),
        right("better", 372, energy=400.0),
        right("noisy", 361, energy=600.0),
    ]
    text = page(rows)
    assert (
        "| 2 | alpha | horowitz_45nm_fp32:cached | better | 400 pJ to 600 pJ | — | — | — | 1 |"
        in text
    )
    # The other book prices all alike: it orders nothing, which is no agreement.
    assert "| 2 | alpha | other:book | better | 100 pJ | — | — | — | — |" in text
    assert "none:book" not in text  # no total for any method
    # 50,000 accumulates over 100,000 synapses.
    assert "| 2 | alpha | 0.5 | below | within | above |" in text


def test_notes_are_numbered_once_and_marked_where_they_belong() -> None:
    text = page()
    assert "## squares, tiny, recipe `default` [1]" in text
    assert "1. one file differs\n2. no memory" in text
    assert text.count("one file differs") == 1


def test_what_is_off_is_left_out_and_what_is_zero_is_not() -> None:
    assert "- Teacher: big (seed 0), test accuracy 99.0 %" in page()
    assert "- Recipe `default`: batch_size 32, epochs 3, optimiser adam" in page()


def changed(row: Row, **changes: Any) -> Row:
    return replace(row, cell=replace(row.cell, **changes))


def test_different_recipes_are_never_averaged() -> None:
    rows = board_rows()
    longer = [changed(row, recipe={**row.cell.recipe, "epochs": 4}) for row in rows]
    found = board(rows + longer)
    assert len(found.settings) == 2
    assert all(one.accuracy is None or one.accuracy.n <= 3 for one in found.settings[0].groups)


def test_parameters_are_told_apart_where_a_method_has_several() -> None:
    rows = [right("direct", 360), right("better", 370)]
    rows.append(changed(right("better", 380), params={"weight": 0.5}))
    names = [one.method for one in board(rows).settings[0].groups]
    assert names == ["better (weight=0.5)", "better (weight=0.9)", "direct"]


def test_wall_clock_is_not_averaged_over_different_machines() -> None:
    rows = [right("direct", 360, seed=seed) for seed in range(2)]
    assert group(board(rows), "direct").timing("latency_ms_b1") == 1.5
    elsewhere = replace(rows[1].provenance, cpu="another processor")
    rows[1] = replace(rows[1], provenance=elsewhere)
    assert group(board(rows), "direct").timing("latency_ms_b1") is None


@given(order=st.permutations(range(len(board_rows()))))
@settings(max_examples=10, deadline=None)
def test_the_order_of_rows_changes_no_byte(order: list[int]) -> None:
    rows = board_rows()
    shuffled = [rows[index] for index in order]
    assert page(shuffled) == page(rows)
    assert to_csv(board(shuffled)) == to_csv(board(rows))
    assert to_json(board(shuffled), command=COMMAND) == to_json(board(rows), command=COMMAND)


def test_rows_and_their_columns_give_the_same_three_files(tmp_path: Path) -> None:
    rows = board_rows()
    lines = [json.loads(row.to_json()) for row in rows]
    first = write(rows, tmp_path / "a", command=COMMAND, baseline="direct", remarks={})
    second = write(lines, tmp_path / "b", command=COMMAND, baseline="direct", remarks={})
    assert [path.name for path in first] == [
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert COMMAND in first[0].read_text(encoding="utf-8")


def test_the_table_for_programs_has_every_digit_and_one_line_a_group() -> None:
    found = board()
    lines = list(csv.DictReader(StringIO(to_csv(found))))
    assert len(lines) == sum(len(setting.groups) for setting in found.settings) == 7
    best = lines[0]
    assert float(best["test_accuracy_mean"]) == 0.9333333333333333  # 1120 / 1200
    assert best["test_accuracy_by_seed"] == "0:0.93 1:0.935 2:0.935"
    assert best["ann_accuracy"] == ""  # unknown
    assert best["energy_pj none:book"] == ""
    assert float(best["energy_pj horowitz_45nm_fp32:cached"]) == 400.0


def test_the_object_for_programs_keeps_every_seed() -> None:
    whole = json.loads(to_json(board(), command=COMMAND))
    (setting,) = whole["settings"]
    best = setting["groups"][0]
    assert [seed["test_accuracy"] for seed in best["single_seeds"]] == [0.93, 0.935, 0.935]
    assert best["single_seeds"][0]["wilson"]["low"] == pytest.approx(0.900691, abs=1e-6)
    assert best["gain"]["verdict"] == "better"
    assert [failure["status"] for failure in whole["failures"]] == ["diverged", "timeout"]
    assert setting["shared"]["recipe"]["epochs"] == 3


def test_no_rows_and_the_same_row_twice_are_refused() -> None:
    with pytest.raises(SpecError, match="needs rows; run the suite first"):
        leaderboard([], baseline="direct")
    row = right("direct", 360)
    with pytest.raises(SpecError, match=f"cell {row.cell.cell_id} has 2 rows"):
        leaderboard([row, row], baseline="direct")


@pytest.mark.parametrize(
    ("half_width", "places"),
    # 10 to 35 keep two digits, 36 to 94 one, 95 and more become the 10 of the next power.
    [
        (0.10, 2),
        (0.354, 2),
        (0.36, 1),
        (0.94, 1),
        (0.96, 1),
        (1.4, 1),
        (3.6, 0),
        (14.0, 0),
        (0.0, 4),
    ],
)
def test_digits_end_where_the_interval_begins(half_width: float, places: int) -> None:
    assert words.decimals(half_width) == places


def test_numbers_in_words() -> None:
    mean = Mean(value=0.91234, deviation=0.01, interval=Interval(0.90634, 0.91834), n=3)
    assert words.accuracy(mean, 0.02) == "91.2 ± 0.6"
    assert words.accuracy(None, 0.0) == "—"
    assert words.quantity(1_234_567) == "1.23 M"
    assert words.quantity(0.0) == "0"
    assert words.quantity(None) == "—"
    assert words.energy(27_400.0) == "27.4 nJ"
    assert words.energy(5e13) == "50 J"
    assert words.verdict(compare_paired([0.9], [0.8])) == "one seed"
    assert words.cell("a | b\nc") == r"a \| b c"


def test_a_report_needs_no_torch() -> None:
    script = (
        "import sys; from tests.report.rows import board_rows; from harness import report;"
        "board = report.leaderboard(board_rows(), baseline='direct');"
        "report.render(board, command='x', remarks={}); report.to_csv(board);"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_early_exits_are_means_over_seeds_and_left_out_at_one_step() -> None:
    def leaving(seed: int, accuracy: float, steps: float) -> Row:
        row = right("direct", 360, seed=seed)
        point = {
            "threshold": 0.9,
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.01,
            "accuracy_high": accuracy + 0.01,
            "mean_steps": steps,
            "mean_energy_pj": 1000.0 * steps,
        }
        assert row.metrics is not None
        metrics = replace(row.metrics, early_exit={"margin": {"0.5": point}})
        return replace(row, metrics=metrics)

    text = page([leaving(0, 0.89, 1.0), leaving(1, 0.87, 1.5)])
    # 360 of 400 samples are right after all steps; 0.88 and 1.25 are the means.
    assert "| 2 | alpha | direct | margin | 88.00 | 90.00 | 1.25 | 1.25 nJ |" in text
    assert "Leaving early" not in page([right("direct", 360)])


def test_a_remark_is_told_of_methods_that_are_here_alone() -> None:
    text = render(board(), command=COMMAND, remarks={"noisy": "It is.", "absent": "Unseen."})
    assert "## Remarks\n\n- `noisy`: It is." in text
    assert "Unseen" not in text


def test_seeds_that_ended_alike_share_a_line_and_who_was_skipped_has_no_log() -> None:
    skipped = [
        replace(row, status="skipped", metrics=None, error="means one step alone")
        for row in board_rows()
        if row.cell.method == "direct" and (row.cell.backend, row.cell.timesteps) == ("alpha", 2)
    ]
    others = [row for row in board_rows() if row.cell.method == "better"]
    text = page([*others, *skipped])
    assert "| direct | alpha | 2 | 0, 1, 2 | skipped | means one step alone |  |" in text
