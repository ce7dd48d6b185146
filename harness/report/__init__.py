"""Leaderboards, from rows alone: what a reader, a spreadsheet and a program need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.contracts.row import Row
from harness.contracts.suite import Suite
from harness.report._board import Leaderboard, Line, Setting, leaderboard
from harness.report._markdown import render
from harness.report._tables import to_csv, to_json
from harness.report._words import visible
from harness.store import write_text

__all__ = ["Leaderboard", "Line", "Setting", "leaderboard", "render", "to_csv", "to_json", "write"]


def write(
    rows: Iterable[Row], folder: Path, /, *, teachers: Sequence[Row], command: str, suite: Suite
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv`` and ``.json`` into ``folder``; return their paths.

    The same rows, in whatever order, give the same bytes at the same energy prices.

    Args:
        rows: Of ``suite``.
        folder: Made if it does not exist.
        teachers: The rows of the teachers that ``rows`` name.
        command: What the page says it is regenerated with.
        suite: What was asked.

    Raises:
        SpecError: If there is no row, or a cell occurs twice.
        StoreError: If the disk refuses.
    """
    board = leaderboard(rows, suite=suite, teachers=teachers)
    texts = {
        "leaderboard.md": render(board, command=command),
        "leaderboard.csv": to_csv(board),
        "leaderboard.json": to_json(board, command=command),
    }
    for name, text in texts.items():
        write_text(folder / name, visible(text))
    return [folder / name for name in texts]
