"""Published rows, written and read back, and as a table for notebooks."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from harness import results
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from tests.report.rows import board_rows

CODE = {"ab": {"harness.a": "1", "harness.b": "2"}, "cd": {"harness.a": "1", "harness.b": "3"}}


@pytest.fixture
def rows() -> list[Row]:
    return list(board_rows())


def test_what_is_published_is_read_back(tmp_path: Path, rows: list[Row]) -> None:
    files = results.write(tmp_path / "toy", results.Published(), rows, rows[:1], CODE)
    assert all(file.exists() for file in files)
    found = results.published("toy", results=tmp_path)
    assert found.rows == {row.cell_id: row for row in rows}
    assert found.teachers == {rows[0].cell_id: rows[0]}
    assert found.code == CODE


def test_of_one_cell_its_row_alone_is_read_and_every_teacher(
    tmp_path: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    results.write(tmp_path / "toy", results.Published(), rows, rows[:1], {})
    read = Mock(wraps=results.read_row)
    monkeypatch.setattr(results, "read_row", read)
    one = rows[-1]
    found = results.published("toy", results=tmp_path, saying=one.cell_id[:12])
    assert found.rows == {one.cell_id: one}
    assert found.teachers == {rows[0].cell_id: rows[0]}
    assert read.call_count == 2


def test_nothing_published_is_nothing(tmp_path: Path) -> None:
    assert results.published("toy", results=tmp_path) == results.Published()
    with pytest.raises(SpecError, match="nothing is published of 'toy' in"):
        results.load("toy", results=tmp_path)


def test_a_damaged_line_is_named(tmp_path: Path, rows: list[Row]) -> None:
    results.write(tmp_path / "toy", results.Published(), rows[:2], [], {})
    [file] = {tmp_path / "toy" / f"{row.cell.method}.jsonl" for row in rows[:1]}
    file.write_text(file.read_text() + "{half\n")
    lines = len(file.read_text().splitlines())
    with pytest.raises(StoreError, match=rf"{file.name} line {lines}: "):
        results.published("toy", results=tmp_path)


def test_a_damaged_line_stays_as_it_is(tmp_path: Path, rows: list[Row]) -> None:
    half = b'{"cell": "caf\xe9"'  # cut off, and of another encoding
    file = tmp_path / "toy" / f"{rows[0].cell.method}.jsonl"
    before = results.Published(
        damaged=(results.DamagedLine(path=file, number=1, text=half, why=""),)
    )
    results.write(tmp_path / "toy", before, rows[:1], [], {})
    assert file.read_bytes() == f"{rows[0].to_json()}\n".encode() + half + b"\n"


def test_a_table_has_a_row_a_cell_and_plain_columns(tmp_path: Path, rows: list[Row]) -> None:
    failed = replace(
        rows[0], status="failed", error="no", metrics=None, ledger=None, canary=None, cell_id=""
    )
    results.write(tmp_path / "toy", results.Published(), [failed, *rows[1:]], [], {})
    table = results.load("toy", results=tmp_path).set_index("cell_id")
    assert len(table) == len(rows)
    for row in rows[1:]:
        if row.metrics is None:
            continue
        line = table.loc[row.cell_id]
        assert line["method"] == row.cell.method
        assert line["score"] == row.metrics.score
        assert line["recipe.epochs"] == row.cell.recipe.epochs
        if row.ledger is not None:
            assert line["spikes_per_sample"] == row.ledger.spikes_per_sample
    assert table.loc[failed.cell_id, "score"] != 0
    assert table.loc[[failed.cell_id], "score"].isna().all()
