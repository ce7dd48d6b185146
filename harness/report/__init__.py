"""Leaderboards, from rows alone: what a reader, a spreadsheet and a program need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.contracts.record import Row
from harness.report._groups import Group, Leaderboard, Setting, leaderboard
from harness.report._markdown import render
from harness.report._tables import to_csv, to_json
from harness.store import write_atomically

__all__ = ["Group", "Leaderboard", "Setting", "leaderboard", "render", "to_csv", "to_json", "write"]


def write(
    rows: Iterable[Row | Mapping[str, Any]],
    folder: Path,
    /,
    *,
    command: str,
    baseline: str,
    remarks: Mapping[str, str],
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv`` and ``.json`` into ``folder``; return their paths.

    The same rows, in whatever order, give the same bytes.

    Args:
        rows: Rows, or their columns.
        folder: Made if it does not exist.
        command: What regenerates the page, printed on it.
        baseline: The method over which gains are counted.
        remarks: By method, what a reader must know of its numbers.

    Raises:
        SpecError: If there is no row, or a cell occurs twice.
        StoreError: If the disk refuses.
    """
    board = leaderboard(rows, baseline=baseline)
    texts = {
        "leaderboard.md": render(board, command=command, remarks=remarks),
        "leaderboard.csv": to_csv(board),
        "leaderboard.json": to_json(board, command=command),
    }
    for name, text in texts.items():
        _put(folder / name, text.encode())
    return [folder / name for name in texts]


def _put(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))
