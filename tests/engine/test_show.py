"""A cell is found by how its identity begins, where that is enough to tell it from others."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.contracts.errors import StoreError
from harness.engine.show import beginning, find, known
from harness.results import published
from harness.store import Store
from tests.report.rows import right, with_metrics

ROWS = [right("direct", 360, seed=seed) for seed in range(17)]  # so two begin alike


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for row in ROWS:
        Store(tmp_path).save(row)
    return tmp_path


def alike() -> tuple[str, str]:
    pairs = combinations(sorted(row.cell_id for row in ROWS), 2)
    return next(pair for pair in pairs if pair[0][0] == pair[1][0])


def test_the_beginning_of_an_identity_is_enough(runs: Path) -> None:
    places = {"runs": runs, "published": runs / "none"}
    for row in ROWS:
        others = [one.cell_id for one in ROWS if one is not row]
        length = next(n for n in range(17) if not any(o[:n] == row.cell_id[:n] for o in others))
        assert known(row.cell_id[:length], **places) == row
        assert known(row.cell_id, **places) == row
    assert find("", **places) is None
    with pytest.raises(StoreError, match=r"no row 'xyz' under .*; `plan` lists them"):
        known("xyz", **places)


def test_a_published_row_is_found_by_its_beginning_and_one_made_here_comes_first(
    tmp_path: Path,
) -> None:
    public = next(iter(published("digits").rows.values()))
    places = {"runs": tmp_path, "published": Path("results")}
    assert known(public.cell_id[:12], **places) == public
    mine = with_metrics(public, latency_ms_b1=1.0)
    Store(tmp_path).save(mine)
    assert known(public.cell_id[:12], **places) == mine


@pytest.mark.parametrize("verb", ["show", "reproduce", "export"])
def test_a_beginning_of_several_is_refused_by_naming_two(verb: str, runs: Path) -> None:
    first, second = alike()
    out = ("--runs" if verb == "export" else "--out", str(runs), "--results", str(runs / "none"))
    more = ("--to", "nir", "--out", str(runs / "a.nir")) if verb == "export" else ()
    done = CliRunner().invoke(app, [verb, first[0], *out, *more])
    assert isinstance(done.exception, StoreError)
    words = str(done.exception)
    assert f"cells begin with {first[0]!r}, {first} and {second} among them" in words


def test_a_plugin_is_not_mistaken_for_the_beginning_of_a_cell(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ROWS[0].cell_id[:15]
    names = lambda kind: [start] if kind == "backends" else []  # noqa: E731
    monkeypatch.setattr("harness.engine.show.discovery.names", names)
    monkeypatch.setattr("harness.engine.show.discovery.module_of", lambda *_: "its file")
    done = CliRunner().invoke(app, ["show", start, "--out", str(runs), "--json"])
    assert json.loads(done.output) == {"name": start, "backend": {"file": "its file"}}


def test_nothing_begins_with_nothing() -> None:
    assert beginning("", ["ab", "ac"]) is None
    assert beginning("ab", ["ab", "ac", "ab"]) == "ab"
    with pytest.raises(StoreError, match="2 cells begin with 'a', ab and ac among them"):
        beginning("a", ["ac", "ab"])
