"""What figures draw: every axis with its unit, the front, names that do not overlap."""

from collections.abc import Iterator
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
from tests.report.rows import SUITE, board_rows, right, teacher, with_metrics, wrong

METHODS = 45
BY_NAME = {figure.name: figure for figure in figures.figures()}
OKABE_AND_ITO = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999"}
# Axes of names, which have no unit.
NAMED = {"ranks": {"y"}, "rates": {"y"}, "simulators": {"y"}, "energy_models": {"x", "y"}}


def crowd() -> list[Row]:
    """Return 45 methods of accuracies and costs so alike that not all names have room."""
    methods = ["direct", *(f"method_number_{n}" for n in range(1, METHODS))]
    return [
        with_metrics(right(name, 340 + (7 * n) % 45 + seed, spikes=3 + n % 9, **where), **times)
        for n, name in enumerate(methods)
        for seed in range(3)
        for backend in ("alpha", "beta")
        for steps in (2, 4)
        for where in [{"seed": seed, "backend": backend, "timesteps": steps}]
        for times in [{"train_seconds": 1.0 + n % 5, "latency_ms_b1": 1.0 + n % 7}]
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
    units = {"energy": "pJ", "latency": "ms", "gain_cost": "log scale", "simulators": "points"}
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
    if "y" in NAMED.get(figure.name, ()) and figure.name != "energy_models":
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
    assert len(dots) == len(rows)
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
        | {"track": "scratch", "name": "", "method": "", "T": 1, "simulator": ""}
        for cost, good in points
    ]
    front = [
        (cost, good)
        for cost, good in points
        if not any(
            other != (cost, good) and other[0] <= cost and other[1] >= good for other in points
        )
    ]
    scene = vl_convert.vega_to_scenegraph(figures._filled(figure, rows))["scenegraph"]
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
    assert len(tables["lines"]) == 4 * METHODS
    assert len(figures.chosen(BY_NAME["energy"], tables)) == 2 * METHODS
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


@pytest.mark.parametrize("name", ["energy", "gain_cost"])
def test_a_ring_marks_ones_own(name: str) -> None:
    rows = [right("direct", 360, spikes=5), right("better", 372, spikes=4)]
    board = leaderboard(rows, suite=SUITE, mine={rows[1].cell_id})
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
