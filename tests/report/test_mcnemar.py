"""Two methods, test sample by test sample: what is paired, what is counted, what is refused."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli.boards import boards_app
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Metrics, Row
from harness.engine.publish import decided
from harness.report import Leaderboard, leaderboard
from harness.report.mcnemar import Decided, Held, explanation, mcnemar, to_markdown
from harness.statistics import wilson_interval
from harness.store import PREDICTIONS, Store
from tests.engine.test_publish import cells, fresh
from tests.report.rows import SUITE, cell, right, with_cell, with_metrics, wrong

LABELS = np.arange(20) % 10


def answering(*right_ones: range) -> np.ndarray[Any, Any]:
    """Return decisions that are right on these samples alone."""
    found = (LABELS + 1) % 10
    for places in right_ones:
        found[list(places)] = LABELS[list(places)]
    return found


def board(rows: Iterable[Row]) -> Leaderboard:
    return leaderboard(rows, suite=SUITE)


def told(answers: dict[str, np.ndarray[Any, Any]]) -> Decided:
    """Return what reads the decisions of a method, whatever the cell."""
    return lambda row: (answers[row.cell.method], LABELS)


# a is right on 0 to 13 and b on 9 to 17: 9 samples a's alone, 4 b's, 5 of both and 2 of neither.
ANSWERS = {"a": answering(range(14)), "b": answering(range(9, 18))}
# Of 13 flips of a coin at most 4 heads, doubled: 2 (1 + 13 + 78 + 286 + 715) / 2^13.
P = 2 * (1 + 13 + 78 + 286 + 715) / 2**13


def test_only_what_one_alone_answers_right_counts() -> None:
    held = mcnemar(board([right("a", 14), right("b", 9)]), "a", "b", told(ANSWERS))
    [pair] = held.pairs
    assert (pair.first_alone, pair.second_alone, pair.samples) == (9, 4, 20)
    assert pair.p == pytest.approx(P, rel=1e-12)
    assert pair.p_holm == pair.p
    [back] = mcnemar(board([right("a", 14), right("b", 9)]), "b", "a", told(ANSWERS)).pairs
    assert (back.first_alone, back.second_alone, back.p) == (4, 9, pair.p)


def test_scores_of_which_no_sample_is_right_or_wrong_are_refused() -> None:
    rows = [with_metrics(right(name, 14), metric="mAP") for name in ("a", "b")]
    with pytest.raises(SpecError, match="these are scored by mAP"):
        mcnemar(board(rows), "a", "b", told(ANSWERS))


def test_networks_are_paired_by_all_but_the_method_and_holm_counts_the_pairs() -> None:
    rows = [
        right(method, 14, seed=seed, timesteps=steps)
        for method in ("a", "b")
        for seed in range(3)
        for steps in (1, 2)
    ]
    held = mcnemar(board(rows), "a", "b", told(ANSWERS))
    asked = [(pair.first.cell.timesteps, pair.first.cell.seed) for pair in held.pairs]
    assert asked == [(steps, seed) for steps in (1, 2) for seed in range(3)]
    for pair in held.pairs:
        assert pair.second.cell == cell(
            "b", seed=pair.first.cell.seed, timesteps=pair.first.cell.timesteps
        )
        assert pair.p_holm == pytest.approx(min(1, 6 * P))
    few = mcnemar(board(rows), "a", "b", told(ANSWERS), timesteps=[2])
    assert [pair.first.cell.timesteps for pair in few.pairs] == [2, 2, 2]


def test_simulators_that_agree_in_everything_are_one_pair() -> None:
    rows = [right(method, 14, backend=name) for method in ("a", "b") for name in ("alpha", "beta")]
    assert [one.backend for one in _held(rows).pairs] == ["alpha, beta"]
    [one] = _held(rows, backends=["beta"]).pairs
    assert one.first.cell.backend == one.backend == "beta"
    rows[0] = right("a", 15, backend="alpha")
    assert [one.backend for one in _held(rows).pairs] == ["alpha", "beta"]


def test_a_pair_is_read_from_whichever_simulator_has_its_predictions() -> None:
    rows = [right(method, 14, backend=name) for method in ("a", "b") for name in ("alpha", "beta")]

    def of_beta(row: Row) -> Any:
        if row.cell.backend != "beta":
            raise StoreError(f"no predictions of {row.cell.backend}")
        return ANSWERS[row.cell.method], LABELS

    held = mcnemar(board(rows), "a", "b", of_beta)
    [pair] = held.pairs
    assert (pair.backend, pair.first.cell.backend) == ("alpha, beta", "beta")
    assert held.left_out == ()

    def of_neither(row: Row) -> Any:
        raise StoreError(f"no predictions of {row.cell.backend}")

    with pytest.raises(SpecError, match="alpha, beta, seed 0: no predictions of alpha"):
        mcnemar(board(rows), "a", "b", of_neither)


@pytest.mark.parametrize("method", ["a", "c"])
def test_a_further_row_on_one_simulator_makes_no_pair_count_twice(method: str) -> None:
    rows = [right(name, 14, backend=on) for name in ("a", "b") for on in ("alpha", "beta")]
    [pair] = _held([*rows, right(method, 15, backend="beta", seed=1)]).pairs
    assert (pair.backend, pair.p_holm) == ("alpha, beta", pair.p)


def _held(rows: Iterable[Row], **options: Any) -> Held:
    return mcnemar(board(rows), "a", "b", told(ANSWERS), **options)


def test_seeds_apart_and_what_has_no_number_are_left_out_and_named() -> None:
    rows = [right("a", 14, seed=0), right("a", 14, seed=1), right("b", 9, seed=1)]
    rows.append(wrong("b", "diverged", "loss is nan", seed=0))
    held = _held(rows)
    assert [pair.first.cell.seed for pair in held.pairs] == [1]
    assert held.left_out == ("tiny, default, T = 2, alpha, seed 0: b has no number",)
    apart = [right("a", 14, seed=0), right("b", 9, seed=1)]
    with pytest.raises(SpecError, match=r"a and b have no pair of networks: .* b has no number"):
        _held(apart)


@pytest.mark.parametrize("changes", [{"split": "fixed-2"}, {"backend": "beta"}, {"model": "other"}])
def test_another_question_is_no_pair(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="they share no data set, budget, T and simulator"):
        _held([right("a", 14), with_cell(right("b", 9), **changes)])


def test_other_test_samples_are_refused() -> None:
    def shuffled(row: Row) -> Any:
        labels = LABELS[::-1] if row.cell.method == "b" else LABELS
        return labels.copy(), labels

    with pytest.raises(SpecError, match="other test samples, 20 and 20, or in another order"):
        mcnemar(board([right("a", 14), right("b", 9)]), "a", "b", shuffled)


def test_a_method_that_is_not_there_or_is_several_is_named() -> None:
    rows = [right("a", 14), with_cell(right("a", 14), params={"weight": 0.5}), right("b", 9)]
    with pytest.raises(SpecError, match=r"'c'; there are: a\[weight=0.5\], a\[weight=0.9\], b"):
        mcnemar(board(rows), "a", "c", told(ANSWERS))
    with pytest.raises(SpecError, match=r"'a' is several lines; .*: a\[weight=0.[59]\], a\["):
        mcnemar(board(rows), "a", "b", told(ANSWERS))
    with pytest.raises(SpecError, match="two methods are held against each other, got 'b' twice"):
        mcnemar(board(rows), "b", "b", told(ANSWERS))
    [pair] = mcnemar(board(rows), "a[weight=0.5]", "a[weight=0.9]", told(ANSWERS)).pairs
    assert (pair.first_alone, pair.second_alone, pair.p) == (0, 0, 1.0)
    assert pair.first.cell.params == {"weight": 0.5}


def test_the_table_names_who_is_more_often_right_and_only_where_holm_tells() -> None:
    rows = [right(method, 14, seed=seed) for method in ("a", "b*") for seed in range(2)]

    def answers(row: Row) -> Any:
        if row.cell.seed == 0 and row.cell.method == "a":
            return answering(range(20)), LABELS
        return answering(range(5, 10)), LABELS

    held = mcnemar(board(rows), "a", "b*", answers)
    text = to_markdown(held)
    assert "| a alone right | b\\* alone right |" in text
    # 15 of 15: p = 2 / 2^15, twice that by Holm.
    assert "| tiny | default | 2 | alpha | 0 | 20 | 15 | 0 | 6.1e-05 | 0.000122 | a |" in text
    assert "| tiny | default | 2 | alpha | 1 | 20 | 0 | 0 | 1 | 1 | within noise |" in text
    assert "over 2 pairs: 1 are told apart" in explanation(held)
    plain = held.pairs[0].columns()
    assert (plain["first_alone"], plain["backend"], plain["seed"]) == (15, "alpha", 0)


def test_what_one_pair_tells_apart_several_may_not() -> None:
    # Six of six: p = 2 / 2^6 = .031, and twice that by Holm.
    rows = [right(method, 14, seed=seed) for method in ("a", "b") for seed in range(2)]
    answers = told({"a": answering(range(10)), "b": answering(range(4))})
    for seeds, winner in ((1, "| a |"), (2, "| within noise |")):
        few = [row for row in rows if row.cell.seed < seeds]
        assert to_markdown(mcnemar(board(few), "a", "b", answers)).count(winner) == seeds


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., Row]:
    """Return what writes a row's predictions; samples 0 to 13 are right."""

    def write(row: Row, **changes: Any) -> Row:
        low, high = wilson_interval(14, 20)
        metrics = Metrics(score=0.7, score_low=low, score_high=high, n_test=20)
        row = Row(cell=row.cell, status="ok", metrics=metrics)
        steps = np.stack([answering(), answering(range(14))])
        folder = Store(tmp_path).folder(row.cell)
        folder.mkdir(parents=True)
        np.savez(folder / PREDICTIONS, **{"predictions": steps, "labels": LABELS, **changes})
        return row

    return write


