"""Rows that lie or cannot be read are named and left out; the others stand."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness import cli, results
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Metrics, Row
from harness.engine import freshness, grid, proofs
from harness.engine.grid import Axes
from harness.engine.publish import publish
from harness.results import Published
from harness.statistics import wilson_interval
from harness.store import PREDICTIONS, Store, read_row

LABELS = np.arange(4)
# Right after each of two steps: 1 and 3 of 4.
DECIDED = np.array([[0, 0, 0, 0], [0, 1, 2, 0]])
_array = BytesIO()
np.save(_array, LABELS)
ARRAY = _array.getvalue()  # one, not an archive of them
_LOW, _HIGH = wilson_interval(3, 4)
METRICS = Metrics(
    score=0.75,
    score_low=_LOW,
    score_high=_HIGH,
    n_test=4,
    score_by_step=(0.25, 0.75),
)
ASKED = ("--methods", "direct,logit_kd", "--timesteps", "2", "--seeds", "0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def cells(store: Store) -> list[Cell]:
    """Return two cells of digits, whose rows and predictions lie in ``store``."""
    axes = Axes(methods=("direct", "logit_kd"), timesteps=(2,), seeds=(0,), backends=("reference",))
    made = grid.cells("digits", axes, store, Published())
    for cell in made:
        store.save(Row(cell=cell, status="ok", metrics=METRICS))
        np.savez(store.folder(cell) / PREDICTIONS, predictions=DECIDED, labels=LABELS)
    return made


def reported(store: Store) -> tuple[set[str], tuple[str, ...]]:
    """Return the methods that stand in the tables, and what was refused."""
    folder = store.root.parent / "results"
    told = publish("digits", runs=store.root, folder=folder, data_root=None)
    known = results.published("digits", results=folder, strict=False)
    return {row.cell.method for row in known.rows.values()}, told.refused


def test_rows_that_their_predictions_bear_out_stand(store: Store, cells: list[Cell]) -> None:
    assert reported(store) == ({cell.method for cell in cells}, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"score": 0.8, "score_by_step": (0.25, 0.8)},
        {"score_by_step": (0.5, 0.75)},
        {"n_test": 8},
        {"score": 0.8, "score_by_step": None},
        {"score_low": 0.5},
        {"score_area": 0.75},
        {"mean_steps_to_decide": 1.0},
    ],
)
def test_a_row_that_its_predictions_contradict_is_refused_by_name(
    store: Store, cells: list[Cell], changes: dict[str, Any]
) -> None:
    edited, other = cells
    store.save(Row(cell=edited, status="ok", metrics=replace(METRICS, **changes)))
    standing, (refused,) = reported(store)
    assert standing == {other.method}
    assert refused.startswith(str(store.folder(edited) / "row.json"))
    assert f"run cell {edited.cell_id} again" in refused


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x93NUMPY\x01\x00", ARRAY])
def test_predictions_that_cannot_be_read_are_named(
    store: Store, cells: list[Cell], content: bytes
) -> None:
    (store.folder(cells[0]) / PREDICTIONS).write_bytes(content)
    standing, (refused,) = reported(store)
    assert standing == {cells[1].method}
    assert refused.startswith(f"{store.folder(cells[0]) / PREDICTIONS} holds no predictions")


def test_predictions_of_other_shapes_are_named(store: Store, cells: list[Cell]) -> None:
    np.savez(store.folder(cells[0]) / PREDICTIONS, predictions=DECIDED, labels=LABELS[:3])
    np.savez(store.folder(cells[1]) / PREDICTIONS, predictions=DECIDED)
    standing, refused = reported(store)
    assert standing == set()
    assert len(refused) == 2


def test_the_row_of_another_cell_is_no_row_of_this_one(store: Store, cells: list[Cell]) -> None:
    ours, other = (store.folder(cell) / "row.json" for cell in cells)
    ours.write_bytes(other.read_bytes())
    with pytest.raises(StoreError, match=rf"{cells[0].cell_id}.row\.json.*{cells[1].cell_id}"):
        store.load(cells[0])
    standing, (refused,) = reported(store)
    assert standing == {cells[1].method}
    assert str(ours) in refused


def test_a_damaged_row_damages_its_own_cell_alone(store: Store, cells: list[Cell]) -> None:
    path = store.folder(cells[0]) / "row.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"colour": "red"}))
    found = freshness.standings(cells, store, Published(), proofs.Verified(), data_root=None)
    damaged, other = found
    assert (damaged.state, damaged.is_due, damaged.has_failed) == ("damaged", False, True)
    assert str(path) in damaged.why
    assert "Row.colour" in damaged.why
    assert other.state != "damaged"


def test_a_row_with_a_seed_that_no_cell_can_have_is_refused(cells: list[Cell]) -> None:
    taught = next(cell for cell in cells if cell.teacher is not None)
    assert taught.teacher is not None
    for seed in (-1, 2**32):
        strange = [replace(taught, teacher=replace(taught.teacher, seed=seed))]
        strange += [replace(taught, seed=seed)] if seed > 0 else []
        for cell in strange:
            line = Row(cell=cell, status="ok", metrics=METRICS).to_json().encode()
            with pytest.raises(SpecError, match=rf"a seed must be in \[0, 2\*\*32\), got {seed}"):
                read_row(line)


def test_what_is_damaged_is_not_known_and_still_refused(store: Store, cells: list[Cell]) -> None:
    assert store.known(cells[0]) == store.load(cells[0]) is not None
    (store.folder(cells[0]) / "row.json").write_text("{")
    assert store.known(cells[0]) is None
    with pytest.raises(StoreError):
        store.load(cells[0])


def test_a_damaged_published_line_is_named_and_kept(store: Store, cells: list[Cell]) -> None:
    reported(store)
    file = store.root.parent / "results" / "digits" / f"{cells[0].method}.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b"{half\n" + whole + whole)
    for cell in cells:  # so that its file is written anew
        store.save(Row(cell=cell, status="ok", metrics=replace(METRICS, silent_samples=1)))
    standing, refused = reported(store)
    assert standing == {cell.method for cell in cells}
    assert refused[0].startswith(f"{file} line 1: Row: ")
    assert refused[1].startswith(f"{file} line 3: cell {cells[0].cell_id} has a row already")
    assert file.read_bytes().splitlines()[1:] == [b"{half", *whole.splitlines()]
    with pytest.raises(StoreError, match=r"line 2: Row: "):
        results.published("digits", results=file.parents[1])


def test_the_command_lines_plan_and_report_go_on_and_exit_with_1(
    store: Store, cells: list[Cell]
) -> None:
    places = ("--out", str(store.root), "--results", str(store.root.parent / "results"))
    plan = ("plan", "digits", *ASKED, "--backends", "reference", *places)
    assert CliRunner().invoke(cli.app, plan).exit_code == 0
    path = store.folder(cells[0]) / "row.json"
    path.write_text("{half")
    told = CliRunner().invoke(cli.app, plan)
    assert told.exit_code == 1
    [line] = [line for line in told.output.splitlines() if line.startswith("damaged")]
    assert cells[0].cell_id in line
    assert "2 cells: 1 damaged" in told.output
    told = CliRunner().invoke(cli.app, ("report", "digits", *places))
    assert told.exit_code == 1
    assert f"refused: {path}" in told.output
    assert "1 rows ->" in told.output
    assert not (store.root.parent / "results").exists()
    assert CliRunner().invoke(cli.app, ("publish", "digits", *places)).exit_code == 1
    # A damaged line that is published is named, too.
    file = store.root.parent / "results" / "digits" / f"{cells[1].method}.jsonl"
    file.write_text("{half\n")
    path.unlink()
    told = CliRunner().invoke(cli.app, plan)
    assert told.exit_code == 1
    assert f"damaged: {file} line 1" in told.output
