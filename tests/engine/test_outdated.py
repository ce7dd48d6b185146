"""``report``: whether published tables are those of their rows, and one's own beside them."""

import csv
import shutil
from dataclasses import replace
from functools import partial
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest

from harness.contracts.row import Row
from harness.engine.freshness import fingerprints
from harness.engine.publish import beside, outdated, publish
from harness.engine.reverify import suspects
from harness.results import published
from harness.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return published rows of one method with their tables."""
    for name in ("direct.jsonl", "teachers.jsonl", "code.json", "tuning.jsonl"):
        (tmp_path / "digits").mkdir(exist_ok=True)
        shutil.copy(ROOT / "results" / "digits" / name, tmp_path / "digits")
    publish("digits", runs=tmp_path / "none", folder=tmp_path, data_root=None)
    return tmp_path


def test_tables_of_their_rows_are_up_to_date_and_stay_as_they_are(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert outdated("digits", folder=folder, data_root=None) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_teacher_that_was_made_again_takes_the_place_of_a_stale_one(
    folder: Path, tmp_path: Path
) -> None:
    (teacher,) = published("digits", results=folder).teachers.values()
    now = fingerprints(teacher.cell)
    made = replace(teacher.provenance, train_fp=now["train"], measure_fp=now["measure"])
    fresh = replace(teacher, provenance=made)
    stale = replace(fresh, provenance=replace(fresh.provenance, train_fp="0" * 16))
    lines = folder / "digits" / "teachers.jsonl"
    for place, (here, there) in enumerate(((fresh, stale), (stale, fresh))):
        lines.write_text(there.to_json() + "\n")
        runs = tmp_path / str(place)
        Store(runs).save(here)
        publish("digits", runs=runs, folder=folder, data_root=None)
        (stands,) = published("digits", results=folder).teachers.values()
        assert stands == fresh


def test_an_edited_and_a_lost_table_are_named(folder: Path) -> None:
    page = folder / "digits" / "leaderboard.md"
    page.write_text(page.read_text() + "edited\n")
    (folder / "digits" / "leaderboard.csv").unlink()
    assert outdated("digits", folder=folder, data_root=None) == [
        "leaderboard.md",
        "leaderboard.csv",
    ]
    assert page.read_text().endswith("edited\n")


def test_a_row_that_is_gone_makes_all_tables_out_of_date(folder: Path) -> None:
    rows = folder / "digits" / "direct.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    found = outdated("digits", folder=folder, data_root=None)
    assert found == [f"leaderboard.{kind}" for kind in ("md", "csv", "json", "tex")]


def test_ones_own_rows_stand_beside_the_published_which_stay_as_they_are(
    folder: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    rows = list(published("digits", results=folder).rows.values())
    theirs = next(row for row in rows if row.cell.timesteps == 2 and row.cell.seed == 0)
    runs = tmp_path / "runs"
    Store(runs).save(replace(theirs, cell=replace(theirs.cell, seed=7), cell_id=""))
    made = beside("digits", runs=runs, folder=folder, data_root=None)
    assert len(made.rows) == len(rows) + 1
    assert [row.cell.seed for row in made.changes.added] == [7]
    assert {path.parent for path in made.files} == {runs / "digits"}
    text = (runs / "digits" / "leaderboard.csv").read_text()
    told = [one for one in csv.DictReader(StringIO(text)) if one["mine"] == "True"]
    assert [(one["backend"], one["timesteps"]) for one in told] == [(theirs.cell.backend, "2")]
    assert told[0]["score_n"] == "6"
    assert {path: path.read_bytes() for path in before} == before


def test_trials_are_not_asked_for_the_canary_that_they_do_not_have(
    folder: Path, tmp_path: Path
) -> None:
    row = next(iter(published("digits", results=folder).rows.values()))
    moved = replace(row, provenance=replace(row.provenance, train_fp="0" * 16))
    cell = replace(moved.cell, seed=1000, judged="validation")
    trial = Row(cell=cell, status="ok", metrics=moved.metrics, provenance=moved.provenance)
    for each in (moved, trial):
        Store(tmp_path / "runs").save(each)
    found = suspects("digits", tmp_path / "runs", folder, sample=None)
    assert moved.cell_id in {one.cell_id for one in found}
    assert trial.cell_id not in {one.cell_id for one in found}


@pytest.mark.parametrize("sample", [1, 13, 30, 46])
def test_a_sample_is_drawn_evenly_from_all(folder: Path, tmp_path: Path, sample: int) -> None:
    asked = partial(suspects, "digits", tmp_path / "runs", folder)
    places = {row.cell_id: place for place, row in enumerate(asked(sample=10**6))}
    assert len(places) == 46  # at 30, the first thirty would be every one
    found = [places[row.cell_id] for row in asked(sample=sample)]
    apart = {after - before for before, after in pairwise([*found, len(places)])}
    assert (len(found), found[0]) == (sample, 0)
    assert max(apart) - min(apart) <= 1


def test_a_published_row_is_asked_though_its_cell_was_run_here_too(
    folder: Path, tmp_path: Path
) -> None:
    file = folder / "digits" / "teachers.jsonl"
    teacher = Row.from_json(file.read_text())
    assert teacher.canary is not None
    old = replace(
        teacher,
        canary=replace(teacher.canary, losses=(9.0,)),
        provenance=replace(teacher.provenance, train_fp="0" * 16),
    )
    file.write_text(f"{old.to_json()}\n")
    Store(tmp_path / "runs").save(teacher)
    found = suspects("digits", tmp_path / "runs", folder, sample=None)
    assert old.canary in [one.canary for one in found if one.cell_id == old.cell_id]
