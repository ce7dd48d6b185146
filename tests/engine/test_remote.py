"""An attempt far from its store needs no more than it is sent and keeps nothing to itself."""

import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.method import Progress
from harness.engine.engines import Place, _remote, local
from harness.engine.engines._remote import (
    Errand,
    Files,
    Parcel,
    attempt,
    held,
    lay_out,
    teacher_files,
)
from harness.engine.jobs import Conditions, Order
from harness.engine.processes import End, Job
from harness.engine.teachers import cell_of
from harness.store import Store, write_text
from tests.engine.test_runs import _cells

Send = Callable[[Any], None]
CHECKPOINT, LOG = "checkpoint.safetensors", "log-1.txt"
STEPS = 30


def stepping(order: Order, send: Send) -> bool:
    """Count on from the checkpoint; make a row of it and remove it."""
    folder = order.log_path.parent
    path = folder / CHECKPOINT
    done = int(path.read_text()) if path.exists() else 0
    print(f"from {done}", flush=True)
    for step in range(done, STEPS):
        write_text(path, str(step))
        send(Progress(samples=step, budget=STEPS, loss=0.0))
        time.sleep(0.03)
    (folder / ".half").write_text("not yet")
    write_text(folder / "row.json", "the row")
    path.unlink()
    return True


def only_talking(_order: Order, send: Send) -> bool:
    for step in range(5):
        print(step, flush=True)
        send(Progress(samples=step, budget=5, loss=0.0))
        time.sleep(0.05)
    return True


def silent_until_asked(order: Order, send: Send) -> bool:
    """Keep a checkpoint only when asked to end."""

    def keep(*_: Any) -> None:
        write_text(order.log_path.parent / CHECKPOINT, "asked")
        os._exit(1)

    signal.signal(signal.SIGTERM, keep)
    send(Progress(samples=0, budget=1, loss=0.0))
    time.sleep(60)
    return True


def looking_around(order: Order, send: Send) -> bool:
    teacher = order.cell.teacher
    assert teacher is not None
    found = Store(order.conditions.runs).folder(cell_of(teacher))
    data_root, visible = order.conditions.data_root, os.environ.get("CUDA_VISIBLE_DEVICES")
    send((sorted(path.name for path in found.glob("*")), str(data_root), visible))
    return True


def _order(home: Path) -> Order:
    [cell] = _cells(1)
    folder = Store(home).folder(cell)
    folder.mkdir(parents=True, exist_ok=True)
    conditions = Conditions(runs=home, data_root=Path("data of home"))
    return Order(cell=cell, conditions=conditions, log_path=folder / LOG)


def _errand(order: Order, work: Any, *, sent: bytes | None = None) -> Errand:
    job = Job(name="a cell", work=work, argument=order, log_path=order.log_path)
    files = {} if sent is None else {CHECKPOINT: sent}
    return Errand(job=job, held=files, timeout_s=60.0, left_s=float("inf"))


def _attempt(
    errand: Errand, teacher: Files | None = None, recalled: Callable[[], bool] = lambda: False
) -> Generator[Any]:
    """Yield what an attempt says once it has begun."""
    said = attempt(errand, teacher or {}, recalled=recalled)
    assert next(said) == Parcel(), "it says that it has begun, and nothing else"
    yield from said


def test_what_a_cell_writes_comes_home_while_it_runs_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_remote, "_QUIET_S", 0.1)
    order = _order(tmp_path)
    said = list(_attempt(_errand(order, stepping)))
    *before, last, end = said
    parcels = [each for each in before if isinstance(each, Parcel)]
    steps = [int(each.files[CHECKPOINT]) for each in parcels]
    assert len(steps) > 1
    assert steps == sorted(set(steps))
    assert all(each.gone == frozenset() for each in parcels)
    assert isinstance(last, Parcel)
    assert (last.files["row.json"], last.gone) == (b"the row", {CHECKPOINT})
    assert _log(said) == b"from 0\n"
    assert not {".half", CHECKPOINT} & last.files.keys()
    assert isinstance(end, End)
    assert (end.ending, end.job.argument) == ("done", order)
    assert len([each for each in before if isinstance(each, Progress)]) < STEPS / 2, "now and then"
    assert list(tmp_path.rglob("*.*")) == [], "home is written by whoever is there"


