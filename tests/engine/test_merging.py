"""Merging gives the union, whatever the order; what contradicts is shown; a kill leaves wholes."""

import os
import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from harness import cli
from harness.contracts.cell import TEACHERS
from harness.engine import bundle, merging, packed, trust
from harness.engine.merging import Merged
from harness.engine.publish import contradiction
from harness.store import CHECKPOINT, PREDICTIONS, Store
from tests.engine.evidence import (
    CODE,
    MODULES,
    TEACHERS_CELL,
    decided,
    failed,
    files,
    kept,
    machine,
    without_metrics,
)
from tests.report.rows import cell


def merged(sources: Sequence[Path], runs: Path) -> Merged:
    with ExitStack() as held:
        return merging.merge([held.enter_context(bundle.opened(one)) for one in sources], runs)


def bundled(runs: Path, name: str) -> Path:
    return bundle.write("toy", runs, runs.parent / name, weights=True).path


@pytest.fixture
def machines(tmp_path: Path) -> list[Path]:
    """Return three machines' rows, each with the teacher that it made: two folders, a bundle."""
    first, second, third = (
        machine(tmp_path / f"machine{k}", *seeds, ended=f"2026-01-0{k}")
        for k, seeds in enumerate(((0, 1), (2,), (3, 4)), start=1)
    )
    return [first, second, bundled(third, "third.zip")]


