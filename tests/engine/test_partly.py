"""Cells that were cut off: how far they are, who comes first, and what the user is told."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.running import _tell_undone
from harness.contracts.cell import TEACHERS
from harness.contracts.method import Progress
from harness.engine import scheduler
from harness.engine.forecast import Forecast
from harness.engine.freshness import Standing, State
from harness.engine.jobs import Order
from harness.engine.partly import fraction, progress_of
from harness.engine.processes import End, Job
from harness.store import CHECKPOINT, Store, write_atomically
from tests.engine.test_runs import Send, _cells, _ends, _made, _row, _run, making, placed


def _checkpoint(folder: Path, samples: int, budget: int = 100) -> None:
    told = {"progress": json.dumps({"samples": samples, "budget": budget})}
    _write(folder, json.dumps({"__metadata__": told}).encode())


def _write(folder: Path, header: bytes, length: int | None = None) -> None:
    held = (len(header) if length is None else length).to_bytes(8, "little") + header
    write_atomically(folder / CHECKPOINT, lambda file: file.write(held))


def test_a_checkpoint_says_how_far_its_cell_is(tmp_path: Path) -> None:
    [cell], store = _cells(1), Store(tmp_path)
    assert progress_of(store, cell) is None
    _checkpoint(store.folder(cell), 57)
    assert progress_of(store, cell) == Progress(samples=57, budget=100, loss=0.0)
    _checkpoint(store.folder(cell), 570)
    assert fraction(progress_of(store, cell)) == 1.0, "nobody is further than the end"


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", 0),
        (b"no json", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"__metadata__": {"progress": "no json"}}', None),
        (b'{"__metadata__": {"progress": "[1, 2]"}}', None),
        (b'{"__metadata__": {"progress": "{\\"samples\\": Infinity, \\"budget\\": 1}"}}', None),
        (b"[" * 10**5, None),
        (b"{}", 2**63),
    ],
)
def test_what_is_no_checkpoint_says_nothing(
    tmp_path: Path, header: bytes, length: int | None
) -> None:
    [cell], store = _cells(1), Store(tmp_path)
    _write(store.folder(cell), header, length)
    assert progress_of(store, cell) is None


def test_teachers_come_first_and_then_what_is_nearly_done(tmp_path: Path) -> None:
    cells, store = _cells(4), Store(tmp_path)
    teachers = [replace(cell, suite=TEACHERS) for cell in cells[:2]]
    for cell, samples in ((cells[1], 20), (cells[3], 90), (teachers[1], 10)):
        _checkpoint(store.folder(cell), samples)
    _ends([*cells, *teachers], tmp_path, making, slots=1)
    wanted = [teachers[1], teachers[0], cells[3], cells[1], cells[0], cells[2]]
    assert _made(tmp_path) == [cell.cell_id for cell in wanted]


def _shift(tmp_path: Path, left_s: float, part: float) -> scheduler._Shift:
    [cell] = _cells(1)
    order = Order(
        cell=cell,
        conditions=scheduler.Conditions(runs=tmp_path, data_root=None),
        log_path=tmp_path / "log.txt",
    )
    forecast = Forecast()
    forecast.add(_row(order), 100.0)
    return scheduler._Shift(
        store=Store(tmp_path),
        conditions=order.conditions,
        until_s=time.monotonic() + left_s,
        run=scheduler.run_jobs,
        versions={},
        places=scheduler.Places(devices=("cpu",)),
        forecast=forecast,
        parts={cell.cell_id: part},
    )


@pytest.mark.parametrize(
    ("left_s", "part", "fits"),
    [
        (105.0, 0.0, True),
        (scheduler._WORTH_S + 5, 0.0, True),  # it gets some way
        (scheduler._WORTH_S - 5, 0.0, False),
        (15.0, 0.9, True),  # 10 s of it are left
        (5.0, 0.9, False),
    ],
)
def test_in_a_time_box_a_cell_begins_that_can_end_or_get_some_way(
    tmp_path: Path, left_s: float, part: float, *, fits: bool
) -> None:
    [cell] = _cells(1)
    assert _shift(tmp_path, left_s, part)._fits(cell) is fits


def _end(ending: str) -> End:
    job = Job(name="", work=making, argument=None, log_path=Path())
    return End(job=job, ending=ending, exit_code=-15, seconds=61.0)  # type: ignore[arg-type]  # one of three


TRAINED = (
    "--retry timeout goes on from there, but all is trained: give judging it a longer --timeout"
)


@pytest.mark.parametrize(
    ("cut_off", "kept", "said"),
    [
        (True, 57, "cut off after 61 s by --for at 57 %; resume with the same command"),
        (True, None, "cut off after 61 s by --for; the same command begins anew"),
        (False, 57, "stopped after 61 s at 57 %; --retry timeout goes on from there"),
        (False, None, "stopped after 61 s; raise --timeout or lower the recipe"),
        (False, 100, f"stopped after 61 s at 100 %; {TRAINED}"),
    ],
)
def test_what_is_told_of_a_cell_that_was_cut_off(
    kept: int | None, said: str, *, cut_off: bool
) -> None:
    progress = None if kept is None else Progress(samples=kept, budget=100, loss=0.0)
    assert scheduler._death(_end("timeout"), cut_off=cut_off, kept=progress) == ("timeout", said)


def test_what_ended_for_its_silence_is_told_so() -> None:
    end = _end("timeout")
    silent = replace(end, job=replace(end.job, patience_s=20.0))
    said = "stopped after 61 s, for 20 s without anything new; raise --timeout or lower the recipe"
    assert scheduler._death(silent, cut_off=False) == ("timeout", said)


def keeping_half(order: Order, send: Send) -> bool:
    """Leave a checkpoint with the second seed and go on for ever; go on from one at once."""
    folder = Store(order.conditions.runs).folder(order.cell)
    if order.cell.seed == 1 and not (folder / CHECKPOINT).exists():
        _checkpoint(folder, 50)
        time.sleep(60)
    return placed(order, send)


def test_a_time_box_counts_what_is_partly_done_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    words = ("--seeds", "0,1,2")
    code, told = _run(tmp_path, keeping_half, *words, "--for", "20s")
    assert code == 1
    assert "1 of 3 done, 1 partly (resume with the same command)" in told
    assert "by --for at 50 %; resume with the same command" in told
    code, told = _run(tmp_path, keeping_half, *words)
    assert code == 0, told


def test_what_failed_is_not_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = _cells(5)
    states: list[State] = ["fresh", "failed", "missing", "skipped", "stale"]
    standings = [Standing(cell=one, state=it) for one, it in zip(cells, states, strict=True)]
    assert _tell_undone(standings, cells, tmp_path) == 2
    told = capsys.readouterr().err
    assert told == "2 of 5 done, 1 failed (resume with the same command)\n"


def test_what_ran_into_its_limit_goes_on_when_asked(tmp_path: Path) -> None:
    words = ("--seeds", "0,1")
    code, told = _run(tmp_path, keeping_half, *words, "--timeout", "5")
    assert code == 1
    assert "at 50 %; --retry timeout goes on from there" in told
    code, told = _run(tmp_path, keeping_half, *words, "--retry", "oom,diverged")
    assert code == 1
    assert "nothing to do" in told
    assert "--retry timeout those that ran into their limit" in told
    code, told = _run(tmp_path, keeping_half, *words, "--retry", "timeout")
    assert code == 0, told


def needing_all_memory(order: Order, _send: Send) -> bool:
    """Run out of memory with the first seed while another is there; the second waits for that."""
    runs, seed = order.conditions.runs, order.cell.seed
    here = runs / f"in-{seed}"
    here.touch()
    if seed == 0 and not _made_before(runs):
        _wait_until((runs / "in-1").exists)
    if seed == 1:
        _wait_until(lambda: "0" in _made_before(runs))
    status = "oom" if seed == 0 and len(list(runs.glob("in-*"))) > 1 else "ok"
    return _leave(order, status)


def needing_more(order: Order, _send: Send) -> bool:
    """Run out of memory with the first seed, with or without others."""
    return _leave(order, "ok" if order.cell.seed else "oom")


def _leave(order: Order, status: Any) -> bool:
    runs, seed = order.conditions.runs, order.cell.seed
    Store(runs).save(_row(order, status))
    (runs / f"in-{seed}").unlink(missing_ok=True)
    with (runs / "made.txt").open("a") as file:
        file.write(f"{seed}\n")
    return bool(status == "ok")


def _made_before(runs: Path) -> list[str]:
    return _made(runs) if (runs / "made.txt").exists() else []


def _wait_until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.01)


def test_out_of_memory_beside_others_is_run_again_alone(tmp_path: Path) -> None:
    ends = _ends(_cells(4), tmp_path, needing_all_memory, slots=2)
    assert {end.cell.seed: end.row.status for end in ends} == dict.fromkeys(range(4), "ok")
    assert Counter(_made(tmp_path)) == Counter("00123")
    assert _made(tmp_path)[0] == _made(tmp_path)[-1] == "0", "nobody waited for it"


def test_out_of_memory_alone_is_called_so(tmp_path: Path) -> None:
    cells = _cells(2)
    [end] = _ends(cells[:1], tmp_path / "alone", needing_more, slots=2)
    assert (end.row.status, _made(tmp_path / "alone")) == ("oom", ["0"])
    beside = {end.cell.seed: end.row for end in _ends(cells, tmp_path, needing_more, slots=2)}
    assert {seed: row.status for seed, row in beside.items()} == {0: "oom", 1: "ok"}
    assert beside[0] == Store(tmp_path).load(cells[0])


def crowded_and_killed(order: Order, _send: Send) -> bool:
    (order.conditions.runs / f"in-{order.cell.seed}").touch()
    while len(list(order.conditions.runs.glob("in-*"))) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), 9)
    return True


def test_a_run_that_ends_before_it_came_to_the_crowded_leaves_them_due(tmp_path: Path) -> None:
    [first, _] = cells = _cells(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler._Shift, "_fits", lambda shift, _: not shift.places.alone)
        assert _ends(cells, tmp_path, crowded_and_killed, slots=2) == []
    row = Store(tmp_path).load(first)
    assert row is not None
    assert row.status == "machine"
    assert "out of memory beside other cells; the same command runs it alone" in str(row.error)
