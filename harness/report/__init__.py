"""Leaderboards, from rows alone: what a reader, a spreadsheet, a paper and a program need."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness.contracts.errors import SpecError
from harness.report._board import Leaderboard, Line, Setting, leaderboard
from harness.report._latex import to_latex
from harness.report._markdown import Group, remarks, render
from harness.report._tables import to_csv, to_json
from harness.report._words import visible
from harness.report.claims import hold
from harness.store import write_bytes, write_text

Kind = Literal["svg", "png", "pdf"]
FIGURES = "figures"  # the folder of a board's figures, beside its tables
__all__ = [
    "FIGURES",
    "Group",
    "Kind",
    "Leaderboard",
    "Line",
    "Setting",
    "hold",
    "leaderboard",
    "remarks",
    "render",
    "to_csv",
    "to_html",
    "to_json",
    "to_latex",
    "visible",
    "write_board",
    "write_figure",
    "write_figures",
]


def to_html(board: Leaderboard, /, *, command: str, figures_in: Path | None = None) -> str:
    """Return the page that needs no network: a table, figures, and all of every row.

    It holds the picture of boxes that lies in ``figures_in``.
    """
    from harness.report._page import page  # its libraries cost the command line a second

    return page(board, command=command, figures_in=figures_in)


def write_board(
    board: Leaderboard,
    folder: Path,
    /,
    *,
    command: str,
    page: bool = False,
    figures: Kind | None = None,
    group: Group | None = None,
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv``, ``.json`` and ``.tex``; return their paths.

    The same rows, in whatever order, give the same bytes at the same energy prices; a page, at
    the same versions of its libraries.

    Args:
        board: What they show.
        folder: Made if it does not exist.
        command: What the page says it is regenerated with.
        page: Whether to write ``leaderboard.html``, too.
        figures: As what to write figures into ``figures/``, if at all.
        group: What has a table each in ``leaderboard.md``, instead of T and simulator.

    Raises:
        StoreError: If the disk refuses.
    """
    texts = {
        "leaderboard.md": render(board, command=command, group=group),
        "leaderboard.csv": to_csv(board),
        "leaderboard.json": to_json(board, command=command),
        "leaderboard.tex": to_latex(board, command=command),
    }
    if page:
        texts["leaderboard.html"] = to_html(board, command=command, figures_in=folder / FIGURES)
    for name, text in texts.items():
        # A page says the same of its own, and its libraries are no words of ours.
        write_text(folder / name, text if name.endswith(".html") else visible(text))
    drawn = write_figures(board, folder / FIGURES, kind=figures) if figures else []
    return [*(folder / name for name in texts), *drawn]


def write_figures(board: Leaderboard, folder: Path, /, *, kind: Kind) -> list[Path]:
    """Write every figure that ``board`` has something for; return their paths.

    Raises:
        StoreError: If the disk refuses.
    """
    from harness.report import _figures as figures

    tables = figures.tables(board)
    paths = []
    for figure in figures.figures(board.scale):
        rows = figures.chosen(figure, tables)
        if figures.is_empty(figure, rows):
            continue
        paths.append(folder / f"{figure.name}.{kind}")
        write_bytes(
            paths[-1], figures.render(figure, rows, kind, metric=board.metric, scale=board.scale)
        )
    return paths


def write_figure(
    board: Leaderboard, name: str, path: Path, /, *, kind: Kind, energy_model: str | None = None
) -> None:
    """Write one figure of a board.

    Args:
        board: What it shows.
        name: Which.
        path: Of the file.
        kind: As what.
        energy_model: Whose energies it shows; None is the usual one's.

    Raises:
        SpecError: If nothing on the board has all that it draws.
        StoreError: If the disk refuses.
    """
    from harness.report import _figures as figures

    figure = next(one for one in figures.figures(board.scale) if one.name == name)
    rows = figures.chosen(figure, figures.tables(board, energy_model=energy_model))
    if figures.is_empty(figure, rows):
        raise SpecError(f"no row has what {figure.title.lower()} shows; there is nothing to draw")
    write_bytes(path, figures.render(figure, rows, kind, metric=board.metric, scale=board.scale))
