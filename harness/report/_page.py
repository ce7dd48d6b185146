"""The page people look at: one file, which asks nothing of a network."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

import vl_convert

from harness.report import _figures as figures
from harness.report import _records as records
from harness.report import boxes, claims
from harness.report._answers import usual_energy
from harness.report._board import Leaderboard
from harness.report._markdown import circumstances, notes_of, supported
from harness.report._words import of_metric, visible

# key, title, help; then options: text (another key that says it), number, counted, hidden.
_Column = tuple[str, str, str, dict[str, Any]]
_NUMBER = {"number": True}
_COUNTED = {"number": True, "counted": True}
_HIDDEN = {"hidden": True}
# Only where videos are shown frame by frame.
_ONLINE: list[_Column] = [
    (
        "frame_operations",
        "operations a frame",
        "Synaptic operations of a frame of a video shown frame by frame, what is past carried.",
        _COUNTED,
    ),
    ("frame_ms", "frame (ms)", "Median wall clock of such a frame.", _NUMBER),
]
COLUMNS: tuple[_Column, ...] = (
    ("method", "method", "Its file under suites/methods, with parameters where they differ.", {}),
    ("whose", "whose", "Yours, made here; merged from elsewhere; or published.", {}),
    (
        "trust",
        "trust",
        (
            "Claimed: merged from elsewhere. Verified: likewise, and computed again from its "
            "weights. Here: a run of yours made it. The least of its rows'."
        ),
        {},
    ),
    (
        "track",
        "track",
        (
            "What the student is given: labels and a teacher's answers (scratch), the teacher's "
            "weights at the start (inherited), its weights without a gradient through spikes "
            "(conversion), no larger teacher (self), spike times instead of steps (continuous). "
            "Methods are compared within their track."
        ),
        {},
    ),
    ("loss", "loss", "Exact: the authors' formulas and constants; else reconstructed.", _HIDDEN),
    ("model", "student", "Its network, a file under suites/models.", {}),
    ("budget", "budget", "The training budget, one of the suite's recipes.", {}),
    ("T", "T", "Timesteps of one inference.", _NUMBER),
    ("simulator", "simulator", "What the student was trained and measured on.", {}),
    (
        "accuracy",
        "accuracy (%)",
        (
            "On the test split after the last epoch: mean over seeds, plus or minus half of its "
            "95 % Student t interval."
        ),
        {"number": True, "text": "accuracy_text"},
    ),
    (
        "group",
        "group",
        (
            "No method of the track in this table is significantly better than group 1 (paired t "
            "tests over seeds, Holm over all pairs, 5 %); and so on. Below five seeds provisional."
        ),
        _NUMBER,
    ),
    (
        "gain",
        "over baseline (points)",
        (
            "Mean difference to the track's baseline, seed by seed, in percentage points, plus or "
            "minus half of its 95 % interval."
        ),
        {"number": True, "text": "gain_text"},
    ),
    (
        "verdict",
        "verdict",
        "Within noise: that interval includes 0. A question mark: fewer than five seeds.",
        {},
    ),
    (
        "p_holm",
        "p (Holm)",
        "Of that difference, adjusted for the track.",
        _NUMBER,
    ),
    (
        "energy_nj",
        "energy estimate (nJ)",
        (
            "Of a sample, by the chosen model, priced from the counts. Compare methods, not "
            "joules. Unknown where the model has no price for something that ran."
        ),
        _NUMBER,
    ),
    ("latency_ms", "latency (ms)", "Median wall clock of one sample.", _NUMBER),
    (
        "best",
        "P(best)",
        "How often it has the highest mean of its track when seeds are drawn anew; six or more.",
        _NUMBER | _HIDDEN,
    ),
    (
        "agreement",
        "agreement (%)",
        "Test samples on which student and teacher decide alike.",
        _NUMBER | _HIDDEN,
    ),
    (
        "settling",
        "settling (steps)",
        "Steps after which a sample's decision no longer changes, on average.",
        _NUMBER | _HIDDEN,
    ),
    ("spikes", "spikes", "Of all neurons, a sample.", _COUNTED),
    ("rate", "firing rate", "Spikes a neuron and step.", _NUMBER | _HIDDEN),
    ("ac", "AC", "Accumulates a sample: a weight added because a spike arrived.", _COUNTED),
    (
        "mac",
        "MAC",
        "Multiply-accumulates a sample, by values that are not zero, as they ran.",
        _COUNTED,
    ),
    ("train_s", "training (s)", "Wall clock of the training.", _NUMBER | _HIDDEN),
    (
        "given",
        "given",
        (
            "What the student had beyond labels and the budget: what of a teacher and how often "
            "it answered, its weights, modules trained beside it, passes for another network, "
            "and values that are neither the suite's nor the method's default."
        ),
        {},
    ),
    (
        "cost",
        "training (times)",
        "That over the suite's baseline's on the same kind of machine.",
        _NUMBER,
    ),
    (
        "energy_cost",
        "energy (times)",
        "The energy estimate by the usual model over the suite's baseline's.",
        _NUMBER,
    ),
    ("memory_mb", "memory (MB)", "Peak, of the process or the device.", _NUMBER | _HIDDEN),
    (
        "parameters",
        "parameters",
        "Trainable numbers of the student at inference.",
        _COUNTED | _HIDDEN,
    ),
    ("outcome", "seeds", "With a number, of those asked for, and what became of the others.", {}),
)
_GENERAL = (
    ("row", "A method on one simulator at one T, over its seeds."),
    ("—", "Unknown, never zero. A sign \u2265: something was not counted, so it is at least that."),
    ("points", "Percentage points."),
)

_SOMETIMES = ("whose", "trust", "model", "budget")
_OTHERS_SHOWN = 3
_OF_FIGURES = ("name", "title", "caption", "source", "spec", "least")


def page(board: Leaderboard, /, *, command: str, figures_in: Path | None = None) -> str:
    """Return the page; the same rows, pictures, prices and libraries give the same bytes.

    Args:
        board: What it shows.
        command: What it says it is regenerated with.
        figures_in: Where pictures of boxes lie, if anywhere.
    """
    own = resources.files("harness.report")
    parts = {
        "title": html.escape(f"Leaderboard: {board.suite.title}"),
        "caution": _paragraph(board.suite.caution, "caution"),
        "power": _plain(supported(board)),
        "help": _definitions(board),
        "circumstances": "".join(_list(circumstances(setting)) for setting in board.settings),
        "boxes": boxes.section(board, figures_in),
        "claims": _claims(board),
        "notes": _list(notes_of(board)),
        "command": html.escape(command),
        "data": _data(board),
        "table_css": _table("css"),
        "css": own.joinpath("_page.css").read_text("utf-8"),
        "figures_js": _figures_script(),
        "table_js": _table_script(),
        "js": own.joinpath("_page.js").read_text("utf-8"),
    }
    shell = Template(own.joinpath("_page.html").read_text("utf-8"))
    return of_metric(shell.substitute(parts), board.metric, board.scale)


def _claims(board: Leaderboard) -> str:
    """Return what papers claim and what came of it; what is not about these data in a sentence."""
    held = claims.of_board(board)
    here, elsewhere = claims.on_data(held), claims.off_data(held)
    if not held:
        return "<p>No method here has a published result in its file.</p>"
    told = [claims.summary(held), *([claims.explanation()] if here else []), elsewhere]
    paragraphs = "".join(f"<p>{_plain(text)}</p>" for text in told if text)
    return paragraphs + (_claims_table(here) if here else "")


def _claims_table(held: Sequence[claims.Held]) -> str:
    columns = claims.columns()
    head = "".join(f'<th scope="col">{_plain(column.title)}</th>' for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_plain(column.text(one))}</td>' for column in columns)}</tr>"
        for one in held
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0" role="group" aria-label="Claims">{table}</div>'


def _plain(markdown: str) -> str:
    """Return what Markdown's signs mark as text of a page."""
    return html.escape(visible(re.sub(r"\\([\\`*\[\]<>])|[`*]", r"\1", markdown)))


