"""What the tables say, against rows whose every number is known."""

import csv
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import energy
from harness.contracts.cell import TeacherIdentity
from harness.contracts.errors import SpecError
from harness.contracts.ledger import Ledger
from harness.contracts.method import MethodCard, Track
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.row import Elsewhere, Row
from harness.contracts.suite import Suite
from harness.energy import _horowitz
from harness.engine import glance
from harness.report import (
    Leaderboard,
    Line,
    _board,
    _page,
    leaderboard,
    pareto,
    render,
    to_csv,
    to_json,
    to_latex,
    write_board,
)
from harness.report import _records as records
from harness.report import _words as words
from harness.report._markdown import circumstances
from harness.results import Trust
from harness.statistics import Interval, Mean, compare_paired, wilson_interval
from tests.report.rows import (
    BUDGET,
    N_TEST,
    PROCESSOR,
    SUITE,
    TEACHER,
    board_rows,
    exiting,
    right,
    spiking,
    teacher,
    vars_of,
    with_cell,
    with_metrics,
    with_provenance,
    wrong,
)

COMMAND = "nox -s leaderboard -- toy"
T_2 = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))  # Student's 97.5 % point, 2 degrees of freedom
USUAL = "horowitz_45nm_fp32:cached"


def board(rows: list[Row] | None = None, *, suite: Suite = SUITE) -> Leaderboard:
    return leaderboard(board_rows() if rows is None else rows, suite=suite, teachers=[teacher()])


def line(found: Leaderboard, method: str, backend: str = "alpha") -> Line:
    lines = (one for setting in found.settings for one in setting.lines)
    return next(one for one in lines if (one.method, one.backend) == (method, backend))


def page(rows: list[Row] | None = None, *, suite: Suite = SUITE) -> str:
    return render(board(rows, suite=suite), command=COMMAND)


def one_seed(rows: list[Row]) -> str:
    return page(rows, suite=replace(SUITE, seeds=(0,)))


def test_a_gain_is_the_mean_of_the_differences_seed_by_seed() -> None:
    found = line(board(), "better").gain
    assert found is not None
    # Gains of 12, 13 and 12 of 400 samples: mean 37/3; deviations -1/3, 2/3, -1/3, sd
    # sqrt(6/9/2) = .577350; half-width T_2 * .577350 / sqrt(3) = 1.434218 samples.
    assert found.difference.value == pytest.approx(37 / 3 / 400, rel=1e-9)
    assert found.difference.interval is not None
    half = T_2 * math.sqrt(1 / 3) / math.sqrt(3) / 400
    assert found.difference.interval.half_width == pytest.approx(half, rel=1e-9)
    assert (found.verdict, found.provisional) == ("better", True)
    assert "| +3.1 ± 0.4 | better? |" in page()  # 3.083 and .359 per cent


def test_noise_is_called_noise_and_shares_a_group() -> None:
    found = board()
    noisy = line(found, "noisy", "beta")
    assert noisy.gain is not None
    assert noisy.gain.verdict == "within noise"
    # better - direct: t = (37/3) / (1/3) = 37, p = .00073; better - noisy: 9, 15, 12, so
    # t = 12 / sqrt(3) = 6.9, p = .020. Of three pairs: .0022 and .040.
    groups = {one.method: one.group for one in found.settings[0].tables[2, "beta"]}
    assert groups == {"better": 1, "noisy": 2, "direct": 2}
    assert "| 2? | noisy | 89.8 ± 1.3 |" in page()


def test_few_seeds_separate_less_and_the_page_says_so() -> None:
    # Of noisy two seeds are left: 13.5 +- 1.5 behind the best is t(1) = 9, p = .07.
    groups = {one.method: one.group for one in board().settings[0].tables[2, "alpha"]}
    assert groups == {"better": 1, "direct": 2, "noisy": 1, "broken": None}
    # Holm's bar for the first of 3 pairs: t = sqrt(2 a^2 / (1 - a^2)) with a = 1 - .05/3.
    assert (
        "Here are up to 3 seeds and 3 pairs a track and table: a difference must first exceed 7.65"
        in (page())
    )
    assert "order alone is no evidence" in page()


def rivals(seeds: int) -> list[Row]:
    """Return a good method, one that is 10 points worse, and one that is either."""
    correct = {"direct": (360, 361), "worse": (320, 321), "wild": (390, 250)}
    return [
        right(method, both[seed % 2], seed=seed)
        for method, both in correct.items()
        for seed in range(seeds)
    ]


def test_bold_is_the_first_group_and_needs_five_seeds() -> None:
    text = page(rivals(5))
    assert "| direct | **90.10 ± 0.17** |" in text
    assert "| wild | **84 ± 24** |" in text
    assert "| 2 | worse | 80.10 ± 0.17 |" in text
    assert "**80" not in text
    assert "Methods of one group are not shown to be equal." in text
    assert "**8" not in page(rivals(4)).partition("### At a glance")[2]
    assert "| 1? | direct |" in page(rivals(4))


def test_one_seed_earns_neither_group_nor_bold() -> None:
    rows = [right(f"method_{n}", 100 + 10 * n) for n in range(29)]
    found = board(rows)
    assert {one.group for one in found.settings[0].lines} == {None}
    text = page(rows).partition("### At a glance")[2]
    assert "**" not in text
    assert "group" not in text
    assert "Here is one seed, which tells no method from another" in page(rows)


def test_a_failed_seed_is_neither_dropped_nor_zero() -> None:
    found = line(board(), "noisy")
    assert found.outcome() == "2/3, 1 diverged"
    assert found.label == "noisy, 2/3 seeds"
    assert found.accuracy is not None
    # Seeds 1 and 2: 361 - 2 and 362 of 400.
    assert found.accuracy.value == pytest.approx((359 + 362) / 2 / 400)
    assert found.accuracy.n == 2
    text = page()
    assert "| noisy | 90 ± 5 (2/3, 1 diverged) | 89.8 ± 1.3 |" in text
    assert "| 2/3, 1 diverged |\n" in text
    assert (
        r"| noisy | alpha | 2 | 0 | diverged | loss is nan \| after 3 steps | toy/log.txt |" in text
    )


