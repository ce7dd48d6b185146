"""A board says what its scores are, everywhere, and what it says of accuracy is of accuracies."""

import csv
import json
import math
import re
from io import StringIO
from pathlib import Path

import pytest

from harness import report
from harness.contracts.row import Row
from harness.contracts.task import Scale
from harness.engine import glance
from harness.engine.glance import table
from harness.report.pareto import pareto, to_markdown
from tests.report.rows import board_rows, with_metrics
from tests.report.test_leaderboard import board


def test_every_table_and_figure_names_the_metric_of_the_task(tmp_path: Path) -> None:
    rows = [with_metrics(row, metric="mAP") if row.metrics else row for row in board_rows()]
    found = board(rows)
    assert found.metric == "mAP"
    paths = report.write_board(found, tmp_path, command="again", page=True, figures="svg")
    texts = {path.name: path.read_text() for path in paths}
    assert "mAP in per cent after the last epoch" in texts["leaderboard.md"]
    assert ": mAP in per cent, mean and half" in texts["leaderboard.tex"]
    assert "mAP (%)" in texts["leaderboard.html"]
    assert ">mAP (%)<" in texts["energy.svg"]
    claimed = re.compile(r"accuracy (\(%\)|%|against|in per cent)", re.IGNORECASE)
    assert not [name for name, text in texts.items() if claimed.search(text)]
    assert table(rows)[0].split()[:2] == ["mAP", "%"]
    assert "interval half-width" in texts["leaderboard.md"]
    assert "Wilson" not in texts["leaderboard.md"]
    assert " mAP % |" in to_markdown(found, pareto(found, "operations"), "operations")
    head, first, *_ = csv.DictReader(StringIO(texts["leaderboard.csv"]))
    assert (first["metric"], first["unit"]) == ("mAP", "%")
    assert not [name for name in head if "wilson" in name]


def test_the_tasks_other_metrics_stand_in_every_table_under_their_names(tmp_path: Path) -> None:
    rows = [
        with_metrics(row, metric="EAO", further={"accuracy": 0.5 + row.cell.seed / 100})
        if row.metrics
        else row
        for row in board_rows()
    ]
    paths = report.write_board(board(rows), tmp_path, command="again", page=True)
    texts = {path.suffix: path.read_text() for path in paths}
    # Seeds 0, 1, 2 of three: 50, 51 and 52 %, t = 4.303, s / sqrt(3) = 0.577.
    assert "| T | simulator | method | accuracy, % |" in texts[".md"]
    assert "| 2 | alpha | direct | 51.0 ± 2.5 |" in texts[".md"]
    assert texts[".csv"].splitlines()[0].count("accuracy_mean") == 1
    [line, *_] = [
        line
        for setting in json.loads(texts[".json"])["settings"]
        for line in setting["lines"]
        if line["method"] == "direct"
    ]
    assert line["further"]["accuracy"]["mean"] == pytest.approx(0.51)
    assert '"key":"further_0","title":"accuracy, %"' in texts[".html"]
    assert "Other metrics" not in words_of_a_board_without_any(tmp_path / "none")


def test_what_a_frame_costs_stands_where_videos_are_shown_frame_by_frame(tmp_path: Path) -> None:
    online = {
        "operations_a_frame": 1500.0,
        "operations_a_window": 45_000.0,
        "latency_ms_frame": 2.5,
        "latency_ms_frame_iqr": 0.25,
        "latency_ms_b1": 40.0,
    }
    rows = [with_metrics(row, **online) if row.metrics else row for row in board_rows()]
    paths = report.write_board(board(rows), tmp_path, command="again", page=True)
    texts = {path.suffix: path.read_text() for path in paths}
    section = texts[".md"].partition("### Frame by frame")[2]
    assert "| operations a frame | operations a window | ms a frame | ms a window |" in section
    assert "| 2 | alpha | direct | 1.5 k | 45 k | 2.5 | 40 |" in section
    assert "operations_a_frame,operations_a_window,latency_ms_b1" in texts[".csv"]
    assert '"latency_ms_frame": 2.5' in texts[".json"]
    assert '"key":"frame_operations","title":"operations a frame"' in texts[".html"]
    assert '"frame_ms":[2.5,' in texts[".html"]
    plain = report.write_board(board(board_rows()), tmp_path / "plain", command="", page=True)
    told = "".join(path.read_text() for path in plain)
    assert not [word for word in ("a frame", "a_frame", "frame_ms") if word in told]


def words_of_a_board_without_any(folder: Path) -> str:
    return "".join(
        path.read_text()
        for path in report.write_board(board(board_rows()), folder, command="again")
    )


