"""What is seen of a run: live, from another terminal, and in a log."""

import fcntl
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rich.progress
from rich.console import Console
from typer.testing import CliRunner

from harness.cli import app
from harness.contracts.cell import Cell
from harness.contracts.errors import StoreError
from harness.contracts.method import Progress
from harness.engine import grid, progress, watch
from harness.engine.forecast import Outlook
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.progress import shortened
from harness.engine.scheduler import CellEnded, SetBack, Started
from harness.engine.watch import Note
from harness.results import Published
from harness.store import CHECKPOINT, Store
from tests.engine.test_runs import Send, _cells, _ends, _row, making
from tests.report.rows import wrong

NAMES = [f"bidirectional digits_convnet spikingjelly T=4 seed={n}" for n in range(12)]


def _started(number: int, samples: int) -> Started:
    told = Progress(samples=samples, budget=100, loss=1.0)
    return Started(cell_id=str(number), name=NAMES[number], progress=told)


def _happenings() -> Iterator[Any]:
    for number in range(12):
        yield _started(number, 10)
    for number in range(12):
        yield _started(number, 10 + 5 * number)
    row = wrong("direct", "failed", "no [/x] here\x1b[2J")
    yield CellEnded(cell=row.cell, row=row, seconds=1.0)
    yield SetBack(cell=row.cell, seconds=1.0, why="out of memory beside others")
    yield _started(0, 100)