@pytest.mark.parametrize("gone", ["failed", "missing"])
def test_wherever_a_mean_is_shown_a_seed_that_is_not_in_it_is_marked(gone: str) -> None:
    rows = [
        exiting(
            right("direct", 360, spikes=4, seed=seed, backend=backend),
            correct=350,
            steps=600,
            spent={"per_step": {}, "cached": {"mac": 4000}},
        )
        for seed in range(3)
        for backend in ("alpha", "beta")
        if (seed, backend) != (1, "alpha")
    ]
    if gone == "failed":
        rows.append(wrong("direct", "oom", "too large", seed=1))
    text = page(rows)
    sections = dict(part.partition("\n")[::2] for part in re.split(r"\n##+ ", text))
    told = "2/3, 1 oom" if gone == "failed" else "2/3, 1 missing"
    assert f"| direct | 90.0 ± 0.6 ({told}) | 90.00 ± 0.18 |" in sections["At a glance"]
    assert f"| {told} |\n" in sections["T = 2, alpha"]
    marked = {
        "Accuracy % after each step": "| 2 | alpha | direct, 2/3 seeds | 45.0 | 90.0 |",
        "Early exit": "| 2 | alpha | direct, 2/3 seeds | margin | 87.50 | 90.00 | 1.5 |",
        "Simulators compared": "| 2 | direct, 2/3 seeds | alpha | 90.00 | beta | 90.00 |",
        "Energy estimates under every model": f"{USUAL} | 1 of 1 | direct, 2/3 seeds |",
    }
    for title, expected in marked.items():
        assert expected in sections[title]
        means = [told for told in sections[title].splitlines() if "| alpha |" in told]
        assert not [told for told in means if "| direct |" in told]


def test_seeds_beyond_the_suites_are_welcome_and_none_of_its_own_is_forgotten() -> None:
    found = line(board([right("direct", 360, seed=seed) for seed in (0, 1, 7)]), "direct")
    assert found.asked == (0, 1, 2, 7)
    assert found.outcome() == "3/4, 1 missing"


def test_a_figure_that_one_seed_does_not_know_has_no_mean() -> None:
    rows = [right("direct", 360, spikes=4), right("direct", 360, seed=1)]
    rows.append(right("direct", 360, spikes=6, seed=2))
    found = line(board(rows), "direct")
    assert found.average("acs_per_sample") is None
    assert found.energies == {}
    assert found.average("agreement") == pytest.approx(0.9)
    rows[1] = with_metrics(rows[1], score_by_step=None)
    assert line(board(rows), "direct").by_step == ()
    assert len(line(board(rows[::2]), "direct").by_step) == 2


def test_a_method_that_never_finished_stands_last_without_a_number() -> None:
    found = board()
    table = found.settings[0].tables[2, "alpha"]
    assert [one.method for one in table] == ["better", "direct", "noisy", "broken"]
    assert (table[-1].accuracy, table[-1].group, table[-1].gain) == (None, None, None)
    assert "| broken | 0/3, 1 timeout, 2 missing | — |" in page()
    told = next(row for row in csv.DictReader(StringIO(to_csv(found))) if row["method"] == "broken")
    assert (told["score_mean"], told["group"]) == ("", "")
    assert told["outcome"] == "0/3, 1 timeout, 2 missing"


def test_a_page_of_failures_alone_is_a_page() -> None:
    rows = [wrong("broken", "oom", "17 GiB asked"), wrong("direct", "skipped", "no such neuron")]
    text = one_seed(rows)
    assert "0/1, 1 oom" in text
    assert "0/1, 1 skipped" in text
    assert "no such neuron" in text


def test_one_seed_has_wilsons_interval_and_no_verdict() -> None:
    rows = [right("direct", 360), right("better", 372)]
    found = line(board(rows), "better")
    assert found.accuracy is not None
    assert found.accuracy.interval is None
    # Wilson for 372/400: (.93 + z^2/800 +- z sqrt(.93*.07/400 + z^2/640000)) / (1 + z^2/400).
    assert tuple(found.wilson()[0]) == pytest.approx((0.900691, 0.951128), abs=1e-6)
    assert found.gain is not None
    assert found.gain.verdict == "unknown"
    assert "| better | 93.0 | 2.5 | +3.0 | one seed |" in one_seed(rows)


def test_the_interval_for_programs_is_the_widest_of_a_single_network() -> None:
    found = board([right("direct", 200), right("direct", 390, seed=1)])
    [told] = csv.DictReader(StringIO(to_csv(found)))
    expected = wilson_interval(200, N_TEST)
    ends = float(told["widest_interval_low"]), float(told["widest_interval_high"])
    assert ends == (expected.low, expected.high)


def test_seeds_that_nobody_ran_are_told_from_those_that_did() -> None:
    # The suite asks for 0, 1 and 2.
    rows = [right("direct", 200), wrong("mine", "oom", "too large", seed=2)]
    assert "Seeds: 0, 2, of 0, 1, 2" in [*circumstances(board(rows).settings[0])]
    whole = [right("direct", 200, seed=seed) for seed in range(3)]
    assert "Seeds: 0, 1, 2" in [*circumstances(board(whole).settings[0])]


def test_p_values_are_adjusted_for_the_methods_of_the_table() -> None:
    rows = [
        right(method, 350 + seed + gain * (1 + seed % 2), seed=seed)
        for method, gain in (("direct", 0), ("a", 10), ("b", 5))
        for seed in range(6)
    ]
    found = board(rows)
    a, b = line(found, "a"), line(found, "b")
    assert a.gain is not None
    assert b.gain is not None
    assert not a.gain.provisional
    assert a.gain.p_t is not None
    # Gains of b are half of a's, so both t are equal, and so are p and 2 p.
    assert a.gain_p_holm == pytest.approx(2 * a.gain.p_t)
    assert b.gain_p_holm == pytest.approx(2 * a.gain.p_t)
    text = render(found, command=COMMAND)
    assert "better |" in text
    assert "better?" not in text