def test_a_log_comes_home_with_a_file_or_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_remote, "_QUIET_S", 0.0)
    said = list(_attempt(_errand(_order(tmp_path), only_talking)))
    assert [type(each) for each in said] == [*[Progress] * 5, Parcel, End]
    assert _log(said) == b"0\n1\n2\n3\n4\n"


def test_an_attempt_goes_on_from_what_it_is_sent(tmp_path: Path) -> None:
    said = list(_attempt(_errand(_order(tmp_path), stepping, sent=b"27")))
    assert _log(said) == b"from 27\n"
    assert said[-2].gone == {CHECKPOINT}


def _log(said: list[Any]) -> bytes:
    [*_, log] = [each.files[LOG] for each in said if isinstance(each, Parcel) and LOG in each.files]
    return bytes(log)


def test_nothing_of_an_attempt_stays_where_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setattr(_remote.TemporaryDirectory, "__init__", _in(there))
    said = _attempt(_errand(_order(tmp_path / "home"), stepping))
    assert isinstance(next(said), Progress)
    assert list(there.iterdir())
    said.close()
    assert not list(there.iterdir())


def _in(folder: Path) -> Any:
    real = _remote.TemporaryDirectory.__init__
    return lambda self, prefix: real(self, prefix=prefix, dir=folder)


def test_teacher_data_and_gpus_are_those_of_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_DISTILL_DATA", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # after the fork server began
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__spec__", None)  # as that of a script, which Ray's is
    monkeypatch.setattr(main, "__file__", "the cluster's.py", raising=False)
    errand = _errand(_order(tmp_path), looking_around)
    told, *_ = _attempt(errand, {"row.json": b"{}", "weights.safetensors": b""})
    # It was said at all, so that script, which is not there, was not run again in the cell.
    assert told == (["row.json", "weights.safetensors"], str(tmp_path), "3")
    assert main.__file__ == "the cluster's.py"
    monkeypatch.delenv("SNN_DISTILL_DATA")
    told, *_ = _attempt(errand)
    assert told[1] == "data of home"


def test_who_is_recalled_writes_down_what_it_has_and_sends_it(tmp_path: Path) -> None:
    recalled: list[bool] = []
    errand = _errand(_order(tmp_path), silent_until_asked)
    said = _attempt(errand, recalled=lambda: bool(recalled))
    assert isinstance(next(said), Progress)
    recalled.append(True)
    last, end = said
    assert last.files[CHECKPOINT] == b"asked"
    assert isinstance(end, End)
    assert (end.ending, end.job) == ("timeout", errand.job)


def test_an_attempt_takes_what_may_help_it_and_leaves_the_rest(tmp_path: Path) -> None:
    order = _order(tmp_path)
    folder = order.log_path.parent
    names = {CHECKPOINT, "more.bin", LOG}
    for name in {*names, "lock", "row.json", "weights.safetensors", "log-0.txt", ".half"}:
        (folder / name).write_text(name)
    assert held(order) == {name: name.encode() for name in names}
    assert held(_order(tmp_path / "new")) == {}


def test_of_a_teacher_there_is_sent_what_there_is(tmp_path: Path) -> None:
    order = _order(tmp_path)
    assert order.cell.teacher is not None
    assert teacher_files(order) == {}
    folder = Store(tmp_path).folder(cell_of(order.cell.teacher))
    folder.mkdir(parents=True)
    for name in ("row.json", "log-0.txt"):
        (folder / name).write_text(name)
    assert teacher_files(order) == {"row.json": b"row.json"}
    alone = replace(order, cell=cell_of(order.cell.teacher))
    assert teacher_files(alone) == {}


@pytest.mark.parametrize("name", ["../row.json", "/etc/x", "a/b", ".hidden", "..", ""])
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (tmp_path / "row.json").write_text("old")
    with pytest.raises(StoreError, match="is no name for a file in"):
        lay_out(folder, {name: b"new"})
    with pytest.raises(StoreError, match="is no name for a file in"):
        lay_out(folder, {}, gone=[name])
    assert (tmp_path / "row.json").read_text() == "old"


def test_a_row_is_written_after_all_that_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(_remote, "write_atomically", lambda path, _write: written.append(path.name))
    lay_out(tmp_path, {"row.json": b"", "weights.safetensors": b"", "a": b""})
    assert written[-1] == "row.json"
    assert len(written) == 3


def test_the_local_engine_has_no_address() -> None:
    with (
        pytest.raises(SpecError, match="takes no --address"),
        local.ENGINE.opened(Place(address="auto")),
    ):
        pass