def test_what_is_merged_has_all_that_speaks_for_it(machines: list[Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    found = merged(machines, runs)
    assert (len(found.added), found.replaced, found.refused) == (6, [], [])
    store = Store(runs)
    assert store.code(CODE) == MODULES
    for row in [*store.rows("toy"), *store.rows(TEACHERS)]:
        folder = store.folder(row.cell)
        draw = 99 if row.cell == TEACHERS_CELL else row.cell.seed
        arrays = packed.from_npz((folder / PREDICTIONS).read_bytes(), most=2**20)
        for name, one in decided(draw, row.cell.timesteps).items():
            np.testing.assert_array_equal(arrays[name], one, strict=True)
        assert (folder / "weights.safetensors").exists()
        # Where and when it ran it says itself.
        assert (
            row.provenance.ended_at
            == f"2026-01-0{ {0: 1, 1: 1, 2: 2, 3: 3, 4: 3}[row.cell.seed] if draw != 99 else 1 }"
        )
        assert row.provenance.gpu == "a GPU"
        assert trust.trust_of(store, row) == "claimed"


def test_order_does_not_matter_and_twice_is_once(machines: list[Path], tmp_path: Path) -> None:
    merged(machines, tmp_path / "at once")
    expected = files(tmp_path / "at once")
    for number, order in enumerate(permutations(machines)):
        runs = tmp_path / f"runs{number}"
        for source in (*order, *reversed(order)):
            merged([source], runs)
        assert files(runs) == expected
    again = merged(machines, tmp_path / "at once")
    assert (again.added, again.replaced, len(again.same)) == ([], [], 6)
    assert files(tmp_path / "at once") == expected


def test_a_conflict_shows_both_rows_and_brings_nothing_in(
    machines: list[Path], tmp_path: Path
) -> None:
    other = kept(tmp_path / "other", cell("plain", seed=2), draw=50)
    runs = machine(tmp_path / "runs", 2)
    before = files(runs)
    found = merged([*machines, tmp_path / "other"], runs)
    (conflict,) = found.conflicts
    assert (found.added, files(runs)) == ([], before)
    first, *both = conflict.lines()
    assert other.cell_id in first
    accuracies = [
        one.row.metrics.score for one in (conflict.first, conflict.second) if one.row.metrics
    ]
    assert len(set(accuracies)) == 2
    for line, place, accuracy in zip(both, (runs, tmp_path / "other"), accuracies, strict=True):
        assert str(place) in line
        assert f"score {accuracy}" in line
        assert "made 2026-01-01 on a GPU" in line


def test_teachers_of_other_weights_are_a_conflict(tmp_path: Path) -> None:
    for name, weights in (("a", b"teacher"), ("b", b"another")):
        kept(tmp_path / name, TEACHERS_CELL, weights=weights)
        kept(tmp_path / name, cell("plain"), weights=weights)
    (conflict,) = merged([tmp_path / "a", tmp_path / "b"], tmp_path / "runs").conflicts
    assert conflict.first.row.cell == TEACHERS_CELL
    assert "weights_sha256" in "".join(conflict.lines())
    assert not (tmp_path / "runs").exists()


def test_numbers_stand_before_none_and_ones_own_before_others(tmp_path: Path) -> None:
    runs, cells = tmp_path / "runs", [cell("plain", seed=seed) for seed in range(4)]
    failed(runs, cells[0])
    own = [kept(runs, cells[1], draw=1, ended="2026-02-02"), failed(runs, cells[2])]
    (Store(runs).folder(cells[0]) / CHECKPOINT).write_bytes(b"as far as it came")
    theirs = tmp_path / "theirs"
    good = kept(theirs, cells[0])
    kept(theirs, cells[1], draw=1, weights=b"more", ended="2026-01-01")
    failed(theirs, cells[2], ended="2025-01-01")
    Store(theirs).save(replace(without_metrics(good), cell=cells[3], status="machine", cell_id=""))
    found = merged([theirs], runs)
    assert (found.added, found.replaced, len(found.same)) == ([], [good], 2)
    store = Store(runs)
    assert [store.load(one) for one in cells] == [good, *own, None]
    assert [trust.trust_of(store, row) for row in own] == ["here", "here"]
    assert not (store.folder(cells[0]) / CHECKPOINT).exists()


def test_of_equal_merged_rows_one_with_weights_stands_and_then_the_earliest(
    tmp_path: Path,
) -> None:
    made = {
        name: kept(tmp_path / name, cell("plain"), weights=weights, ended=ended)
        for name, weights, ended in (
            ("late", b"w", "2026-01-03"),
            ("early", b"w", "2026-01-02"),
            ("bare", None, "2026-01-01"),
        )
    }
    for number, order in enumerate(permutations(made)):
        runs = tmp_path / f"runs{number}"
        for name in order:
            merged([tmp_path / name], runs)
        assert list(Store(runs).rows("toy")) == [made["early"]]
        assert (Store(runs).folder(cell("plain")) / "weights.safetensors").read_bytes() == b"w"
        assert trust.trust_of(Store(runs), made["early"]) == "claimed"


def test_a_row_that_is_made_here_again_is_ones_own(tmp_path: Path) -> None:
    theirs = kept(tmp_path / "theirs", cell("plain"))
    merged([tmp_path / "theirs"], tmp_path / "runs")
    store = Store(tmp_path / "runs")
    assert trust.trust_of(store, theirs) == "claimed"
    assert trust.sources_of(store, theirs) == (str(tmp_path / "theirs"),)
    trust.note_checked(store, theirs, 20)
    assert trust.trust_of(store, theirs) == "verified"
    ours = kept(tmp_path / "runs", cell("plain"), ended="2026-03-03")
    assert trust.trust_of(store, ours) == "here"


def test_what_a_folder_says_of_trust_is_not_believed(tmp_path: Path) -> None:
    theirs = kept(tmp_path / "theirs", cell("plain"))
    trust.note_checked(Store(tmp_path / "theirs"), theirs, 20)
    merged([tmp_path / "theirs"], tmp_path / "runs")
    assert trust.trust_of(Store(tmp_path / "runs"), theirs) == "claimed"


def test_a_cell_that_runs_here_is_left(tmp_path: Path) -> None:
    theirs = machine(tmp_path / "theirs", 0, 1)
    runs = tmp_path / "runs"
    with Store(runs).claim(cell("plain", seed=1)):  # type: ignore[union-attr]  # nobody has it
        found = merged([theirs], runs)
    assert [row.cell.seed for row in found.busy] == [1]
    assert len(found.added) == 2
    assert len(merged([theirs], runs).added) == 1


class Killed(BaseException):
    """What nothing catches, like a kill."""


def test_a_kill_at_any_moment_leaves_whole_cells_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = tmp_path / "early", tmp_path / "late"
    for place, ended in ((early, "2026-01-01"), (late, "2026-02-02")):
        kept(place, cell("plain"), weights=b"w", ended=ended)
    kept(early, cell("plain", seed=1), draw=1)
    expected = tmp_path / "expected"
    merged([late], expected)
    merged([early], expected)
    moves = {"replace": os.replace, "fsync": os.fsync}
    for moment in range(1, 100):
        runs = tmp_path / f"runs{moment}"
        merged([late], runs)
        left = [moment]

        def dying(*given: object, name: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise Killed
            moves[name](*given)  # type: ignore[operator]  # either

        for name in moves:
            monkeypatch.setattr(os, name, lambda *given, name=name: dying(*given, name=name))
        try:
            merged([early], runs)
        except Killed:
            pass
        finally:
            monkeypatch.undo()
        store = Store(runs)
        for row in [*store.rows("toy"), *store.rows(TEACHERS)]:
            assert trust.trust_of(store, row) == "claimed"
            folder = store.folder(row.cell)
            assert packed.from_npz((folder / PREDICTIONS).read_bytes(), most=2**20)
        merged([early], runs)
        halves = {name for name in files(runs) if Path(name).name.startswith(".")}
        assert {k: v for k, v in files(runs).items() if k not in halves} == files(expected)
        if left[0] > 0:
            break
    assert moment > 6, "nothing was written"


def test_a_row_that_is_wrong_is_named_and_the_others_come(tmp_path: Path) -> None:
    theirs = machine(tmp_path / "theirs", 0, 1, 2, 3, 4)
    store, cells = Store(theirs), [cell("plain", seed=seed) for seed in range(5)]
    (store.folder(cells[0]) / "row.json").write_text("{half")
    (store.folder(cells[1]) / PREDICTIONS).write_bytes(packed.to_npz(decided(30, 2)))
    (store.folder(cells[2]) / "weights.safetensors").write_bytes(b"others")
    (store.folder(cells[3]) / PREDICTIONS).write_bytes(b"none")
    found = merged([theirs], tmp_path / "runs")
    assert {row.cell_id for row in found.added} == {cells[4].cell_id, TEACHERS_CELL.cell_id}
    told = "\n".join(found.refused)
    assert len(found.refused) == 4
    for one, words in zip(
        cells, ("Row: ", "predictions beside", "other weights", "no predictions"), strict=False
    ):
        (line,) = (line for line in found.refused if one.cell_id in line)
        assert words in line
        assert "\n" not in line
    assert "; " in told
    assert [row.cell for row in Store(tmp_path / "runs").rows("toy")] == [cells[4]]


def test_no_link_leads_out_of_a_folder(tmp_path: Path) -> None:
    theirs, secret = machine(tmp_path / "theirs", 0, 1), tmp_path / "secret"
    store, (first, second) = Store(theirs), (cell("plain", seed=seed) for seed in (0, 1))
    moved = store.folder(first) / "row.json"
    secret.write_bytes(moved.read_bytes())
    moved.unlink()
    moved.symlink_to(secret)
    weights = store.folder(second) / "weights.safetensors"
    (tmp_path / "weights").write_bytes(weights.read_bytes())
    weights.unlink()
    weights.symlink_to(tmp_path / "weights")
    found = merged([theirs], tmp_path / "runs")
    assert [row.cell for row in found.added] == [TEACHERS_CELL]
    assert len(found.refused) == 2
    assert all("leads out of" in words and "copy the file" in words for words in found.refused)


def test_a_pipe_and_a_row_of_another_suite_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    theirs = machine(tmp_path / "theirs", 0, 1)
    store, (first, second) = Store(theirs), (cell("plain", seed=seed) for seed in (0, 1))
    (store.folder(first) / "row.json").unlink()
    os.mkfifo(store.folder(first) / "row.json")
    (theirs / "elsewhere").mkdir()
    store.folder(second).rename(theirs / "elsewhere" / second.cell_id)
    found = merged([theirs], tmp_path / "runs")
    assert [row.cell for row in found.added] == [TEACHERS_CELL]
    assert any("is no file; move it away" in words for words in found.refused)
    assert any("is a row of suite 'toy', not of elsewhere" in words for words in found.refused)


def test_a_damaged_row_here_is_named_and_stays(tmp_path: Path) -> None:
    runs, theirs = tmp_path / "runs", machine(tmp_path / "theirs", 0, 1)
    path = Store(runs).folder(cell("plain")) / "row.json"
    path.parent.mkdir(parents=True)
    path.write_text("{half")
    found = merged([theirs], runs)
    (words,) = found.refused
    assert words.startswith(str(path))
    assert path.read_text() == "{half"
    assert len(found.added) == 2


def test_the_command_line_tells_what_came_of_it(machines: list[Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    ask = ("merge", *map(str, machines), "--out", str(runs))
    told = CliRunner().invoke(cli.app, ask)
    assert (told.exit_code, told.output) == (0, f"6 added -> {runs}\n")
    told = CliRunner().invoke(cli.app, ask)
    assert (told.exit_code, told.output) == (3, f"6 same -> {runs}\n")
    kept(tmp_path / "other", cell("plain", seed=2), draw=50)
    told = CliRunner().invoke(cli.app, (*ask, str(tmp_path / "other")))
    assert told.exit_code == 1
    assert "conflict: cell" in told.output
    assert "1 conflicts, nothing was merged" in told.output
    nothing = CliRunner().invoke(cli.app, ("merge", str(tmp_path / "none"), "--out", str(runs)))
    assert "there is no " in str(nothing.exception)


def test_shards_in_any_order_of_many_are_the_whole(tmp_path: Path) -> None:
    drawn = random.Random(0)  # noqa: S311  an order, no secret
    sources = [
        machine(tmp_path / f"m{k}", *range(k, 12, 4), ended=f"2026-01-0{k + 1}") for k in range(4)
    ]
    whole = files(machine(tmp_path / "whole", *range(12)))
    drawn.shuffle(sources)
    merged(sources, tmp_path / "runs")
    found = files(tmp_path / "runs")
    told = {name for name in found if name.endswith("origin.json")}
    assert found.keys() - told == whole.keys()
    alike = {name for name in whole if not name.endswith("row.json")}
    assert {name: found[name] for name in alike} == {name: whole[name] for name in alike}


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({}, None),
        ({"agreement": 0.9}, "agreement 0.9, but"),
        ({"teacher_score": 0.1}, "teacher_score 0.1, but"),
    ],
)
def test_what_a_row_says_of_its_teacher_is_held_to_both_predictions(
    tmp_path: Path, figures: dict[str, float], words: str | None
) -> None:
    store = Store(machine(tmp_path / "theirs", 0))
    [row], teacher = store.rows("toy"), store.load(TEACHERS_CELL)
    assert row.metrics is not None
    assert teacher is not None
    assert teacher.metrics is not None
    ours, theirs = decided(0, row.cell.timesteps), decided(99, TEACHERS_CELL.timesteps)
    alike = float((ours["predictions"][-1] == theirs["predictions"][-1]).mean())
    told = {"agreement": alike, "teacher_score": teacher.metrics.score} | figures
    made = replace(row.provenance, teacher_sha256=teacher.provenance.weights_sha256)
    said = replace(row, metrics=replace(row.metrics, **told), provenance=made)
    store.save(said)
    found = merged([store.root], tmp_path / "mine")
    assert len(found.added) == (2 if words is None else 1)
    wrong = contradiction(store, said)
    if words is None:
        assert (found.refused, wrong) == ([], None)
    else:
        assert all(words in str(one) for one in (*found.refused, wrong))
        assert str(wrong).endswith(f"; delete it to run cell {row.cell_id} again")