def _screens(width: int, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what is on a terminal of such a width after each event."""
    shown = io.StringIO()
    console = Console(
        file=shown,
        force_terminal=True,
        width=width,
        height=24,
        color_system=None,
        legacy_windows=False,
    )
    monkeypatch.setattr(progress, "Console", lambda: console)
    screens: list[list[str]] = []
    bars = rich.progress.Progress.update

    def update(self: Any, *args: Any, **options: Any) -> None:
        bars(self, *args, **options)
        screen = io.StringIO()
        Console(file=screen, width=width).print(self.get_renderable())
        screens.append(screen.getvalue().splitlines())

    monkeypatch.setattr(rich.progress.Progress, "update", update)
    outlook = Outlook(dict.fromkeys(map(str, range(30)), 60.0), slots=12)
    progress.tell(_happenings(), cells=30, as_json=False, outlook=outlook)
    screens.append(shown.getvalue().splitlines())
    return screens


@pytest.mark.parametrize("width", [60, 80, 140])
def test_twelve_cells_at_once_have_a_line_each_that_tells_them_apart(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    *screens, everything = _screens(width, monkeypatch)
    full = max(screens, key=len)
    assert len(full) == 1 + 12
    assert max(len(line.rstrip()) for screen in screens for line in screen) <= width
    for number, line in enumerate(full[1:]):
        assert line.startswith("bidirectional")
        assert f"seed={number} " in line
    assert ("spikingjelly T=4" in full[1]) is (width >= 100)
    last = screens[-1]
    assert last[0].startswith("1 of 30 cells, 1 failed")
    assert last[0].rstrip().endswith("left")
    assert "measuring" in last[1]
    told = "\n".join(everything)
    assert "failed   direct" in told
    assert "no [/x] here" in told
    assert "later    direct" in told


def test_a_name_that_is_too_long_keeps_both_ends() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert shortened("abcdefghij", 6) == "abc…ij"


def test_without_a_terminal_there_are_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_QUIET_S", -1.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: 0.0))
    outlook = Outlook({str(number): 60.0 for number in range(12)}, slots=12)
    assert progress.tell(_happenings(), cells=12, as_json=False, outlook=outlook) == 1
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert f"running  {NAMES[11]}: 65 %, loss 1.0000" in said
    assert "so far   0 of 12 cells, 54 s left" in said
    # 51 s are left of the longest, and what was to take 252 took none: 51 * 3 / 255.
    assert "so far   1 of 12 cells, 1 failed, 1 s left" in said
    progress.tell(_happenings(), cells=12, as_json=True)
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["status"] == "failed"


def _begin(store: Store, cell: Cell) -> None:
    """Leave a checkpoint of a quarter of ``cell``."""
    told = json.dumps({"__metadata__": {"progress": '{"samples": 1, "budget": 4}'}}).encode()
    store.folder(cell).mkdir(parents=True)
    (store.folder(cell) / CHECKPOINT).write_bytes(len(told).to_bytes(8, "little") + told)


def _held(store: Store, cell: Cell, **told: Any) -> Any:
    lock = store.claim(cell)
    assert lock is not None
    watch.write(lock, Note(**{"log": "log-1.txt", "began_s": time.time(), "device": "cpu", **told}))
    return lock


def _status(runs: Path, *words: str) -> str:
    few = ("--methods", "direct", "--timesteps", "1", "--backends", "reference", "--seeds", "0,1,2")
    places = ("--out", str(runs), "--results", str(runs / "results"))
    done = CliRunner().invoke(app, ["status", "digits", *few, *places, *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_status_tells_what_runs_and_how_far_what_is_partly_done_and_what_is_left(
    tmp_path: Path,
) -> None:
    [running, _, partly], store = _cells(3), Store(tmp_path)
    for begun in (running, partly):
        _begin(store, begun)
    with closing(_held(store, running, samples=57, budget=100)):
        said = _status(tmp_path)
        assert "digits: 3 cells: 3 missing, 1 running, 1 partly" in said
        assert f"running  {running.cell_id} {running.label}: 57 % after 0.0 min on cpu of " in said
        assert f"partly   {partly.cell_id} {partly.label}: 25 %" in said
        seen = json.loads(_status(tmp_path, "--json"))
        assert seen["running"] == [
            {"cell_id": running.cell_id, "name": running.label, "part": 0.57}
        ]
        assert seen["partly"] == [{"cell_id": partly.cell_id, "part": 0.25}]
    assert "running" not in _status(tmp_path, "--watch"), "and it ends, since nothing runs"
    assert not list(tmp_path.rglob("row.json")), "it only looks"


def test_status_takes_the_filters_of_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    axes = Axes(
        methods=("logit_kd",),
        timesteps=(1,),
        backends=("reference",),
        seeds=(0,),
        settings={"logit_kd": {"temperature": (2.0,)}},
    )
    [cell] = grid.cells("digits", axes, store, Published())
    few = ("digits", "--methods", "logit_kd", "--timesteps", "1", "--backends", "reference")
    asked = ("status", *few, "--seeds", "0", "--out", str(tmp_path), "--results", str(tmp_path))
    with closing(_held(store, cell)):
        said = CliRunner().invoke(app, [*asked, "--set", "logit_kd.temperature=2"]).output
        assert f"running  {cell.cell_id} {cell.label}" in said
        assert "running" not in CliRunner().invoke(app, [*asked, "--untuned"]).output


def test_a_note_that_cannot_be_read_hides_no_running_cell(tmp_path: Path) -> None:
    [cell], store = _cells(1), Store(tmp_path)
    with closing(_held(store, cell)) as lock:
        os.truncate(lock.name, 20)
        [one] = watch.running(store, "digits")
        assert (one.cell_id, one.note) == (cell.cell_id, None)
        assert f"running  {cell.cell_id} {cell.label}\n" in _status(tmp_path)
    assert list(watch.running(store, "digits")) == []
    with (store.folder(cell) / "lock").open("rb") as another:  # who looks at the same time
        fcntl.flock(another, fcntl.LOCK_SH)
        assert list(watch.running(store, "digits")) == []


def telling_twice(order: Order, send: Send) -> bool:
    send(Progress(samples=1, budget=4, loss=1.0))
    time.sleep(0.2)
    send(Progress(samples=3, budget=4, loss=1.0))
    time.sleep(1.0)
    print("said something", flush=True)
    Store(order.conditions.runs).save(_row(order))
    return True


def test_a_run_notes_how_far_its_cells_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.engine.scheduler._NOTE_S", 0.0)
    seen: set[float] = set()
    began_s: set[float] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            noted = [one.note for one in watch.running(Store(tmp_path), "digits") if one.note]
            seen.update(note.part for note in noted)
            began_s.update(note.began_s for note in noted)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        [end] = _ends(_cells(1), tmp_path, telling_twice)
    finally:
        done.set()
        looking.join()
    assert end.row.status == "ok"
    assert seen == {0.0, 0.25, 0.75}
    [log] = tmp_path.rglob("log-*.txt")
    # However far it is, it began when it began: its log is named by that.
    assert began_s == {int(log.stem.removeprefix("log-")) / 1e9}
    said = CliRunner().invoke(app, ["logs", end.cell.cell_id[:6], "--out", str(tmp_path)])
    assert "said something\n" in said.output
    assert str(log) in said.output


def test_logs_are_of_one_cell_that_has_some(tmp_path: Path) -> None:
    _ends(_cells(2), tmp_path, making)
    for name, found in (("", "none"), ("nothing", "none")):
        with pytest.raises(StoreError, match=f"one cell that begins with '{name}', found {found}"):
            watch.log_of(Store(tmp_path), name)
    [first, _] = _cells(2)
    for log in Store(tmp_path).folder(first).glob("log-*"):
        log.unlink()
    with pytest.raises(StoreError, match="holds no log; its cell has not run here"):
        watch.log_of(Store(tmp_path), first.cell_id)


def test_a_log_is_followed_until_its_cell_has_ended(tmp_path: Path) -> None:
    [cell], store = _cells(1), Store(tmp_path)
    lock = _held(store, cell)
    path = store.folder(cell) / "log-1.txt"
    path.write_bytes(b"one ")
    parts = watch.follow(path, pause_s=0.01)
    assert next(parts) == b"one "
    with path.open("ab") as log:
        log.write(b"two ")
    assert next(parts) == b"two "
    with path.open("ab") as log:
        log.write(b"three")
    lock.close()
    assert list(parts) == [b"three"]


def test_plan_tells_how_long_due_cells_will_take(tmp_path: Path) -> None:
    runs, store = tmp_path / "runs", Store(tmp_path / "runs")
    order = Order(
        cell=_cells(1)[0],
        conditions=Conditions(runs=runs, data_root=None),
        log_path=runs / "log.txt",
    )
    row = _row(order)
    made = {"started_at": "2026-01-01T00:00:00+00:00", "ended_at": "2026-01-01T00:05:00+00:00"}
    plain = json.loads(row.to_json())
    plain["provenance"] |= made
    store.folder(order.cell).mkdir(parents=True)
    (store.folder(order.cell) / "row.json").write_text(json.dumps(plain))
    few = ("--methods", "direct", "--timesteps", "1", "--backends", "reference", "--seeds", "0,1,2")
    places = ("--out", str(runs), "--results", str(tmp_path / "results"))
    said = CliRunner().invoke(app, ["plan", "digits", *few, *places]).output
    assert said.count("about 5 min") == 3  # its code is not known, so the row is stale, too
    assert "about 15 min of work on cpu, one at a time" in said
    told = CliRunner().invoke(app, ["plan", "digits", *few, *places, "--json"]).output
    needs = [(one["seconds"], one["gpu_bytes"]) for one in map(json.loads, told.splitlines())]
    assert needs == [(300.0, None)] * 3
    _begin(store, _cells(2)[1])
    said = CliRunner().invoke(app, ["plan", "digits", *few, *places]).output
    assert "  25 % done; about 4 min\n" in said
    assert "about 14 min of work on cpu, one at a time" in said
    said = CliRunner().invoke(app, ["plan", "digits", *few, *places, "--device", "cuda"]).output
    assert "about" not in said
    untold = "no row tells how long 4 of them take on cuda"
    assert said.endswith(f"2 missing; 1 teacher before them; {untold}\n")


def test_plan_counts_the_teachers_that_are_trained_before(tmp_path: Path) -> None:
    few = ("--methods", "logit_kd", "--timesteps", "2", "--seeds", "7", "--backends", "norse")
    asked = ["plan", "digits", *few, "--out", str(tmp_path)]
    first, second, last = CliRunner().invoke(app, asked).output.splitlines()
    assert " teacher digits_convnet seed=0  about " in first
    assert " logit_kd digits_convnet norse T=2 seed=7  about " in second
    assert last.startswith("1 cells: 1 missing; 1 teacher before them; about ")
    [told] = CliRunner().invoke(app, [*asked, "--json"]).output.splitlines()
    assert json.loads(told)["suite"] == "digits"


def test_plan_says_which_methods_mean_nothing_there_and_counts_no_time_for_them(
    tmp_path: Path,
) -> None:
    few = ("--methods", "s4_kd", "--timesteps", "1", "--backends", "reference", "--seeds", "0")
    places = ("--out", str(tmp_path), "--results", str(tmp_path))
    said = CliRunner().invoke(app, ["plan", "digits", *few, *places]).output
    assert "to be skipped: s4_kd needs boxes, which classification on Image has not" in said
    assert said.endswith("1 cells: 1 missing\n")


def test_plan_asks_nobody_how_long_it_takes_where_nothing_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("harness.cli.running.forecast_of", lambda *known: asked.append(known))
    monkeypatch.setattr("harness.cli.running.standings_of", lambda *_: [])
    said = CliRunner().invoke(app, ["plan", "digits", "--results", str(tmp_path)])
    assert (said.exit_code, asked) == (0, []), said.output