def test_without_the_baseline_there_is_no_gain() -> None:
    found = board(suite=replace(SUITE, baseline="absent"))
    assert all(one.gain is None for setting in found.settings for one in setting.lines)
    assert "over baseline" not in render(found, command=COMMAND)


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


def test_simulators_are_compared_over_the_seeds_that_both_have() -> None:
    rows = [right("direct", 300 + 10 * seed, seed=seed) for seed in range(3)]
    rows += [right("direct", 305 + 10 * seed, seed=seed, backend="beta") for seed in range(2)]
    (contest,) = board(rows).settings[0].contests
    # Seeds 0 and 1: 300 and 310 against 305 and 315.
    assert contest.first_accuracy == pytest.approx(305 / 400)
    assert contest.second_accuracy == pytest.approx(310 / 400)
    assert contest.comparison.difference.value == pytest.approx(-5 / 400)
    assert contest.method == "direct, 2/3 seeds"


def test_the_same_weights_elsewhere_are_counted_decision_by_decision() -> None:
    transfer = board().settings[0].transfers[0]
    # Alpha: seeds 0, 1, 2 differ in 0, 1, 2 decisions; noisy lacks seed 0: 3 * 3 in 8 cells.
    assert (transfer.differing, transfer.decisions) == (9, 8 * 400)
    assert (transfer.cells_differing, transfer.cells) == (6, 8)
    assert "| 2 | alpha | gamma | 9 of 3,200 | 6 of 8 |" in page()


def test_of_a_sample_asked_elsewhere_the_decisions_of_the_sample_count() -> None:
    row = right("direct", 300)
    assert row.metrics is not None
    answers = {"gamma": Elsewhere(score=0.75, differing=3)}
    asked = replace(row.metrics, cross_backend=answers, cross_backend_samples=100)
    transfer = board([replace(row, metrics=asked)]).settings[0].transfers[0]
    assert (transfer.differing, transfer.decisions) == (3, 100)


def test_energies_are_priced_from_the_counts_when_the_table_is_made() -> None:
    found = line(board(), "direct")
    # 10 products at 4.6 pJ, and 5 spikes to 4 outputs at 0.9 pJ.
    assert found.energies[USUAL] == pytest.approx(10 * 4.6 + 20 * 0.9)
    # The artificial network multiplies 30 times; the teacher, of the same topology, 22 times
    # by what is not zero; the twin of T = 2 has 2 bits, at two additions a product.
    assert found.ratios["dense"][USUAL] == pytest.approx(64 / (30 * 4.6))
    assert found.ratios["effective"][USUAL] == pytest.approx(64 / (22 * 4.6))
    assert found.ratios["twin"][USUAL] == pytest.approx(64 / (30 * 2 * 0.9))
    text = page()
    assert "| 5 | 0.5 | 20 | 10 | 64 pJ |" in text  # spikes, firing rate, AC, MAC
    best, worst = 60.4, 67.6  # with 4 and 6 spikes
    assert (
        f"| 2 | beta | {USUAL} | 3 of 3 | better | {best} pJ to {worst} pJ | 0.438 to 0.49 "
        "| 0.597 to 0.668 | 1.12 to 1.25 | 1 |"
    ) in text
    # 16 to 24 accumulates over 30 synapses.
    assert "| 2 | beta | 0.533 to 0.8 | below | within | above |" in text


def test_products_of_two_spikes_are_synaptic_operations() -> None:
    plain = spiking(5).to_plain()
    plain["order"].append("attention")
    plain["layers"]["attention"] = {
        "kind": "product",
        "operand": "binary",
        "steps": 2,
        "counts": {"and_ac": [N_TEST * 2, N_TEST * 4], "dense_valid": [N_TEST * 10] * 2},
    }
    row = Row(**{**vars_of(right("direct", 360)), "ledger": Ledger.from_plain(plain)})
    found = board([row])
    # Beside 10 products with weights and 20 accumulates, 6; of 30 synapses and 10.
    assert line(found, "direct").operations() == 36
    assert line(found, "direct").spikes_per_synapse() == 26 / 40
    points = pareto.pareto(found, "operations")
    assert [one.cost for one in points] == [36]
    assert "| synaptic operations |" in pareto.to_markdown(found, points, "operations")
    assert "| 2 | alpha | 0.65 | below | within | above |" in page([row])
    (told,) = csv.DictReader(StringIO(to_csv(found)))
    assert [float(told[f"{one}acs_per_sample"]) for one in ("", "and_")] == [20, 6]
    unknown = Ledger.from_plain(spiking(5).to_plain() | {"not_counted": ["and_ac"]})
    uncounted = line(board([Row(**{**vars_of(row), "ledger": unknown})]), "direct")
    assert (uncounted.operations(), uncounted.spikes_per_synapse()) == (None, None)


def test_a_price_moves_the_tables_and_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        exiting(row, correct=350, steps=600, spent={"per_step": {}, "cached": {"ac": 4000}})
        for row in board_rows()
        if row.metrics
    ]
    kept, before = [row.to_json() for row in rows], page(rows)
    assert "| margin | 87.50 | 90.25 | 1.5 | 9 pJ |" in before  # 10 accumulates a sample
    # A frozen price, changed under the models that hold it.
    monkeypatch.setitem(vars(_horowitz.FP32_ADD), "value", 1.9)
    energy._prices.cache_clear()
    try:
        after = page(rows)
    finally:
        energy._prices.cache_clear()
    assert line(board(rows), "direct").energies[USUAL] == pytest.approx(10 * 5.6 + 20 * 1.9)
    assert "| 94 pJ |" in after
    assert "| margin | 87.50 | 90.25 | 1.5 | 19 pJ |" in after
    assert [row.to_json() for row in rows] == kept


