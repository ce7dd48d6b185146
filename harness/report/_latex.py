"""The leaderboard for a paper: accuracies over T, with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.report import _words as words
from harness.report._board import Leaderboard, Line, Setting

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "$&#_%"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_ANY = re.compile("|".join(map(re.escape, _SPECIAL)))


def to_latex(board: Leaderboard, /, *, command: str) -> str:
    r"""Return a ``tabular`` a section, for ``\usepackage{booktabs}``; a dash is unknown."""
    parts = [f"% {_escaped(command)}", *(_tabular(setting) for setting in board.settings)]
    return words.of_metric("\n\n".join(parts), board.metric, board.scale) + "\n"


def _tabular(setting: Setting) -> str:
    cell, shown = setting.cell, setting.together
    steps = sorted({line.timesteps for line in shown.lines})
    rows: dict[tuple[str, str, str], dict[int, Line]] = {}
    for line in shown.lines:
        rows.setdefault((line.track, line.method, line.backend), {})[line.timesteps] = line
    where = ", ".join(map(_escaped, (cell.dataset, cell.model, cell.recipe_name)))
    lines = [
        f"% {where}: test accuracy in per cent, mean and half of the 95 % t interval over seeds",
        rf"\begin{{tabular}}{{lll{'r' * len(steps)}}}",
        r"\toprule",
        _row(["track", "method", "simulator", *(f"$T={step}$" for step in steps)]),
        r"\midrule",
        *(
            _row([*map(_escaped, key), *(_accuracy(found.get(step)) for step in steps)])
            for key, found in rows.items()
        ),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _accuracy(line: Line | None) -> str:
    if line is None or line.accuracy is None:
        return "--"
    told = line.told.replace("±", r"\pm")
    lacking = "" if len(line.answers) == len(line.asked) else rf"\,({line.outcome()})"
    number = rf"\mathbf{{{told}}}" if line.is_first else told
    return f"${number}${lacking}"


def _escaped(text: str) -> str:
    return _ANY.sub(lambda found: _SPECIAL[found[0]], " ".join(text.split()))
