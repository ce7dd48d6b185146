"""Folders of runs and results, and checkpoints, are data: read as they are, or refused in words."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness import cli, results
from harness.contracts.errors import HarnessError, StoreError
from harness.contracts.method import Progress
from harness.contracts.row import Row
from harness.engine import compare, proofs
from harness.store import Store, read_bytes, read_json
from harness.training.checkpoint import Checkpoint, Pass
from tests.engine.evidence import kept
from tests.report.rows import cell

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "results" / "digits"
LINES = [
    line
    for name in ("direct", "qcfs", "ttfs", "teachers")
    for line in (DIGITS / f"{name}.jsonl").read_bytes().splitlines()[:2]
]
WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0, 7, 1.5, 1e308, 10**30, "", "x", "../x", "/etc/x", "<b>", "\ud800"),
    *([], [1], [None], {}, {"a": 1}, "a" * 3000),
)
SEED = torch.arange(16, dtype=torch.uint8)
FUZZED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _inner(part: Any) -> Iterator[tuple[Any, Any]]:
    for key in part if isinstance(part, dict) else range(len(part)):
        yield part, key
        if isinstance(part[key], dict | list):
            yield from _inner(part[key])


def mutated(line: bytes, data: st.DataObject) -> bytes:
    """Return a line of JSON with one thing changed, or a few of its bytes."""
    if data.draw(st.integers(0, 3)) == 0:
        content = bytearray(line)
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
        return bytes(content).replace(b"\n", b"").replace(b"\r", b"")
    whole = [json.loads(line)]
    places = list(_inner(whole))
    # The outermost fields as often as the thousands of counts.
    outer = [one for one in places if one[0] in (whole, whole[0], whole[0].get("cell"))]
    part, key = data.draw(st.sampled_from(outer) | st.sampled_from(places))
    if isinstance(part, list) or data.draw(st.integers(0, 3)):
        part[key] = data.draw(st.sampled_from(WRONG))
    else:
        part["colour"] = part.pop(key)
    return json.dumps(whole[0]).encode()


@contextmanager
def in_one_line(file: Path) -> Iterator[None]:
    """Let an error be one that is meant for people and names ``file``."""
    try:
        yield
    except HarnessError as error:
        words = str(error)
    else:
        return
    assert "\n" not in words
    assert str(file) in words


@given(data=st.data(), line=st.sampled_from(LINES))
@FUZZED
def test_a_changed_published_row_is_read_as_it_says_or_named(
    tmp_path: Path, line: bytes, data: st.DataObject
) -> None:
    text, other = mutated(line, data), LINES[0 if line != LINES[0] else 2]
    folder = tmp_path / "digits"
    folder.mkdir(exist_ok=True)
    (folder / "some.jsonl").write_bytes(text + b"\n" + other + b"\n")
    found = results.published("digits", results=tmp_path, strict=False)
    sound = Row.from_json(other)
    assert found.rows[sound.cell_id] == sound
    for damaged in found.damaged:
        assert str(damaged).startswith(f"{folder / 'some.jsonl'} line 1: ")
        assert "\n" not in str(damaged)
    if not found.damaged:
        assert {row.to_json() for row in found.rows.values()} >= {Row.from_json(text).to_json()}
    before = {path.name for path in tmp_path.rglob("*")}
    results.write(tmp_path / "digits", found, found.rows.values(), [], {})
    written = {path for path in tmp_path.rglob("*") if path.name not in before}
    assert all(path.parent == folder for path in written)
    shutil.rmtree(folder)


@given(data=st.data(), line=st.sampled_from(LINES))
@FUZZED
def test_a_changed_row_of_a_run_is_read_as_it_says_or_named(
    tmp_path: Path, line: bytes, data: st.DataObject
) -> None:
    was = Row.from_json(line)
    path = Store(tmp_path).folder(was.cell) / "row.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mutated(line, data))
    with in_one_line(path):
        row = Store(tmp_path).load(was.cell)
        assert row is not None
        assert row.cell_id == was.cell_id
        assert Row.from_json(row.to_json()) == row


@pytest.mark.parametrize("name", ["code.json", "tuning.jsonl"])
@given(data=st.data())
@settings(parent=FUZZED, max_examples=30)
def test_changed_tables_beside_rows_are_read_or_named(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    (tmp_path / "digits").mkdir(exist_ok=True)
    file = tmp_path / "digits" / name
    lines = (DIGITS / name).read_bytes().splitlines()[:1]
    file.write_bytes(mutated(lines[0], data))
    with in_one_line(file):
        results.published("digits", results=tmp_path)


@given(data=st.data())
@settings(parent=FUZZED, max_examples=30)
def test_changed_proofs_are_read_or_named(tmp_path: Path, data: st.DataObject) -> None:
    line = (ROOT / "results" / "verified.jsonl").read_bytes().splitlines()[0]
    (tmp_path / proofs.FILE).write_bytes(mutated(line, data))
    with in_one_line(tmp_path / proofs.FILE):
        proofs.read(tmp_path)


@given(data=st.data())
@FUZZED
def test_a_changed_checkpoint_is_read_or_refused_in_words(data: st.DataObject) -> None:
    kept_state = Pass(steps=3, states=[{"w": torch.ones(2), 0: [1.5, None]}], random={"cpu": SEED})
    made = Checkpoint(
        of={"cell": "a"},
        passes={"": kept_state},
        progress=Progress(samples=3, budget=9, loss=0.5),
        seconds=1.0,
    )
    content = bytearray(made.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 500))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=8))
    words = ""
    try:
        Checkpoint.from_bytes(bytes(content), torch.device("cpu"))
    except StoreError as error:
        words = str(error)
    assert "\n" not in words


# Not only changed, but made to harm


def test_a_method_that_names_another_file_is_no_row(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    rows = [kept(tmp_path / "runs", cell(name)) for name in ("../evil", "teachers", "tuning", "ok")]
    (folder / "some.jsonl").write_text("".join(f"{row.to_json()}\n" for row in rows))
    found = results.published("toy", results=tmp_path, strict=False)
    assert [row.cell.method for row in found.rows.values()] == ["ok"]
    assert ["after the method" in line.why for line in found.damaged] == [True] * 3


def test_a_suite_that_names_another_folder_has_none(tmp_path: Path) -> None:
    for name in ("../evil", "/etc", "..", "a/b", "", "a\n"):
        with pytest.raises(StoreError, match="no folder can be called after the suite"):
            Store(tmp_path).folder(replace(cell("plain"), suite=name))
    assert Store(tmp_path).code("../../etc/passwd") is None


def test_what_is_too_long_or_no_file_is_named_and_not_read(tmp_path: Path) -> None:
    long = tmp_path / "row.json"
    with long.open("wb") as file:
        file.truncate(2**30)  # a hole: a gigabyte that takes no room
    with pytest.raises(
        StoreError, match=r"row\.json has 1073741824 bytes, and at most 16 are read"
    ):
        read_bytes(long, 16)
    with pytest.raises(StoreError, match=r"has 1073741824 bytes"):
        read_json(long)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="pipe is no file; move it away"):
        read_bytes(tmp_path / "pipe", 16)
    with pytest.raises(StoreError, match=r"cannot read .*: Is a directory"):
        read_json(tmp_path)
    (tmp_path / "deep").write_text("[" * 100_000)
    with pytest.raises(StoreError, match="deep is damaged"):
        read_json(tmp_path / "deep")


def test_comparing_names_the_line_that_is_no_row(tmp_path: Path) -> None:
    row = kept(tmp_path / "a", cell("plain"))
    with pytest.raises(StoreError, match="holds no rows of other"):
        compare.rows_of(str(tmp_path / "a"), "other")
    assert compare.rows_of(str(tmp_path / "a"), "toy") == {row.cell_id: row}
    path = Store(tmp_path / "a").folder(row.cell) / "row.json"
    path.write_text(row.to_json().replace('"ok"', '"splendid"'))
    with pytest.raises(StoreError, match=rf"{path}: Row\.status.*; delete it or run"):
        compare.rows_of(str(tmp_path / "a"), "toy")


def test_the_command_line_says_every_verb_of_a_hostile_folder_in_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"PK\x05\x06" + b"\xff" * 40)
    for verb in (("merge", str(bad)), ("verify", str(bad))):
        told = CliRunner().invoke(cli.app, (*verb, "--out", str(tmp_path / "runs")))
        assert isinstance(told.exception, StoreError)
        assert "is no bundle and no folder of runs" in str(told.exception)
    assert not (tmp_path / "runs").exists()