def test_ledgers_of_one_make_are_priced_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = energy.panel, []

    def counted(*ledgers: Any, **others: Any) -> Any:
        calls.append(ledgers)
        return real(*ledgers, **others)

    monkeypatch.setattr(energy, "panel", counted)
    found = board()
    assert len(calls) == 1  # of all methods, simulators and seeds
    assert line(found, "direct", "alpha").energies == line(found, "direct", "beta").energies
    assert line(found, "direct").energies != line(found, "better").energies


def test_without_its_ledger_a_row_has_no_energy_and_no_counts() -> None:
    text = page([right("direct", 360), right("better", 372, spikes=4)])
    unknown = " | —" * 5
    assert f"| direct | 90.0 | 3.0 | — | — | 90.0{unknown} | nothing | 1 | 1/3, 2 missing |" in text
    assert f"| {USUAL} | 1 of 2 | better, 1/3 seeds | 60.4 pJ |" in text
    without = page([right("direct", 360)])
    assert "energy" not in without.partition("### At a glance")[2]


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({}, True),
        ({"seed": 1}, False),
        ({"model": "big"}, False),
        ({"split": "fixed-2"}, False),
        ({"dataset": "circles"}, False),
        ({"suite": "toy"}, False),
        ({"recipe": Recipe(epochs=4, batch_size=32)}, False),
    ],
)
def test_the_effective_baseline_is_of_the_teacher_that_the_cell_names(
    changes: dict[str, Any], *, known: bool
) -> None:
    found = leaderboard(
        [right("direct", 360, spikes=5)], suite=SUITE, teachers=[with_cell(teacher(), **changes)]
    )
    assert bool(line(found, "direct").ratios["effective"]) == known


def test_students_that_count_alike_are_each_set_beside_their_own_teacher() -> None:
    other = TeacherIdentity(**{**vars_of(TEACHER), "seed": 1})
    rows = [right("direct", 360, spikes=5)]
    rows.append(with_cell(rows[0], teacher=other))
    lazier = Row(**{**vars_of(with_cell(teacher(), seed=1)), "ledger": spiking(3)})
    found = leaderboard(rows, suite=SUITE, teachers=[teacher(), lazier])
    lines = [one for setting in found.settings for one in setting.lines]
    effective = sorted(one.ratios["effective"][USUAL] for one in lines)
    # 10 products and 12 accumulates of the lazier one.
    assert effective == pytest.approx([64 / (22 * 4.6), 64 / (10 * 4.6 + 12 * 0.9)])


def test_an_imported_teacher_is_known_by_its_weights() -> None:
    imported = TeacherIdentity(dataset="squares", model="tiny", weights_sha256="ab")
    assert imported.is_of(with_cell(teacher(), recipe_name="imported ab").cell)
    assert not imported.is_of(with_cell(teacher(), recipe_name="imported cd").cell)
    assert not imported.is_of(teacher().cell)


def test_a_teacher_of_another_topology_is_no_baseline() -> None:
    bigger = TeacherIdentity(**{**vars_of(TEACHER), "model": "big"})
    rows = [with_cell(right("direct", 360, spikes=5), teacher=bigger)]
    found = leaderboard(rows, suite=SUITE, teachers=[with_cell(teacher(), model="big")])
    assert line(found, "direct").ratios["effective"] == {}
    assert line(found, "direct").ratios["dense"]


def test_a_category_that_nobody_counted_is_unknown_and_not_zero() -> None:
    plain = spiking(5).to_plain() | {"not_counted": ["spikes"]}
    row = right("direct", 360)
    row = Row(**{**vars_of(row), "ledger": type(spiking(5)).from_plain(plain)})
    found = line(board([row]), "direct")
    assert found.average("spikes_per_sample") is None
    assert found.average("acs_per_sample") == 20


def test_notes_are_numbered_once_and_marked_where_they_belong() -> None:
    text = page()
    assert "## squares, tiny, training budget `default` [1]" in text
    said = "45 nm, 32-bit operands: 0.9 pJ to add, 3.7 pJ to multiply"
    assert f"1. one file differs\n2. {USUAL}: {said}\n" in text
    assert text.count("one file differs") == text.count(f"{USUAL}: {said}") == 1


def test_what_is_off_is_left_out_and_what_is_zero_is_not() -> None:
    text = page()
    budget = (
        "batch_size 32, epochs 3, learning_rate 0.1, optimiser adam, precision float32, "
        "warmup 0.0, weight_decay 0.0005"
    )
    assert f"- Training budget default: {budget}\n" in text
    assert (
        f"- Teacher: tiny (recipe ({budget}), seed 0, split fixed-1), test accuracy 99.0 %" in text
    )
    assert "- Input encoding: a constant current" in text


def test_the_page_says_what_made_the_rows() -> None:
    rows = [right("direct", 360, seed=seed) for seed in range(3)]
    assert "- Ran on a CPU (avx512f avx2). With torch 2.13.0\n" in page(rows)
    limited = PROCESSOR | {"ATEN_CPU_CAPABILITY": "avx2"}
    older = {"torch": "2.12.1", "norse": "1.1.0"}
    rows[1] = with_provenance(rows[1], processor=limited, versions=older)
    assert (
        "- Ran on 2 kinds of machine: a CPU (avx512f avx2); "
        "a CPU (avx512f avx2; ATEN_CPU_CAPABILITY avx2). With norse 1.1.0, "
        "torch 2.12.1 and 2.13.0\n"
    ) in page(rows)


def test_what_another_machine_may_change_depends_on_the_precision() -> None:
    assert "comparisons across machines are statistical" in page()
    exact = Recipe(**{**vars_of(BUDGET), "precision": "float64"})
    text = page([with_cell(right("direct", 360), recipe=exact)])
    assert "the same decisions are expected on every machine" in text
    assert "statistical" not in text