def test_the_last_steps_decisions_are_read_from_the_store(
    tmp_path: Path, stored: Callable[..., Row]
) -> None:
    found, labels = decided(Store(tmp_path), stored(right("a", 14)))
    assert (found == answering(range(14))).all()
    assert (labels == LABELS).all()


def test_decisions_that_are_not_there_or_of_another_row_are_refused(
    tmp_path: Path, stored: Callable[..., Row]
) -> None:
    with pytest.raises(StoreError, match="published rows come without predictions; `run --again`"):
        decided(Store(tmp_path), right("a", 14))
    other = stored(right("a", 14), predictions=np.stack([answering(range(13))] * 2))
    with pytest.raises(StoreError, match=r"predictions beside it give accuracy 0\.65"):
        decided(Store(tmp_path), other)


def test_the_verb_reads_the_cells_that_were_run_here(tmp_path: Path) -> None:
    runs, answers = tmp_path / "runs", {"direct": ANSWERS["a"], "logit_kd": ANSWERS["b"]}
    for asked in cells(runs, *answers, seeds=1):
        found = answers[asked.method]
        correct = int((found == LABELS).sum())
        low, high = wilson_interval(correct, 20)
        metrics = Metrics(score=correct / 20, score_low=low, score_high=high, n_test=20)
        Store(runs).save(fresh(asked, metrics=metrics))
        every = np.stack([found] * asked.timesteps)
        np.savez(Store(runs).folder(asked) / PREDICTIONS, predictions=every, labels=LABELS)
    words = ["mcnemar", "digits", *answers, "--out", str(runs), "--results", str(tmp_path)]
    done = CliRunner().invoke(boards_app, [*words, "--json"])
    told = json.loads(done.stdout)
    assert (told["first_alone"], told["second_alone"], told["samples"]) == (9, 4, 20)
    assert told["p"] == pytest.approx(P)
    nothing = CliRunner().invoke(boards_app, [*words, "--timesteps", "3"])
    assert "no pair of networks" in str(nothing.exception)
