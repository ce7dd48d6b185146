"""The page as a file: what it holds, and that nothing in it can ask or be more than text."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from harness.contracts.row import Row
from harness.report import Leaderboard, _page, leaderboard, to_html
from tests.browser.boards import LINK, SCRIPT, rows
from tests.report.rows import SUITE, board_rows, teacher


class Reader(HTMLParser):
    """Collects elements, attributes and the content of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return to_html(board(rows()), command="nox -s report")


def board(rows: list[Row]) -> Leaderboard:
    suite = replace(SUITE, caution=f"Mind {SCRIPT} {LINK}", title=f"Squares {SCRIPT}")
    return leaderboard(rows, suite=suite, teachers=[teacher()])


@pytest.fixture(scope="module")
def data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


def test_it_refers_to_nothing_outside_itself(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    asking = {"src", "href", "action", "srcset", "data", "poster"}
    assert [tag for tag, attributes in reader.tags if asking & attributes.keys()] == []
    assert {tag for tag, _ in reader.tags} & {"link", "img", "iframe", "object", "base"} == set()
    policy = next(given["content"] for tag, given in reader.tags if "http-equiv" in given)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'unsafe-inline'; style-src")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_what_rows_say_stands_in_no_element_of_its_own(page: str, data: dict[str, Any]) -> None:
    reader = Reader()
    reader.feed(page)
    assert sum(tag == "script" for tag, _ in reader.tags) == 4
    assert f"evil {SCRIPT}" in data["lines"]["method"]
    assert any(error and LINK in error for error in data["cells"]["error"])
    assert not {"\x1b", "\ud800"} & set(page)


def test_every_row_and_every_cell_is_there_with_how_to_make_it_again(data: dict[str, Any]) -> None:
    assert sorted(data["cells"]["id"]) == sorted(row.cell_id for row in rows())
    assert len(data["lines"]["id"]) == 9
    assert {"energy", "operations", "latency", "simulators"} <= {
        one["name"] for one in data["figures"]
    }
    # Too few blocks for ranks: no empty figure is offered.
    assert "ranks" not in {one["name"] for one in data["figures"]}


def test_every_column_has_a_definition_and_a_key_that_lines_have(
    page: str, data: dict[str, Any]
) -> None:
    for column in data["columns"]:
        assert f"<dt>{column['title']}</dt><dd>" in page
        for key in (column["key"], column.get("text", column["key"])):
            assert key in data["lines"] or key == "energy_nj"


def test_the_order_of_rows_changes_no_byte(page: str) -> None:
    assert to_html(board(rows()[::-1]), command="nox -s report") == page


def test_two_thousand_rows_stay_below_five_megabytes(
    page: str, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What grows with rows, of the table of digits' size, and what does not.
    monkeypatch.setattr(_page, "_data", lambda _: "")
    fixed = len(to_html(board(board_rows()), command="x"))
    grows = sum(len(json.dumps(data[name])) for name in ("lines", "cells"))
    assert fixed + (len(page) - fixed - grows) + 2_000 * grows / len(rows()) < 5e6


def test_another_export_of_the_table_library_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_page, "_table", lambda _: "export{a as Table}")
    with pytest.raises(RuntimeError, match="take the locked version"):
        _page._table_script()
    monkeypatch.setattr(_page, "_table", lambda _: "x;export{q as Z,vh as default,y as w};")
    assert _page._table_script() == "x;window.DataTable=vh;"
