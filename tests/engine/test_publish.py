"""``publish`` adds, loses nothing and says what it did; ``report`` leaves all as it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import cli, discovery, results
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Metrics, Provenance, Row, Status
from harness.engine import freshness, grid, show
from harness.engine.grid import Axes
from harness.engine.publish import Publication, beside, outdated, publish
from harness.engine.settings import settings_of
from harness.engine.trust import note_sources
from harness.results import Published
from harness.store import Store

METRICS = Metrics(score=0.75, score_low=0.7, score_high=0.8, n_test=400)
OTHER = replace(METRICS, score=0.72)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


def cells(runs: Path, *methods: str, sets: tuple[str, ...] = (), seeds: int = 2) -> list[Cell]:
    axes = Axes(
        methods=methods,
        timesteps=(2,),
        seeds=tuple(range(seeds)),
        backends=("norse",),
        settings=settings_of(sets),
    )
    return grid.cells("digits", axes, Store(runs), Published())


def fresh(cell: Cell, status: Status = "ok", metrics: Metrics | None = METRICS) -> Row:
    """Return a row as the code of today makes it."""
    found = freshness.fingerprints(cell)
    made = Provenance(
        train_fp=found["train"],
        measure_fp=found["measure"],
        data_fp=freshness.data_fingerprint(cell.dataset, None),
    )
    error = None if status == "ok" else "as planned"
    return Row(
        cell=cell,
        status=status,
        metrics=metrics if status == "ok" else None,
        error=error,
        provenance=made,
    )


def stale(cell: Cell, metrics: Metrics = METRICS) -> Row:
    """Return a row of code that is no more."""
    return replace(fresh(cell), metrics=metrics, provenance=Provenance(train_fp="0" * 16))


def published(runs: Path, folder: Path) -> Publication:
    return publish("digits", runs=runs, folder=folder, data_root=None)


def numbers(folder: Path) -> dict[str, float | None]:
    known = results.published("digits", results=folder).rows
    return {row.cell_id: row.metrics.score if row.metrics else None for row in known.values()}


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_who_publishes_waits_for_who_does_already(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    first, second = cells(mine, "direct")
    Store(mine).save(fresh(first))
    Store(theirs).save(fresh(second))
    write = results.write
    other = Thread(target=published, args=(theirs, folder))

    def slowly(*args: Any) -> list[Path]:
        monkeypatch.setattr(results, "write", write)
        other.start()
        other.join(1)  # long enough to end, if it did not wait
        return write(*args)

    monkeypatch.setattr(results, "write", slowly)
    published(mine, folder)
    other.join()
    assert {*numbers(folder)} == {first.cell_id, second.cell_id}


def test_a_method_of_ones_own_harms_no_published_board(runs: Path, folder: Path) -> None:
    # Found by trial: of thirty methods two were left, of eighteen rows of `direct` three.
    theirs = cells(runs, "direct", "tet", "kdsnn", seeds=5)
    everybodys = runs.with_name("everybodys")
    for cell in theirs:
        Store(everybodys).save(fresh(cell))
    published(everybodys, folder)
    before = bytes_of(folder)
    mine = cells(runs, "direct", "logit_kd", seeds=2)
    for cell in mine:
        Store(runs).save(fresh(cell))

    told = CliRunner().invoke(
        cli.app,
        ("report", "digits", "--no-page", "--out", str(runs), "--results", str(folder)),
    )
    assert told.exit_code == 0, told.output
    assert bytes_of(folder) == before
    board = (runs / "digits" / "leaderboard.md").read_text()
    glance = board.partition("### At a glance")[2].partition("###")[0].splitlines()
    parts = [line.split(" | ") for line in glance if " | " in line]
    whose = {method.removesuffix(" †"): mark for mark, method, *_ in parts}
    assert whose["logit_kd"] == "| yours"
    assert {whose[name] for name in ("direct", "tet", "kdsnn")} == {"| —"}

    changes = published(runs, folder).changes
    assert [row.cell.method for row in changes.added] == ["logit_kd", "logit_kd"]
    assert not changes.replaced
    assert [(row.cell.method, why) for row, why in changes.left] == [("direct", "as published")] * 2
    after = bytes_of(folder)
    rows = [path for path in before if path.suffix == ".jsonl"]
    assert all(after[path] == before[path] for path in rows)
    assert set(numbers(folder)) == {cell.cell_id for cell in (*theirs, *mine)}


@pytest.mark.parametrize(
    ("there", "here", "stands", "why"),
    [
        # What is reproduced, and what says other numbers.
        (fresh, fresh, 0.75, "as published"),
        (fresh, lambda cell: fresh(cell, metrics=OTHER), 0.72, "other score"),
        # Old code does not speak against new.
        (fresh, lambda cell: stale(cell, OTHER), 0.75, "made by code that has moved since"),
        (stale, fresh, 0.75, "the published is stale, training code moved"),
        (stale, lambda cell: fresh(cell, metrics=OTHER), 0.72, "moved; other score"),
        (stale, lambda cell: stale(cell, OTHER), 0.72, "the published is stale"),
        (stale, stale, 0.75, "as published"),
        # A row without numbers takes no numbers away.
        (fresh, lambda cell: fresh(cell, "failed"), 0.75, "ended here as failed"),
        (stale, lambda cell: fresh(cell, "timeout"), 0.75, "ended here as timeout"),
        (stale, lambda cell: fresh(cell, "oom"), 0.75, "ended here as oom"),
        (stale, lambda cell: fresh(cell, "skipped"), None, "other status"),
        (lambda cell: fresh(cell, "failed"), fresh, 0.75, "other status"),
    ],
)
def test_which_row_stands_and_why(
    runs: Path,
    folder: Path,
    there: Callable[[Cell], Row],
    here: Callable[[Cell], Row],
    stands: float | None,
    why: str,
) -> None:
    [cell] = cells(runs, "direct", seeds=1)
    results.write(folder / "digits", Published(), [there(cell)], [], {})
    Store(runs).save(here(cell))
    told = published(runs, folder)
    assert numbers(folder) == {cell.cell_id: stands}
    [(_, said)] = [*told.changes.replaced, *told.changes.left]
    assert why in said
    assert not told.changes.added


def test_rows_of_earlier_questions_are_kept_and_stand_in_no_table(runs: Path, folder: Path) -> None:
    [now] = cells(runs, "logit_kd", seeds=1)
    earlier = replace(now, params={**now.params, "temperature": 3.0})
    gone, mine = (replace(now, method=f"a_method_that_is_{word}") for word in ("gone", "mine"))
    rows = [fresh(earlier), Row(cell=gone, status="ok", metrics=METRICS)]
    results.write(folder / "digits", Published(), rows, [], {})
    for row in (fresh(now), Row(cell=mine, status="ok", metrics=METRICS)):
        Store(runs).save(row)
    told = published(runs, folder)
    assert [row.cell.method for row, _ in told.changes.left] == ["a_method_that_is_mine"]
    assert set(numbers(folder)) == {now.cell_id, earlier.cell_id, gone.cell_id}
    assert [row.cell_id for row in told.rows] == [now.cell_id]
    assert any("2 published rows answer other questions" in words for words in told.warnings)
    # And again, when nothing is new.
    before = bytes_of(folder)
    published(runs, folder)
    assert bytes_of(folder) == before


def test_a_teacher_that_no_row_names_any_more_is_kept(runs: Path, folder: Path) -> None:
    [cell] = cells(runs, "logit_kd", seeds=1)
    assert cell.teacher is not None
    other = replace(freshness.cell_of(cell.teacher), seed=9)
    results.write(folder / "digits", Published(), [], [fresh(other)], {})
    Store(runs).save(fresh(cell))
    published(runs, folder)
    assert set(results.published("digits", results=folder).teachers) == {other.cell_id}


@pytest.mark.parametrize("status", ["timeout", "failed"])
def test_a_teacher_without_numbers_takes_no_place_of_one_with(
    runs: Path, folder: Path, status: Status
) -> None:
    taught, skipped = cells(runs, "logit_kd")
    assert taught.teacher is not None
    teacher = stale(freshness.cell_of(taught.teacher))
    rows = [fresh(taught), fresh(skipped, "skipped")]  # which names no weights, as that teacher
    results.write(folder / "digits", Published(), rows, [teacher], {})
    Store(runs).save(fresh(teacher.cell, status))
    published(runs, folder)
    kept = results.published("digits", results=folder).teachers[teacher.cell_id]
    assert kept.status == "ok"


def test_a_teacher_of_what_is_not_here_hides_no_board(runs: Path, folder: Path) -> None:
    [cell] = cells(runs, "logit_kd", seeds=1)
    assert cell.teacher is not None
    Store(runs).save(fresh(cell))
    for other in ({"dataset": "their_data"}, {"model": "their_model"}):
        made = fresh(freshness.cell_of(cell.teacher))
        Store(runs).save(replace(made, cell=replace(made.cell, **other), cell_id=""))
    assert len(published(runs, folder).rows) == 1


def test_a_student_is_believed_no_further_than_its_teacher(runs: Path, folder: Path) -> None:
    [cell] = cells(runs, "logit_kd", seeds=1)
    assert cell.teacher is not None
    teacher, student = fresh(freshness.cell_of(cell.teacher)), fresh(cell)
    weights = "a" * 64
    teacher = replace(teacher, provenance=replace(teacher.provenance, weights_sha256=weights))
    student = replace(student, provenance=replace(student.provenance, teacher_sha256=weights))
    for row in (teacher, student):
        Store(runs).save(row)
    note_sources(Store(runs), teacher, ["elsewhere"])
    strict = publish("digits", runs=runs, folder=folder, data_root=None, claimed=False)
    assert not strict.rows
    [(left, why)] = strict.changes.left
    assert left == student
    assert "claimed" in why
    assert publish("digits", runs=runs, folder=folder, data_root=None, claimed=True).rows


def test_damage_elsewhere_hides_no_cell(runs: Path, folder: Path) -> None:
    one, other = cells(runs, "direct")
    for cell in (one, other):
        Store(runs).save(fresh(cell))
    published(runs, folder)
    (Store(runs).folder(other) / "row.json").write_text("torn")
    found = show.find(one.cell_id, runs=runs, published=folder)
    assert found is not None
    assert found.cell == one
    with (folder / "digits" / "direct.jsonl").open("a") as file:
        file.write("torn\n")
    assert show.find(one.cell_id, runs=runs / "none", published=folder) == found
    assert show.find("logit_kd", runs=runs, published=folder) is None
    for name in ("*", "x**", ".", "../runs"):
        assert show.find(name, runs=runs, published=folder) is None


def test_what_is_published_is_said_by_kind_and_reason(runs: Path, folder: Path) -> None:
    ours = cells(runs, "direct", "tet", seeds=2)
    results.write(folder / "digits", Published(), [fresh(ours[0]), stale(ours[1])], [], {})
    for cell in ours:
        Store(runs).save(fresh(cell))
    sweep = cells(runs, "logit_kd", sets=("logit_kd.temperature=2",), seeds=1)
    Store(runs).save(fresh(sweep[0]))
    words = ("publish", "digits", "--no-page", "--out", str(runs), "--results", str(folder))
    lines = CliRunner().invoke(cli.app, words).output.splitlines()
    assert "added 2 (direct 1, tet 1)" in lines
    assert "replaced 1 (tet 1): the published is stale, training code moved" in lines
    assert "left 1 (direct 1): as published" in lines
    assert any(line.startswith("left 1 (logit_kd 1): answers another question") for line in lines)
    assert any(line.startswith("4 rows -> ") for line in lines)


def test_a_method_that_cannot_be_read_is_named_and_leaves_the_others_their_board(
    runs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cell in cells(runs, "direct", "logit_kd"):
        Store(runs).save(fresh(cell))
    published(runs, folder)
    real = discovery.method_parameters

    def torn(method: str) -> dict[str, Any]:
        if method == "logit_kd":
            raise SpecError("logit_kd.py line 1: '(' was never closed")
        return real(method)

    monkeypatch.setattr(discovery, "method_parameters", torn)
    for verb in ("publish", "report"):
        words = (verb, "digits", "--no-page", "--out", str(runs), "--results", str(folder))
        told = CliRunner().invoke(cli.app, words)
        assert told.exit_code == 1
        assert "refused: logit_kd.py line 1: '(' was never closed" in told.output
        board = (runs if verb == "report" else folder) / "digits" / "leaderboard.md"
        assert "direct" in board.read_text()
    assert {
        row.cell.method for row in results.published("digits", results=folder).rows.values()
    } == {
        "direct",
        "logit_kd",
    }


def test_what_is_not_published_has_no_board_to_be_out_of_date(folder: Path) -> None:
    with pytest.raises(StoreError, match="holds no rows of digits_long"):
        outdated("digits_long", folder=folder, data_root=None)


def test_tables_alone_take_no_row(runs: Path, folder: Path) -> None:
    first, second = cells(runs, "direct", seeds=2)
    results.write(folder / "digits", Published(), [fresh(first)], [], {})
    Store(runs).save(fresh(second))
    words = ("--no-page", "--out", str(runs), "--results", str(folder))
    told = CliRunner().invoke(cli.app, ("publish", "digits", "--tables", *words))
    assert told.exit_code == 0
    assert "no row changed" in told.output
    assert set(numbers(folder)) == {first.cell_id}
    assert (folder / "digits" / "leaderboard.md").exists()
    assert CliRunner().invoke(cli.app, ("report", "digits", "--check", *words)).exit_code == 0


def test_a_sweep_stands_in_ones_own_tables_where_it_is_asked_for(runs: Path, folder: Path) -> None:
    [default] = cells(runs, "logit_kd", seeds=1)
    results.write(folder / "digits", Published(), [fresh(default)], [], {})
    sets = ("logit_kd.temperature=2,8",)
    for cell in cells(runs, "logit_kd", sets=sets, seeds=1):
        Store(runs).save(fresh(cell, metrics=OTHER))
    plain = beside("digits", runs=runs, folder=folder, data_root=None)
    assert [row.cell_id for row in plain.rows] == [default.cell_id]
    assert len(plain.changes.left) == 2
    swept = beside("digits", runs=runs, folder=folder, data_root=None, settings=settings_of(sets))
    assert len(swept.rows) == 3
    board = (runs / "digits" / "leaderboard.csv").read_text()
    for name in ("logit_kd[temperature=2]", "logit_kd[temperature=4]", "logit_kd[temperature=8]"):
        assert name in board
    assert "--set=logit_kd.temperature=2.0,8.0" in (runs / "digits/leaderboard.md").read_text()
    # One alone is told by its name, too.
    one = settings_of(("logit_kd.temperature=8",))
    beside("digits", runs=runs, folder=folder.with_name("none"), data_root=None, settings=one)
    assert "logit_kd[temperature=8]" in (runs / "digits" / "leaderboard.csv").read_text()