def test_a_caution_is_the_first_line_under_the_title() -> None:
    text = page(suite=replace(SUITE, caution="One seed: do not rank."))
    assert text.startswith("# Leaderboard: toy\n\nOne seed: do not rank.\n\n")
    assert page().startswith("# Leaderboard: toy\n\nTest accuracy")


def test_different_budgets_are_never_averaged() -> None:
    rows = board_rows()
    more = Recipe(**{**vars_of(BUDGET), "epochs": 4})
    found = board(rows + [with_cell(row, recipe=more) for row in rows])
    assert len(found.settings) == 2
    lines = [one for setting in found.settings for one in setting.lines]
    assert all(one.accuracy is None or one.accuracy.n <= 3 for one in lines)


def test_parameters_are_told_apart_where_a_method_has_several() -> None:
    rows = [right("direct", 360), right("better", 370)]
    rows.append(with_cell(right("better", 380), params={"weight": 0.5}))
    names = [one.method for one in board(rows).settings[0].lines]
    assert names == ["better[weight=0.5]", "better[weight=0.9]", "direct"]


def test_wall_clock_is_not_averaged_over_different_machines() -> None:
    rows = [right("direct", 360, seed=seed) for seed in range(2)]
    assert line(board(rows), "direct").timing("latency_ms_b1") == 1.5
    rows[1] = with_provenance(rows[1], processor={"processor": "another CPU"})
    assert line(board(rows), "direct").timing("latency_ms_b1") is None


@pytest.mark.parametrize("other", [{"threads": 2}, {"cells_on_device": 2}])
def test_wall_clock_is_compared_at_equal_threads_and_company_alone(other: dict[str, Any]) -> None:
    rows = [right(name, 360) for name in ("direct", "better")]
    assert line(board(rows), "better").cost == 1
    apart = board([rows[0], with_provenance(rows[1], **other)])
    assert line(apart, "better").cost is None
    mixed = [rows[0], with_provenance(right("direct", 360, seed=1), **other)]
    assert line(board(mixed), "direct").timing("train_seconds") is None
    alike = [with_provenance(row, **other) for row in rows]
    assert line(board(alike), "better").cost == 1


def test_company_on_a_gpu_is_told_where_it_is_known() -> None:
    row = right("direct", 360)
    assert "cells_on_device" not in to_csv(board([row]))
    crowded = board([with_provenance(row, gpu="a GPU", cells_on_device=3)])
    assert next(csv.DictReader(StringIO(to_csv(crowded))))["cells_on_device"] == "3"
    told = "\n".join(circumstances(crowded.settings[0]))
    assert "Ran on a GPU, up to 3 cells at once on it, " in told
    alone = board([with_provenance(row, gpu="a GPU", cells_on_device=1)])
    assert "at once on it" not in "\n".join(circumstances(alone.settings[0]))


@given(order=st.permutations(range(len(board_rows()))))
@settings(max_examples=10, deadline=None)
def test_the_order_of_rows_changes_no_byte(order: list[int]) -> None:
    rows = board_rows()
    shuffled = [rows[index] for index in order]
    assert page(shuffled) == page(rows)
    assert to_csv(board(shuffled)) == to_csv(board(rows))
    assert to_json(board(shuffled), command=COMMAND) == to_json(board(rows), command=COMMAND)


def test_rows_read_back_give_the_same_files(tmp_path: Path) -> None:
    rows = board_rows()
    read = [Row.from_json(row.to_json()) for row in rows]
    first, second = (
        write_board(board(found), tmp_path / name, command=COMMAND)
        for name, found in (("a", rows), ("b", read))
    )
    names = [f"leaderboard.{kind}" for kind in ("md", "csv", "json", "tex")]
    assert [path.name for path in first] == names
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert COMMAND in first[0].read_text(encoding="utf-8")


def test_the_table_for_programs_has_every_digit_and_one_line_a_method() -> None:
    found = board()
    lines = list(csv.DictReader(StringIO(to_csv(found))))
    assert len(lines) == sum(len(setting.lines) for setting in found.settings) == 7
    best = lines[0]
    assert float(best["score_mean"]) == pytest.approx(1120 / 1200, rel=1e-15)
    assert best["score_by_seed"] == "0:0.93 1:0.935 2:0.935"
    assert best["ann_score"] == ""  # unknown
    assert float(best[f"energy_pj {USUAL}"]) == pytest.approx(60.4)
    assert float(best[f"energy_over_dense {USUAL}"]) == pytest.approx(60.4 / 138)
    assert lines[3]["method"] == "broken"
    assert lines[3][f"energy_pj {USUAL}"] == ""


def test_the_object_for_programs_keeps_every_seed() -> None:
    whole = json.loads(to_json(board(), command=COMMAND))
    (setting,) = whole["settings"]
    best = setting["lines"][0]
    assert [seed["score"] for seed in best["single_seeds"]] == [0.93, 0.935, 0.935]
    assert best["single_seeds"][0]["interval"]["low"] == pytest.approx(0.900691, abs=1e-6)
    assert best["gain"]["verdict"] == "better"
    assert [failure["status"] for failure in whole["failures"]] == ["diverged", "timeout"]
    assert setting["shared"]["recipe"]["epochs"] == 3
    assert best["energy_pj"][USUAL] == pytest.approx(60.4)


def test_no_rows_and_the_same_row_twice_are_refused() -> None:
    with pytest.raises(SpecError, match="needs rows; run the suite first"):
        board([])
    row = right("direct", 360)
    with pytest.raises(SpecError, match=f"cell {row.cell.cell_id} has 2 rows"):
        board([row, row])


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


