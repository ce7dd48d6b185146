"""What figures draw: every axis with its unit, the front, names that do not overlap."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contracts.row import Row
from harness.report import _figures as figures
from harness.report import _records as records
from harness.report import leaderboard, write_figures
from harness.report._figures import Figure, _Box
from tests.report.rows import (
    BUDGET,
    SUITE,
    board_rows,
    right,
    teacher,
    with_cell,
    with_metrics,
    wrong,
)

METHODS = 45
BY_NAME = {figure.name: figure for figure in figures.figures()}
OKABE_AND_ITO = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"}
# Axes of names, which have no unit.
NAMED = {
    "ranks": {"y"},
    "rates": {"y"},
    "simulators": {"y"},
    "energies": {"x", "y"},
    "energy_models": {"x", "y"},
}
# Of the names of methods, what is on an axis is all of them.
_PAIRS = {"energy_models"}


def crowd() -> list[Row]:
    """Return 45 methods of accuracies and costs so alike that not all names have room.

    At the larger budget each has the rank that it had, but for two that change places.
    """
    methods = ["direct", *(f"method_number_{n}" for n in range(1, METHODS))]
    rows = [
        with_metrics(right(name, 340 + (7 * n) % 45 + seed, spikes=3 + n % 9, **where), **times)
        for n, name in enumerate(methods)
        for seed in range(3)
        for backend in ("alpha", "beta")
        for steps in (2, 4)
        for where in [{"seed": seed, "backend": backend, "timesteps": steps}]
        for times in [
            {"train_seconds": 1.0 + n % 5, "latency_ms_b1": 1.0 + n % 7, "train_samples": 300}
        ]
    ]
    return [*rows, *larger({name: 340 + (7 * n) % 45 for n, name in enumerate(methods)})]


def larger(correct: dict[str, int]) -> list[Row]:
    """Return rows of ten times the budget, in which the two worst change places."""
    worst, second = sorted(correct, key=correct.__getitem__)[:2]
    exchanged = correct | {worst: correct[second], second: correct[worst]}
    longer = {"recipe_name": "longer", "recipe": replace(BUDGET, epochs=30)}
    return [
        with_metrics(with_cell(right(name, count, timesteps=4), **longer), train_samples=3000)
        for name, count in exchanged.items()
    ]


@pytest.fixture(scope="module")
def tables() -> dict[figures.Source, list[dict[str, Any]]]:
    return figures.tables(leaderboard(crowd(), suite=SUITE, teachers=[teacher()]))


@pytest.mark.parametrize("figure", figures.figures(), ids=lambda figure: figure.name)
def test_every_axis_says_what_it_shows_and_its_unit(figure: Figure) -> None:
    for axis in figure.spec["axes"]:
        if "title" in axis and axis["scale"] not in NAMED.get(figure.name, ()):
            assert axis["title"]
    titles = {axis["scale"]: axis["title"] for axis in figure.spec["axes"] if axis.get("title")}
    assert {"x", "y"} - NAMED.get(figure.name, set()) == titles.keys()
    units = {"energy": "(J, ", "latency": "(s, ", "gain_cost": "log scale", "simulators": "points"}
    assert units.get(figure.name, "") in titles.get("x", "")


@pytest.mark.parametrize("figure", figures.figures(), ids=lambda figure: figure.name)
def test_every_figure_is_drawn_with_45_methods(
    figure: Figure, tables: dict[figures.Source, list[dict[str, Any]]]
) -> None:
    rows = figures.chosen(figure, tables)
    assert not figures.is_empty(figure, rows)
    image = figures.render(figure, rows, "svg").decode()
    assert image.count("<path") > METHODS
    drawn = [text for text in texts(figure, rows) if text.startswith("method_number_")]
    # Where the methods are on an axis, each has its line there.
    if "y" in NAMED.get(figure.name, ()) and figure.name not in _PAIRS:
        assert len({text.partition(",")[0] for text in drawn}) == METHODS - 1
    assert "NaN" not in image


def texts(figure: Figure, rows: list[dict[str, Any]]) -> list[str]:
    return [str(item["text"]) for item in items(figure, rows) if "text" in item]


def items(figure: Figure, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    scene = vl_convert.vega_to_scenegraph(figures._filled(figure, rows))["scenegraph"]
    stack = [scene]
    while stack:
        node = stack.pop()
        yield node
        stack += node.get("items", [])


def test_names_overlap_neither_points_nor_each_other(
    tables: dict[figures.Source, list[dict[str, Any]]],
) -> None:
    figure = BY_NAME["energy"]
    rows = figures.chosen(figure, tables)
    scene = vl_convert.vega_to_scenegraph(figures._filled(figure, rows))["scenegraph"]
    placed = [one for group in figures._items(scene, "names") for one in _texts(group)]
    assert 5 < len(placed) < len(rows)
    boxes = [_box(one) for one in placed]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    points = figures._items(scene, "points_marks")
    dots = [_Box(p["x"] - 3, p["y"] - 3, p["x"] + 3, p["y"] + 3) for p in points]
    assert len(dots) == sum(one["energy_pj"] is not None for one in rows) == 2 * METHODS
    assert not any(box.overlaps(dot) for box in boxes for dot in dots)
    assert all(box.left >= 0 and box.right <= figure.spec["width"] for box in boxes)
    assert all(box.top >= 0 and box.bottom <= figure.spec["height"] for box in boxes)


def _texts(node: dict[str, Any]) -> list[dict[str, Any]]:
    below = [one for child in node.get("items", ()) for one in _texts(child)]
    return [node, *below] if "text" in node else below


def _box(one: dict[str, Any]) -> _Box:
    # Five pixels a letter are less than is reserved for one, and more than most need.
    width = 5 * len(one["text"])
    left = one["x"] - (width if one.get("align") == "right" else 0)
    return _Box(left, one["y"] - 7, left + width, one["y"] + 2)


@given(
    points=st.lists(
        st.tuples(st.integers(1, 9), st.integers(50, 60)), min_size=1, max_size=12, unique=True
    )
)
@settings(max_examples=15, deadline=None)
def test_the_front_is_what_nothing_is_both_cheaper_and_better_than(
    points: list[tuple[int, int]],
) -> None:
    figure = BY_NAME["energy"]
    rows = [
        {"accuracy": good, "accuracy_low": good, "accuracy_high": good, "energy_pj": cost}
        | {"track": "scratch", "name": "", "method": "", "T": 1, "simulator": "", "rated": True}
        for cost, good in points
    ]
    front = [
        (cost, good)
        for cost, good in points
        if not any(
            other != (cost, good) and other[0] <= cost and other[1] >= good for other in points
        )
    ]
    ideal = rows[0] | {"energy_pj": 0.5, "rated": False, "track": "self"}  # stands beside it
    for cost in ("accuracy", "accuracy_low", "accuracy_high"):
        ideal[cost] = 99
    scene = vl_convert.vega_to_scenegraph(figures._filled(figure, [*rows, ideal]))["scenegraph"]
    assert len(figures._items(scene, "layer_0_marks")) == len(front)


@pytest.mark.parametrize("figure", figures.figures(), ids=lambda figure: figure.name)
def test_colours_are_those_that_the_colour_blind_tell_apart(figure: Figure) -> None:
    for scale in figure.spec["scales"]:
        if scale["name"] != "color":
            continue
        shades = scale["range"]
        if isinstance(shades, dict):
            assert shades["scheme"] in {"viridis", "blueorange"}
        else:
            assert set(shades) <= OKABE_AND_ITO


def test_simulators_that_agree_are_drawn_once_and_full_figures_at_the_largest_t(
    tables: dict[figures.Source, list[dict[str, Any]]],
) -> None:
    assert len(tables["lines"]) == 5 * METHODS
    shown = figures.chosen(BY_NAME["energy"], tables)
    assert len(shown) == 2 * METHODS
    assert {one["budget"] for one in shown} == {"default"}  # two budgets have no common front
    assert {one["T"] for one in figures.chosen(BY_NAME["anytime"], tables)} == {4}


def test_a_record_says_what_its_line_does_and_nothing_unknown_is_zero() -> None:
    board = leaderboard(board_rows(), suite=SUITE, teachers=[teacher()])
    better, *_, broken = [one for one in records.lines(board) if one["simulator"] == "alpha"]
    assert better["accuracy"] == pytest.approx(100 * 1120 / 1200, rel=1e-4)
    assert better["synops"] == 10 + 4 * 4
    assert better["energy_pj"] == 60.4
    assert (
        better["energies"][records.energy_models(board).index("horowitz_45nm_fp32:cached")] == 60.4
    )
    assert dict(zip(better["layer"], better["layer_rate"], strict=True)) == {
        "first": None,
        "neurons": 4 / (5 * 2),
        "last": None,
    }
    assert better["layer_ac"] == [0, 0, 16]
    assert better["step_accuracy"] == pytest.approx([46.667, 93.333], abs=1e-3)
    assert better["state"] == "complete"
    assert broken["method"] == "broken"
    assert broken["state"] == "without a number"
    numbers = ("accuracy", "gain", "synops", "spikes", "energy_pj", "train_s", "cost", "group")
    assert [broken[name] for name in numbers] == [None] * len(numbers)
    assert broken["accuracy_text"] == "—"


def test_an_accuracy_of_one_seed_has_wilsons_interval() -> None:
    (line,) = records.lines(leaderboard([right("direct", 372)], suite=SUITE))
    # As in test_leaderboard.
    assert (line["accuracy_low"], line["accuracy_high"]) == pytest.approx((90.069, 95.113))


def test_cells_name_their_line_and_share_their_provenance() -> None:
    board = leaderboard(board_rows(), suite=SUITE)
    cells, made = records.cells(board)
    assert len(cells) == len(board_rows())
    assert len(made) == 1
    assert {one["line"] for one in cells} == {one["id"] for one in records.lines(board)}
    failed = [one for one in cells if one["status"] != "ok"]
    assert {one["error"] for one in failed} == {"loss is nan | after 3 steps", "over 60 s"}


def test_what_has_nothing_to_show_is_not_written(tmp_path: Path) -> None:
    board = leaderboard([wrong("direct", "oom", "too large")], suite=SUITE)
    assert write_figures(board, tmp_path, kind="svg") == []
    board = leaderboard([right("direct", 360)], suite=SUITE)
    names = {path.name for path in write_figures(board, tmp_path, kind="png")}
    assert names == {"latency.png", "timesteps.png", "anytime.png"}
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_a_legend_has_the_tracks_that_are_drawn_and_no_other() -> None:
    rows = [right("direct", 360), right("tssd", 372), wrong("weight_transfer", "skipped", "no")]
    board = leaderboard(rows, suite=SUITE)
    tracks = {line.method: line.track for line in board.settings[0].lines}
    assert len({*tracks.values()}) == 3
    figure = BY_NAME["latency"]
    shown = figures.chosen(figure, figures.tables(board))
    told = {*texts(figure, shown)} & {*tracks.values()}
    assert told == {tracks["direct"], tracks["tssd"]}


@pytest.mark.parametrize("name", ["energy", "gain_cost"])
def test_a_ring_marks_ones_own(name: str) -> None:
    rows = [right("direct", 360, spikes=5), right("better", 372, spikes=4)]
    board = leaderboard(rows, suite=SUITE, mine={rows[1].cell_id: "here"})
    figure = BY_NAME[name]
    shown = figures.chosen(figure, figures.tables(board))
    rings = [
        one
        for one in items(figure, shown)
        if one.get("shape") == "circle" and one.get("size") == 190
    ]
    assert len(rings) == 1


def test_a_name_that_has_no_room_inside_is_left_out() -> None:
    figure = BY_NAME["energy"]
    row = {"accuracy": 90, "accuracy_low": 90, "accuracy_high": 90, "energy_pj": 5, "T": 1}
    for letters, shown in ((10, 1), (145, 0)):
        rows = [row | {"track": "scratch", "name": "m" * letters, "method": "", "simulator": ""}]
        assert sum(text.startswith("mmm") for text in texts(figure, rows)) == shown


@pytest.mark.parametrize("timesteps", [2, 8, 1024])
@pytest.mark.parametrize("apart", [2.5, 9, 60])
def test_axes_have_some_ticks_and_only_whole_steps(timesteps: int, apart: float) -> None:
    accuracies = [35 + apart * step / timesteps for step in range(timesteps + 1)][1:]
    line = {"step": list(range(1, timesteps + 1)), "step_accuracy": accuracies, "T": timesteps}
    row = line | {"track": "scratch", "id": 0, "method": "", "label": "one"}
    shown = [one for one in items(BY_NAME["anytime"], [row]) if "text" in one]
    steps = [int(one["text"]) for one in shown if one["align"] == "center" and one["y"] == 7]
    percent = [float(one["text"]) for one in shown if one["align"] == "right"]
    assert sorted(steps) == list(range(128, 1025, 128) if timesteps == 1024 else line["step"])
    assert 2 <= len(percent) <= 17


@pytest.mark.parametrize(
    ("steps", "ticks"), [([2], ["2"]), ([10], ["10"]), ([1, 4], ["1", "2", "4"])]
)
def test_an_axis_of_timesteps_has_those_that_are_there(steps: list[int], ticks: list[str]) -> None:
    rows = [
        {"accuracy": 80, "accuracy_low": 79, "accuracy_high": 81, "T": timesteps}
        | {"track": "scratch", "method": "", "label": "one"}
        for timesteps in steps
    ]
    shown = [one for one in items(BY_NAME["timesteps"], rows) if "text" in one]
    below = [one for one in shown if one["align"] == "center" and one["y"] == 7]
    assert sorted(one["text"] for one in below) == ticks


@pytest.mark.parametrize("name", ["energy", "operations", "latency", "timesteps", "anytime"])
def test_a_screen_reader_is_told_accuracies_and_not_the_errors_that_are_drawn(
    name: str, tables: dict[figures.Source, list[dict[str, Any]]]
) -> None:
    rows = figures.chosen(BY_NAME[name], tables)
    drawn = figures.render(BY_NAME[name], rows, "svg").decode()
    said = re.findall(r'aria-label="([^"]*)"', drawn)
    points = [one for one in said if "accuracy" in one]
    wanted = {one["accuracy_text"] for one in rows}
    if name == "anytime":
        # Vega rounds halves up.
        wanted = {f"{score + 1e-9:.2f}" for one in rows for score in one["step_accuracy"]}
    assert {one.rpartition("accuracy (%) ")[2] for one in points} == wanted
    assert not [one for one in said if one.startswith("Y-axis")]


@pytest.mark.parametrize(
    ("name", "field", "is_time"),
    [("energy", "energy_pj", False), ("timesteps", "T", True), ("latency", "latency_ms", True)],
)
def test_a_front_is_drawn_over_every_cost(name: str, field: str, *, is_time: bool) -> None:
    rows = [
        {"accuracy": good, "accuracy_low": good, "accuracy_high": good, "T": 1}
        | {field: cost, "track": "scratch", "method": "", "label": "one", "name": "one"}
        | {"rated": True}
        for cost, good in ((1, 80), (2, 90), (4, 85), (8, 95), (8, 70))
    ]
    # A network of spike times has one step, which is no time.
    rows.append(rows[3] | {field: 1, "track": "continuous"})
    scene = vl_convert.vega_to_scenegraph(figures._filled(BY_NAME[name], rows))["scenegraph"]
    assert len(figures._items(scene, "layer_0_marks")) == (3 if is_time else 1)


def test_ranks_at_two_budgets_and_how_alike_their_orders_are(
    tables: dict[figures.Source, list[dict[str, Any]]],
) -> None:
    found = tables["budgets"]
    assert len(found) == METHODS
    assert {(one["first"], one["second"], one["T"]) for one in found} == {("default", "longer", 4)}
    moved = [one for one in found if one["rank_first"] != one["rank_second"]]
    assert sorted((one["rank_first"], one["rank_second"]) for one in moved) == [(44, 45), (45, 44)]
    # One of 45 * 44 / 2 = 990 pairs is the other way round: (989 - 1) / 990.
    (tau,) = {one["tau"] for one in found}
    assert tau == pytest.approx(988 / 990, rel=1e-4)
    shown = figures.chosen(BY_NAME["budgets"], tables)
    told = "tiny, T = 4, default to longer: tau 1.00 over 45 methods"
    assert told in texts(BY_NAME["budgets"], shown)


def test_ranks_are_shared_and_two_budgets_need_three_methods() -> None:
    same = [right(name, count, timesteps=4) for name, count in (("a", 9), ("b", 9), ("c", 8))]
    small = [with_metrics(row, train_samples=300) for row in same]
    board = leaderboard([*small, *larger({"a": 9, "b": 7, "c": 8})], suite=SUITE)
    found = {one["method"]: one for one in records.budgets(board)}
    assert {name: one["rank_first"] for name, one in found.items()} == {"a": 1.5, "b": 1.5, "c": 3}
    assert {name: one["rank_second"] for name, one in found.items()} == {"a": 1, "b": 2, "c": 3}
    board = leaderboard([*small[:2], *larger({"a": 9, "b": 7})], suite=SUITE)
    assert records.budgets(board) == []
    # The same budget under two names orders nothing by budget.
    assert records.budgets(leaderboard(small, suite=SUITE)) == []


def test_energies_are_one_a_line_and_model_that_has_one(
    tables: dict[figures.Source, list[dict[str, Any]]],
) -> None:
    board = leaderboard(board_rows(), suite=SUITE, teachers=[teacher()])
    models = records.energy_models(board)
    found = records.energies(records.lines(board), models)
    assert "broken" not in {one["method"] for one in found}
    usual = [one for one in found if one["energy_model"] == "horowitz_45nm_fp32:cached"]
    assert {one["method"]: one["energy"] for one in usual}["better"] == 60.4
    assert all(one["energy"] > 0 for one in tables["energies"])


def test_a_reconstructed_method_is_marked_in_figures() -> None:
    board = leaderboard([right("bsd", 360), right("direct", 361)], suite=SUITE)
    labels = {one["method"]: (one["label"], one["name"]) for one in records.lines(board)}
    assert labels == {"bsd": ("bsd †", "bsd †, T=2"), "direct": ("direct", "direct, T=2")}