PIXELS = Scale(unit="px", higher_is_better=False, most=None)
ERRORS = Scale(higher_is_better=False)


def turned(row: Row, name: str, scale: Scale, times: float = 1.0) -> Row:
    """Return a row that says ``times (1 - score)`` where ``row`` says ``score``."""
    if row.metrics is None:
        return row
    told = row.metrics
    return with_metrics(
        row,
        metric=name,
        scale=scale,
        score=times * (1 - told.score),
        score_low=times * (1 - told.score_high),
        score_high=times * (1 - told.score_low),
        score_by_step=tuple(times * (1 - one) for one in told.score_by_step or ()),
        teacher_score=times * (1 - told.teacher_score) if told.teacher_score else None,
        cross_backend={},
    )


def test_a_board_of_errors_says_of_methods_what_one_of_accuracies_says() -> None:
    straight, of_errors = board_rows(), [turned(row, "error", ERRORS) for row in board_rows()]
    one, other = board(straight), board(of_errors)
    for ours, theirs in zip(one.settings[0].lines, other.settings[0].lines, strict=True):
        assert (ours.method, ours.group, ours.best) == (theirs.method, theirs.group, theirs.best)
        assert ours.merit == pytest.approx(theirs.merit + 1) or math.isinf(ours.merit)
        if ours.gain and theirs.gain:
            assert ours.gain.verdict == theirs.gain.verdict
            assert ours.gain.difference.value == pytest.approx(theirs.gain.difference.value)
    assert other.settings[0].lines[0].method == "better"
    for mine, others in zip(one.rankings.values(), other.rankings.values(), strict=True):
        assert mine.mean_ranks == others.mean_ranks
    front = [[point.on_front for point in pareto(each, "energy")] for each in (one, other)]
    assert front[0] == front[1]
    first, *_ = (line.split() for line in table(of_errors)[1:])
    assert first[:2] == ["better", "6.9"]
    assert glance.best(of_errors, [(2, 1)], many=2) == glance.best(straight, [(2, 1)], many=2)


def test_a_metric_in_pixels_of_which_less_is_better_is_told_so_everywhere(tmp_path: Path) -> None:
    rows = [turned(row, "distance", PIXELS, times=20) for row in board_rows()]
    paths = report.write_board(board(rows), tmp_path, command="again", page=True, figures="svg")
    texts = {path.name: path.read_text() for path in paths}
    page = texts["leaderboard.md"]
    assert "distance in px after the last epoch" in page
    assert "Of distance less is better: a gain is what a method has less" in page
    assert ", test distance 0.2 px" in page
    # Seeds 0, 1, 2 of 372, 374 and 374 right: 20 (1 - mean / 400); t = 4.303, s = 0.0577.
    assert "| better | 1.33 ± 0.14 |" in page
    # 12, 13 and 12 more right: 20 times 0.0308, and half of the interval.
    assert "| +0.62 ± 0.07 | better?" in page
    assert page.index("| better | 1.33") < page.index("| direct | 1.95")
    assert ">distance (px)<" in texts["energy.svg"]
    heights = {name: _height(texts["energy.svg"], name) for name in ("better", "noisy")}
    assert heights["better"] < heights["noisy"]  # what is better stands higher
    assert '"title":"over baseline (px)"' in texts["leaderboard.html"]
    assert "Percentage points" not in texts["leaderboard.html"]
    assert json.loads(texts["leaderboard.json"])["settings"][0]["shared"]["scale"]["unit"] == "px"
    assert ": distance in px, mean and half" in texts["leaderboard.tex"]
    claimed = re.compile(
        r"(accuracy|distance) (\(%\)|%|in per cent)|logarithm of the error", re.IGNORECASE
    )
    assert not [name for name, text in texts.items() if claimed.search(text)]
    assert table(rows)[0].split()[:2] == ["distance", "px"]


def _height(figure: str, name: str) -> float:
    """Return how far from the top a figure has a name."""
    [found] = re.findall(rf'translate\([0-9.]+,([0-9.]+)\)"[^>]*>{name}, T=2<', figure)[:1]
    return float(found)


def test_scores_that_lie_close_together_have_ticks_between_them(tmp_path: Path) -> None:
    near = {"score": 0.45, "score_low": 0.42, "score_high": 0.48}
    rows = [
        with_metrics(row, **near, score_by_step=None) if row.metrics else row
        for row in board_rows()
    ]
    paths = report.write_board(board(rows), tmp_path, command="again", figures="svg")
    [figure] = [path.read_text() for path in paths if path.name == "energy.svg"]
    assert ">45<" in figure