def test_a_report_needs_neither_torch_nor_pandas() -> None:
    script = (
        "import sys; from tests.report.rows import SUITE, board_rows; from harness import report;"
        "board = report.leaderboard(board_rows(), suite=SUITE);"
        "report.render(board, command='x'); report.to_csv(board);"
        "report.to_json(board, command='x');"
        "report.to_latex(board, command='x');"
        "print({'torch', 'pandas', 'scipy.stats', 'altair', 'vl_convert'} & set(sys.modules));"
        "import harness.report._page; print({'torch', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["set()", "set()"]


def test_early_exits_are_means_over_seeds_priced_from_what_ran_until_then() -> None:
    def exits(seed: int, correct: int, steps: int, products: int) -> Row:
        row = right("direct", 360, seed=seed, spikes=5)
        spent = {"per_step": {"mac": 10**9}, "cached": {"mac": products, "ac": 8000}}
        return exiting(row, correct=correct, steps=steps, spent=spent)

    rows = [exits(0, 356, 400, 4000), exits(1, 348, 600, 8000), exits(2, 352, 500, 6000)]
    # Of 400 samples 352 are right after 1.25 steps, with 15 products at 4.6 pJ and 20
    # accumulates at 0.9; all steps: 360 and 64 pJ.
    assert "| 2 | alpha | direct | margin | 88.00 | 90.00 | 1.25 | 87 pJ |" in page(rows)
    # What ran until the exits of one seed is unknown.
    rows[1] = exiting(rows[1], correct=348, steps=600, spent={})
    assert "| 2 | alpha | direct | margin | 88.00 | 90.00 | 1.25 |\n" in page(rows)
    # One seed has no exits at all.
    rows[1] = with_metrics(rows[1], early_exit={})
    assert "| 2 | alpha | direct | margin | 90.00 |\n" in page(rows)
    assert "Early exit" not in page([right("direct", 360)])


def test_a_remark_is_told_of_methods_that_are_here_alone() -> None:
    text = page(suite=replace(SUITE, remarks={"noisy": "It is.", "absent": "Unseen."}))
    assert "## Remarks\n\n- `noisy`: It is." in text
    assert "Unseen" not in text
    rows = [right("noisy", 360), with_cell(wrong("noisy", "oom", "no"), params={"weight": 0.5})]
    assert "- `noisy`: It is." in page(rows, suite=replace(SUITE, remarks={"noisy": "It is."}))


def test_seeds_that_ended_alike_share_a_line_and_who_was_skipped_has_no_log() -> None:
    others = [row for row in board_rows() if row.cell.method == "better"]
    skipped = [wrong("direct", "skipped", "means one step alone", seed=seed) for seed in range(3)]
    text = page([*others, *skipped])
    assert "| direct | alpha | 2 | 0, 1, 2 | skipped | means one step alone |  |" in text


def on_tracks(monkeypatch: pytest.MonkeyPatch, **tracks: str) -> None:
    cards = {
        name: MethodCard(title="", citation="", loss="exact", track=cast(Track, track))
        for name, track in tracks.items()
    }
    monkeypatch.setattr(_board, "card_of", cards.get)


def test_methods_are_compared_within_their_track(monkeypatch: pytest.MonkeyPatch) -> None:
    on_tracks(
        monkeypatch,
        weight_transfer="inherited",
        heir="inherited",
        qcfs="conversion",
        converted="conversion",
        rival="self",
    )
    gains = {"direct": 0, "plain": 5, "weight_transfer": 30, "heir": 28, "rival": 9}
    gains |= {"qcfs": -300, "converted": -290}
    rows = [
        right(name, 350 + gain + (seed if name in ("plain", "heir") else 0), seed=seed)
        for name, gain in gains.items()
        for seed in range(3)
    ]
    found = board(rows)
    (table,) = found.settings[0].tables.values()
    assert [(one.track, one.method, one.baseline) for one in table] == [
        ("scratch", "plain", "direct"),
        ("scratch", "direct", "direct"),
        ("inherited", "weight_transfer", "weight_transfer"),
        ("inherited", "heir", "weight_transfer"),
        ("conversion", "converted", "qcfs"),
        ("conversion", "qcfs", "qcfs"),
        ("self", "rival", "direct"),
    ]
    assert table[3].gain is not None
    # 28, 29 and 30 less 30, of 400.
    assert table[3].gain.difference.value == pytest.approx(-1 / 400)
    assert table[6].gain is not None
    assert table[6].gain.difference.value == pytest.approx(9 / 400)
    # Alone in its track: nothing to adjust for, nothing better.
    assert table[6].gain_p_holm == table[6].gain.p_t
    assert table[6].group == 1
    text = render(found, command=COMMAND)
    assert "(`direct` of scratch, `weight_transfer` of inherited, `qcfs` of conversion, " in text
    assert "| self | 1? | rival |" in text


def test_the_cost_is_training_time_over_the_baselines_on_the_same_machine() -> None:
    rows = [right("direct", 360), with_metrics(right("slow", 370), train_seconds=5.0)]
    assert line(board(rows), "slow").cost == 2.5
    assert line(board(rows), "direct").cost == 1
    elsewhere = with_provenance(rows[1], processor={"processor": "another CPU"})
    assert line(board([rows[0], elsewhere]), "slow").cost is None
    assert line(board(rows[1:]), "slow").cost is None


def test_simulators_that_agree_share_a_line_and_no_others_do() -> None:
    rows = [
        right(method, 350 + gain + seed, seed=seed, backend=backend, spikes=4)
        for method, gain in (("direct", 0), ("better", 9))
        for backend in ("alpha", "beta")
        for seed in range(3)
    ]
    setting = board(rows).settings[0]
    assert [(one.method, one.backend) for one in setting.together.lines] == [
        ("better", "alpha, beta"),
        ("direct", "alpha, beta"),
    ]
    text = page(rows)
    assert "### T = 2, alpha, beta" in text
    assert "2 of 2 comparisons are equal in every seed." in text
    assert "alpha higher" not in text
    assert len({one["alike"] for one in records.lines(board(rows))}) == 2
    rows[-1] = right("better", 361, seed=2, backend="beta", spikes=5)
    assert len({one["alike"] for one in records.lines(board(rows))}) == 3
    assert board(rows).settings[0].together == board(rows).settings[0]
    assert "### T = 2, alpha\n" in page(rows)


def test_simulators_that_share_a_line_share_no_time() -> None:
    rows = [
        with_metrics(
            right(method, correct, backend=backend, spikes=4),
            train_seconds=seconds,
            latency_ms_b1=seconds,
        )
        for backend, times in (("alpha", (2.0, 3.0)), ("beta", (4.0, 10.0)))
        for method, correct, seconds in zip(("direct", "better"), (350, 360), times, strict=True)
    ]
    shared = next(one for one in board(rows).settings[0].together.lines if one.method == "better")
    assert shared.backend == "alpha, beta"
    assert shared.cost == (3 / 2 + 10 / 4) / 2
    found = pareto.pareto(board(rows), "latency")
    assert [(one.line.method, one.line.backend, one.cost) for one in found] == [
        ("direct", "alpha", 2),
        ("better", "alpha", 3),
        ("direct", "beta", 4),
        ("better", "beta", 10),
    ]
    assert {one.line.backend for one in pareto.pareto(board(rows), "energy")} == {"alpha, beta"}


def test_ranks_are_over_t_and_seeds_with_simulators_as_one() -> None:
    correct = {"direct": 300, "better": 320, "worse": 280}
    rows = [
        right(method, base + (3 * seed) % 7, seed=seed, timesteps=steps, backend=backend)
        for method, base in correct.items()
        for seed in range(3)
        for steps in (1, 2)
        for backend in ("alpha", "beta")
    ]
    (found,) = board(rows).rankings.values()
    assert found.blocks == 6
    assert found.mean_ranks == {"better": 1.0, "direct": 2.0, "worse": 3.0}
    assert board(rows[:8]).rankings == {}


def test_the_probability_of_being_best_is_within_the_track() -> None:
    rows = [
        right(method, base + seed % 2, seed=seed)
        for method, base in (("direct", 300), ("better", 320))
        for seed in range(6)
    ]
    assert line(board(rows), "better").best == 1
    assert line(board(rows), "direct").best == 0
    assert line(board(rows[:5] + rows[6:]), "direct").best is None
    assert "P(best)" in page(rows)


HOSTILE = "<script>alert(1)</script> [free](javascript:alert(1)) | \x1b[31m \u202e & $x_1$ \ud800"


def test_hostile_text_is_text_in_every_format(tmp_path: Path) -> None:
    rows = [right("direct", 360), right(f"evil {HOSTILE}", 300), wrong("bad", "failed", HOSTILE)]
    told = {"data_notes": (HOSTILE,), "versions": {"torch": HOSTILE}, "backend_version": HOSTILE}
    machine = {"processor": {"processor": HOSTILE, "instructions": HOSTILE, "MKL_CBWR": HOSTILE}}
    said = dict.fromkeys(("gpu", "encoding", "teacher_note"), HOSTILE)
    rows[0] = with_provenance(rows[0], **told, **machine, **said)
    write_board(leaderboard(rows, suite=SUITE), tmp_path, command=COMMAND)
    for kind in ("md", "csv", "json", "tex"):
        text = (tmp_path / f"leaderboard.{kind}").read_text(encoding="utf-8")
        assert not {"\x1b", "\u202e"} & set(text)
        assert "\\ud800" in text.replace("textbackslash{}", "")
    marked = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    for unescaped in ("<script", "[free]"):
        assert not re.search(rf"(?<!\\){re.escape(unescaped)}", marked)
    told = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert [one["error"] for one in told["failures"]] == [HOSTILE]
    (line_of_evil,) = (
        row
        for row in csv.DictReader(StringIO((tmp_path / "leaderboard.csv").read_text("utf-8")))
        if row["method"].startswith("evil")
    )
    assert line_of_evil["method"] == f"evil {words.visible(HOSTILE)}"
    paper = (tmp_path / "leaderboard.tex").read_text(encoding="utf-8")
    assert r"\textless{}script\textgreater{}alert(1)" in paper
    assert r"\& \$x\_1\$" in paper


def test_what_cannot_be_seen_is_shown_as_json_shows_it() -> None:
    assert words.visible("plain\nlines ± µ — ≥") == "plain\nlines ± µ — ≥"
    assert words.visible("\x1b[0m\t\r") == "\\u001b[0m\\u0009\\u000d"
    assert words.visible("\u202eabc\ud800\U000e0001") == "\\u202eabc\\ud800\\udb40\\udc01"
    assert words.visible("a\u00a0b") == "a\u00a0b"
    assert words.text("a_b *c* `d` [e](f) <g> \\") == r"a_b \*c\* \`d\` \[e\](f) \<g\> \\"


def test_a_paper_gets_means_rounded_by_their_intervals() -> None:
    text = to_latex(board(rivals(5)), command=COMMAND)
    assert text.startswith("% nox -s leaderboard -- toy\n")
    assert r"scratch & direct & alpha & $\mathbf{90.10 \pm 0.17}$ \\" in text
    assert r"scratch & worse & alpha & $80.10 \pm 0.17$ \\" in text
    assert text.count(r"\begin{tabular}{lllr}") == text.count(r"\end{tabular}") == 1
    lacking = to_latex(board(), command=COMMAND)
    assert r"scratch & noisy & alpha & $90 \pm 5$\,(2/3, 1 diverged) \\" in lacking
    assert r"scratch & broken & alpha & -- \\" in lacking


def test_a_line_is_believed_as_far_as_the_least_of_its_rows() -> None:
    rows = [right("direct", 360), right("direct", 364, seed=1), right("better", 372)]
    for levels, told in (
        (("published", "published"), None),
        (("published", "here"), None),
        (("here", "verified"), "verified"),
        (("verified", "claimed"), "claimed"),
        (("claimed", "published"), "claimed"),
    ):
        mine: dict[str, Any] = {
            row.cell_id: level
            for row, level in zip(rows, levels, strict=False)
            if level != "published"
        }
        board = leaderboard(rows, suite=SUITE, mine=mine)
        least = min(levels, key=("claimed", "verified", "here", "published").index)
        trusts = {line.method: line.trust for line in board.settings[0].lines}
        assert trusts == {"direct": least, "better": "published"}
        assert {one["method"]: one["trust"] for one in records.lines(board)} == trusts
        text = render(board, command=COMMAND)
        assert ("| trust |" in text) == (told is not None)
        assert told is None or f"| {told} |" in text
        columns = {one["key"] for one in json.loads(_page._data(board))["columns"]}
        assert ("trust" in columns) == (told is not None)


def test_whose_rows_are_is_told_by_how_they_came_here() -> None:
    levels: tuple[Trust, ...] = ("here", "claimed", "verified")
    rows = [right(name, 360) for name in ("direct", "mine", "hers", "his")]
    mine = {row.cell_id: level for row, level in zip(rows[1:], levels, strict=True)}
    found = leaderboard(rows, suite=SUITE, mine=mine)
    whose = {line.method: line.whose for line in found.settings[0].lines}
    assert whose == {"direct": "published", "mine": "yours", "hers": "merged", "his": "merged"}
    text = render(found, command=COMMAND)
    assert "| merged | hers | 90.0" in text
    assert "| yours | — | scratch | mine |" in text


def test_who_lacks_seeds_and_a_second_entry_stand_behind_the_others() -> None:
    whole = [right("direct", 300, seed=seed) for seed in range(3)]
    whole += [right("better", 310, seed=seed) for seed in range(3)]
    theirs, few = with_cell(right("better", 390), params={"weight": 9.0}), right("few", 380)
    found = leaderboard([*whole, theirs, few], suite=SUITE, authors={theirs.cell_id})
    glance = render(found, command=COMMAND).partition("### At a glance")[2].partition("###")[0]
    told = [line.split(" | ")[0].removeprefix("| ") for line in glance.splitlines()[4:] if line]
    assert told == ["better", "direct", "better (authors')", "few"]


def test_options_that_are_off_where_they_usually_are_not_are_told() -> None:
    rows = [right("direct", 300)]
    neuron = NeuronSpec(scale_input=False, detach_reset=False)
    off = page([with_cell(row, neuron=neuron) for row in rows])
    assert "detach_reset no" in off
    assert "scale_input no" in off
    assert "compiled" not in off  # off as it usually is
    assert "- Learning rate: one for all methods; the verb tune tries others" in off


def test_energies_are_compared_over_methods_that_one_would_take() -> None:
    rows = [
        right(name, correct + seed % 2, spikes=spikes, seed=seed)
        for name, correct, spikes in (
            *(("direct", 360, 5), ("good", 360, 4), ("broken", 90, 1)),
            ("label_smoothing", 362, 2),
        )
        for seed in range(3)
    ]
    text = page(rows)
    assert f"| 2 | alpha | {USUAL} | 2 of 2 | good | 60.4 pJ to 64 pJ |" in text
    assert "| verdict | p (Holm) |" in text


def test_ones_own_rows_are_marked_and_nothing_is_without_any(tmp_path: Path) -> None:
    rows = [right("direct", 360), right("better", 372)]
    assert "whose" not in one_seed(rows)
    marked = leaderboard(rows, suite=SUITE, mine={rows[1].cell_id: "here"})
    write_board(marked, tmp_path, command=COMMAND)
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "| yours | better | 93.0" in text
    assert "| — | direct | 90.0" in text
    assert "| yours | scratch | better | 93.0" in text
    told = list(csv.DictReader(StringIO((tmp_path / "leaderboard.csv").read_text("utf-8"))))
    assert {one["method"]: one["mine"] for one in told} == {"direct": "False", "better": "True"}
    assert {one["method"]: one["whose"] for one in records.lines(marked)} == {
        "direct": "published",
        "better": "yours",
    }


def test_methods_that_were_tuned_to_other_learning_rates_stand_in_one_table() -> None:
    def tuned(method: str, rate: float, seed: int) -> Row:
        row = right(method, 360 + seed, seed=seed)
        return with_cell(row, recipe=replace(row.cell.recipe, learning_rate=rate))

    rows = [tuned("direct", 0.1, seed) for seed in range(2)]
    rows += [tuned("logit_kd", 0.3, seed) for seed in range(2)]
    (setting,) = leaderboard(rows, suite=SUITE).settings
    assert {line.method: line.learning_rate for line in setting.lines} == {
        "direct": 0.1,
        "logit_kd": 0.3,
    }
    assert "Learning rate by method: 0.1 direct; 0.3 logit_kd" in circumstances(setting)
    (twice,) = leaderboard([*rows, tuned("direct", 0.9, 0)], suite=SUITE).settings
    assert {line.method for line in twice.lines} == {
        "direct[learning rate=0.1]",
        "direct[learning rate=0.9]",
        "logit_kd",
    }


def test_a_parameter_that_was_asked_for_is_told_and_others_where_they_differ() -> None:
    row = right("direct", 360)
    (line,) = leaderboard([row], suite=SUITE).settings[0].lines
    assert line.method == "direct"
    told = leaderboard([row], suite=SUITE, spelt={"direct": ["weight"], "other": ["weight"]})
    assert [line.method for line in told.settings[0].lines] == ["direct[weight=0.9]"]
    spelt = with_cell(row, spelt=("weight",))
    assert [glance.table([one])[1].split()[0] for one in (row, spelt)] == [
        "direct",
        "direct[weight=0.9]",
    ]
    other = with_cell(row, params={"weight": 0.5})
    names = {line.split()[0] for line in glance.table([row, other])[1:]}
    assert names == {"direct[weight=0.5]", "direct[weight=0.9]"}