def _data(board: Leaderboard) -> str:
    tables = figures.tables(board)
    models = records.energy_models(board)
    cells, made = records.cells(board)
    usual = usual_energy(models)
    drawable = [
        one
        for one in figures.figures(board.scale)
        if not figures.is_empty(one, figures.chosen(one, tables))
    ]
    lines = tables["lines"]
    said = {key for key in ("model", "budget") if len({line[key] for line in lines}) > 1}
    said |= {"whose"} if any(line["whose"] == "yours" for line in lines) else set()
    said |= {"trust"} if any(line["trust"] in ("claimed", "verified") for line in lines) else set()
    whole: dict[str, Any] = {
        # Energies are in the lines, and the page takes them from there.
        **{source: _columnar(rows) for source, rows in tables.items() if source != "energies"},
        "columns": [
            {"key": key, "title": title, **options}
            for key, title, _, options in _columns(board)
            if key not in _SOMETIMES or key in said
        ],
        "models": models,
        "usual": usual,
        "cells": _columnar(cells),
        "made": made,
        "remarks": board.suite.remarks,
        "figures": [
            {name: getattr(one, name) for name in _OF_FIGURES}
            | {"spec": {**one.spec, "legends": figures.legends(one, tables[one.source])}}
            for one in drawable
        ],
    }
    text = json.dumps(whole, separators=(",", ":"), allow_nan=False)
    # ASCII, and nothing that could end the element it stands in.
    return text.replace("<", "\\u003c")


