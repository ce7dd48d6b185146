"""All leaderboards and documents as a folder for static hosting.

``python -m harness.report.site [FOLDER]``, from the project's root.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from markdown_it import MarkdownIt
from markdown_it.token import Token

from harness import discovery
from harness.contracts.suite import Suite
from harness.report._words import visible
from harness.store import write_text

_STYLE = """\
:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; font: 1rem/1.55 system-ui, sans-serif; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #8886; text-align: left; }
pre { overflow-x: auto; padding: .6rem; background: #8882; }
code { overflow-wrap: anywhere; }
"""
_SHELL = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body>{home}<main>{body}</main></body></html>
"""


def build(root: Path, folder: Path, /) -> list[Path]:
    """Write an index, every published leaderboard and every document; return what was written.

    Args:
        root: Of the project, with ``results/``, ``docs/`` and the documents beside them.
        folder: Made if it does not exist; files of the same names are replaced.

    Raises:
        StoreError: If the disk refuses.
    """
    boards = sorted(file.parent for file in root.glob("results/*/leaderboard.md"))
    written = [_copied(file, root, folder) for board in boards for file in _files(board)]
    for source in [*_documents(root), *_readable(boards)]:
        place = source.relative_to(root)
        written.append(folder / place.with_suffix(".html"))
        write_text(written[-1], _document(source, up="../" * (len(place.parts) - 1)))
    write_text(folder / "index.html", _index(boards, root))
    return [folder / "index.html", *written]


def _documents(root: Path) -> list[Path]:
    return [*sorted(root.glob("*.md")), *sorted(root.glob("docs/*.md"))]


def _readable(boards: Iterable[Path]) -> list[Path]:
    """Return the tables of boards that have no page of their own."""
    return [
        board / "leaderboard.md" for board in boards if not (board / "leaderboard.html").exists()
    ]


def _files(board: Path) -> list[Path]:
    return sorted([*board.glob("leaderboard.*"), *board.glob("figures/*")])


def _copied(file: Path, root: Path, folder: Path) -> Path:
    target = folder / file.relative_to(root)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    return target


def _index(boards: Sequence[Path], root: Path) -> str:
    links = "".join(_board(board) for board in boards)
    documents = "".join(
        f'<li><a href="{file.relative_to(root).with_suffix(".html")}">{_title(file)}</a></li>'
        for file in _documents(root)
    )
    body = (
        f"<h1>SNN Distill Bench</h1><h2>Leaderboards</h2><ul>{links}</ul>"
        f"<h2>Documents</h2><ul>{documents}</ul>"
    )
    return _SHELL.format(title="SNN Distill Bench", style=_STYLE, home="", body=body)


def _board(board: Path) -> str:
    known = board.name in discovery.names("suites")
    suite = cast(Suite, discovery.load("suites", board.name)) if known else None
    title = html.escape(visible(suite.title if suite else board.name))
    caution = (
        f"<br><strong>{html.escape(visible(suite.caution))}</strong>"
        if suite and suite.caution
        else ""
    )
    others = ", ".join(
        f'<a href="results/{board.name}/{file.name}">{file.suffix[1:]}</a>'
        for file in sorted(board.glob("leaderboard.*"))
        if file.suffix != ".html"
    )
    page = f'<a href="results/{board.name}/leaderboard.html">{title}</a>'
    return f"<li>{page} ({others}){caution}</li>"


def _title(file: Path) -> str:
    first = file.read_text("utf-8").partition("\n")[0]
    return html.escape(first.lstrip("# ") or file.stem)


def _document(source: Path, *, up: str) -> str:
    """Return a Markdown file as a page, its links to others of its kind with them."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(source.read_text("utf-8"))
    for token, text in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and text is not None:
            token.attrSet("id", _anchor(text.content))
        for inner in token.children or ():
            _to_page(inner)
    body = reader.renderer.render(tokens, reader.options, {})
    home = f'<nav><a href="{up}index.html">SNN Distill Bench</a></nav>'
    return _SHELL.format(title=_title(source), style=_STYLE, home=home, body=body)


def _to_page(token: Token) -> None:
    href = str(token.attrGet("href") or "")
    if token.type == "link_open" and "://" not in href:
        token.attrSet("href", re.sub(r"\.md(?=$|#)", ".html", href))


def _anchor(heading: str) -> str:
    """Return the name by which links find a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    build(Path(), Path(*sys.argv[1:2] or ["site"]))
