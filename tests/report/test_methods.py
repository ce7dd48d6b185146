"""The page about methods, from files and rows made for it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import discovery
from harness.contracts.errors import SpecError
from harness.contracts.method import Claim, MethodCard
from harness.contracts.row import Row
from harness.report import methods
from tests.report.rows import right, with_cell, with_metrics, with_provenance, wrong

CARD = MethodCard(
    title="An idea",
    citation="Somebody. A paper. 2020",
    loss="reconstructed",
    reconstructed=("the weight",),
    departures=("the authors forget a square",),
    extras=("a projector",),
    claims=(
        Claim(
            accuracy=0.7442,
            dataset="d",
            architecture="a",
            timesteps=None,
            where="abstract",
            epochs=70,
            url="https://arxiv.org/abs/1",
        ),
    ),
)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"methods": ("direct", "logit_kd"), "suites": ("digits",)}
    monkeypatch.setattr(discovery, "names", names.__getitem__)
    monkeypatch.setattr(methods, "card_of", lambda _: CARD)


def _publish(results: Path, method: str, seconds: dict[int, float | None]) -> None:
    rows = (
        with_metrics(right(method, 360, seed=seed), train_seconds=cost)
        for seed, cost in seconds.items()
    )
    _write(results, method, rows)


def _write(results: Path, method: str, rows: Iterable[Row]) -> None:
    folder = results / "digits"
    folder.mkdir(exist_ok=True, parents=True)
    lines = "".join(f"{row.to_json()}\n" for row in rows)
    (folder / f"{method}.jsonl").write_text(lines, encoding="utf-8")


@pytest.mark.usefixtures("known")
def test_a_cost_is_the_median_ratio_over_the_same_questions(tmp_path: Path) -> None:
    _publish(tmp_path, "direct", {0: 1.0, 1: 2.0, 2: 4.0})
    # Ratios 3, 2 and 1.5; seed 3 has no pair, seed 4 no number: median 2.
    _publish(tmp_path, "logit_kd", {0: 3.0, 1: 4.0, 2: 6.0, 3: 100.0, 4: None})
    text = methods.page(tmp_path)
    assert "\n| method | digits |\n| --- | ---: |\n" in text
    assert "\n| [`logit_kd`](#logit_kd) | 2.00 |\n" in text
    assert "\n| [`direct`](#direct) | 1.00 |\n" in text


@pytest.mark.usefixtures("known")
def test_a_method_with_two_tunings_is_paired_with_each_of_the_baselines(tmp_path: Path) -> None:
    def tuned(row: Row, rate: float, seconds: float) -> Row:
        recipe = replace(row.cell.recipe, learning_rate=rate)
        return with_metrics(with_cell(row, recipe=recipe), train_seconds=seconds)

    # 2/1, 2/4, 4/1 and 4/4: the median is 1.5.
    for method, found in {"direct": {0.1: 1.0, 0.3: 4.0}, "logit_kd": {0.1: 2.0, 0.3: 4.0}}.items():
        _write(tmp_path, method, [tuned(right(method, 360), *one) for one in found.items()])
    assert "\n| [`logit_kd`](#logit_kd) | 1.50 |\n" in methods.page(tmp_path)
    # Of the baseline 1/1, 1/4, 4/1 and 4/4.
    assert "\n| [`direct`](#direct) | 1.00 |\n" in methods.page(tmp_path)


@pytest.mark.usefixtures("known")
def test_cells_of_other_machines_and_without_a_number_are_no_pair(tmp_path: Path) -> None:
    _publish(tmp_path, "direct", {0: 1.0, 1: 2.0})
    elsewhere = with_provenance(right("logit_kd", 360), processor={"processor": "another CPU"})
    _write(tmp_path, "logit_kd", [elsewhere, wrong("logit_kd", "oom", "too large", seed=1)])
    text = methods.page(tmp_path)
    assert "\n| [`direct`](#direct) | 1.00 |\n" in text
    assert "| [`logit_kd`](#logit_kd) | —" not in text


@pytest.mark.usefixtures("known")
def test_a_start_from_the_teachers_weights_is_no_cost_of_the_method(tmp_path: Path) -> None:
    _publish(tmp_path, "direct", {0: 1.0})
    plain = with_metrics(right("logit_kd", 360), train_seconds=3.0)
    started = with_cell(
        with_metrics(plain, train_seconds=9.0), params={"weight": 0.9, "start_from": "teacher"}
    )
    _write(tmp_path, "logit_kd", [plain, started])
    text = methods.page(tmp_path)
    assert "\n| [`logit_kd`](#logit_kd) | 3.00 |\n" in text


@pytest.mark.usefixtures("known")
def test_without_rows_nothing_is_said_of_costs(tmp_path: Path) -> None:
    assert "## What training costs" not in methods.page(tmp_path)


@pytest.mark.usefixtures("known")
def test_what_a_file_says_is_on_the_page(tmp_path: Path) -> None:
    text = methods.page(tmp_path)
    assert "\n### logit_kd\n\nAn idea. Somebody. A paper. 2020." in text
    assert "- Reconstructed: the weight\n- Differs: the authors forget a square" in text
    assert "| 74.42 % | d | a | not said | 70 | [abstract](https://arxiv.org/abs/1) |" in text
    assert "Track `scratch`, loss reconstructed, setting ours." in text
    assert "`temperature = 4.0`" in text


@pytest.mark.usefixtures("known")
def test_methods_stand_by_what_the_student_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = {"direct": CARD, "logit_kd": replace(CARD, track="inherited")}
    monkeypatch.setattr(methods, "card_of", cards.__getitem__)
    text = methods.page(tmp_path)
    scratch, inherited = text.index("Track `scratch`. "), text.index("Track `inherited`. ")
    assert scratch < text.index("[`direct`]") < inherited < text.index("[`logit_kd`]")
    assert "Track `self`. " not in text


NEEDS: list[tuple[dict[str, Any], str]] = [
    ({"uses_teacher": False, "signals": ()}, "labels"),
    ({"signals": ("logits",)}, "labels, a teacher"),
    ({"signals": ("relations",)}, "labels, a teacher with stages"),
    ({"signals": ("weights", "features")}, "labels, a teacher whose weights fit"),
    ({"signals": ("weights",), "track": "conversion"}, "a teacher whose weights fit"),
    (
        {"signals": ("features",), "teacher_learns": True},
        "labels, a teacher with stages that learns",
    ),
]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("fields", "needs"), NEEDS)
def test_what_a_method_needs_follows_from_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], needs: str
) -> None:
    card = replace(CARD, **fields)
    monkeypatch.setattr(methods, "card_of", lambda _: card)
    assert f"| An idea | {needs} | " in methods.page(tmp_path)


def test_the_committed_page_is_the_one_these_files_and_rows_give() -> None:
    root = Path(methods.__file__).parents[2]
    committed = (root / "docs" / "methods.md").read_text(encoding="utf-8")
    remedy = "run: python -m harness list methods --markdown > docs/methods.md"
    assert committed == methods.page(root / "results"), remedy


def test_a_method_whose_file_cannot_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def card(method: str) -> MethodCard:
        if method == "torn_page":
            raise SpecError("torn_page.py line 1: SyntaxError: invalid syntax")
        return CARD

    names = {"methods": ("torn_page", "whole_page"), "suites": ("digits",)}
    monkeypatch.setattr(discovery, "names", names.__getitem__)
    monkeypatch.setattr(discovery, "method_card", card)
    monkeypatch.setattr(discovery, "method_parameters", lambda _: {})
    text = methods.page(tmp_path)
    assert "### whole_page" in text
    assert "torn_page" not in text