def _columnar(rows: Sequence[records.Record]) -> dict[str, list[Any]]:
    """Return an array a field, so that its name is written once; what a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _columns(board: Leaderboard) -> list[_Column]:
    """Return the columns, the task's other metrics after its headline: shown if they are few."""
    names = records.further(board)
    hidden = _HIDDEN if len(names) > _OTHERS_SHOWN else {}
    others: list[_Column] = [
        (
            f"further_{place}",
            f"{name}, %",
            "Another metric of the task (docs/tasks.md): mean over seeds.",
            _NUMBER | hidden,
        )
        for place, name in enumerate(names)
    ]
    lines = (line for setting in board.settings for line in setting.lines)
    online = any(line.is_online for line in lines)
    after = 1 + next(place for place, column in enumerate(COLUMNS) if column[0] == "accuracy")
    return [*COLUMNS[:after], *others, *(_ONLINE if online else ()), *COLUMNS[after:]]


def _definitions(board: Leaderboard) -> str:
    general = [one for one in _GENERAL if one[0] != "points" or board.scale.is_fraction]
    told = [*general, *((title, words) for _, title, words, _ in _columns(board))]
    entries = (
        f"<dt>{html.escape(title)}</dt><dd>{html.escape(words)}</dd>" for title, words in told
    )
    return f"<dl>{''.join(entries)}</dl>"


def _paragraph(text: str, kind: str) -> str:
    coded = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(visible(text)))
    return f'<p class="{kind}">{coded}</p>' if text else ""


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(visible(line))}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else "<p>None.</p>"


@cache
def _figures_script() -> str:
    return _inline(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _table_script() -> str:
    """Return DataTables as itables bundles it, its export made a global of the page."""
    text, found = re.subn(
        r"export\{[^}]*?(\w+) as default[^}]*\}", r"window.DataTable=\1", _table("js")
    )
    if found != 1:
        version = metadata.version("itables")
        raise RuntimeError(
            f"itables {version} exports its table otherwise; take the locked version"
        )
    return _inline(text)


@cache
def _table(kind: str) -> str:
    # Found without an import, for itables imports pandas.
    path = metadata.distribution("itables").locate_file(f"itables/html/dt_bundle.{kind}")
    return Path(str(path)).read_text("utf-8")


def _inline(script: str) -> str:
    return script.replace("</script", "<\\/script")
