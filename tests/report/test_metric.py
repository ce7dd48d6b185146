"""A board says what its scores are, everywhere, and what it says of accuracy is of accuracies."""

import re
from pathlib import Path

from harness import report
from harness.engine.glance import table
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


def test_scores_that_lie_close_together_have_ticks_between_them(tmp_path: Path) -> None:
    near = {"score": 0.45, "score_low": 0.42, "score_high": 0.48}
    rows = [
        with_metrics(row, **near, score_by_step=None) if row.metrics else row
        for row in board_rows()
    ]
    paths = report.write_board(board(rows), tmp_path, command="again", figures="svg")
    [figure] = [path.read_text() for path in paths if path.name == "energy.svg"]
    assert ">45<" in figure
