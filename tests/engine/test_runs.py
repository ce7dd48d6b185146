"""Runs that share a folder, end in time, or meet a machine that fails."""

import errno
import hashlib
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from harness.cli import app
from harness.contracts.cell import Cell
from harness.contracts.errors import (
    DataError,
    DivergedError,
    PlaceError,
    SpecError,
    StoreError,
    UnsupportedError,
)
from harness.contracts.method import Progress
from harness.contracts.row import Metrics, Provenance, Row, Status
from harness.contracts.tuning import Tuning
from harness.engine import freshness, grid, provenance, worker
from harness.engine.freshness import Standing
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions, Order
from harness.engine.proofs import Verified
from harness.engine.publish import publish
from harness.engine.scheduler import CellEnded, Event, SetBack, conduct
from harness.engine.teachers import cell_of
from harness.engine.tune import Search, chosen
from harness.results import Published, freeze
from harness.store import CHECKPOINT, Store

Send = Callable[[Any], None]
Work = Callable[[Order, Send], bool]
METRICS = Metrics(score=0.5, score_low=0.4, score_high=0.6, n_test=10)
BOX_S = 4.0
WEIGHTS = b"weights"


def _cells(count: int, method: str = "direct") -> list[Cell]:
    axes = Axes(
        methods=(method,), timesteps=(1,), seeds=tuple(range(count)), backends=("reference",)
    )
    return grid.cells("digits", axes, Store(Path("nothing")), Published())


def _row(order: Order, status: Status = "ok") -> Row:
    made = Provenance(log_path=str(order.log_path.relative_to(order.conditions.runs)))
    if status == "ok":
        return Row(cell=order.cell, status=status, metrics=METRICS, provenance=made)
    return Row(cell=order.cell, status=status, error="planned", provenance=made)


def making(order: Order, _send: Send) -> bool:
    """Make a good row in no time, and note that it was made."""
    with (order.conditions.runs / "made.txt").open("a") as file:
        file.write(f"{order.cell.cell_id}\n")
    time.sleep(0.05)
    Store(order.conditions.runs).save(_row(order))
    return True


def dying(_order: Order, _send: Send) -> bool:
    os._exit(3)


def without_a_machine(order: Order, send: Send) -> bool:
    with (order.conditions.runs / "made.txt").open("a") as file:
        file.write(f"{order.cell.cell_id}\n")
    send(_row(order, "machine"))
    return False


def now_and_then(order: Order, send: Send) -> bool:
    """Meet a failure of the machine with every other seed."""
    return (making if order.cell.seed % 2 else without_a_machine)(order, send)


def slow_from_the_third(order: Order, send: Send) -> bool:
    if order.cell.seed >= 2:
        time.sleep(60)
    return making(order, send)


def taking_its_time(order: Order, send: Send) -> bool:
    time.sleep(0.5 * BOX_S)
    return making(order, send)


def _ends(
    cells: list[Cell], runs: Path, work: Work, *, slots: int = 2, **options: Any
) -> list[CellEnded]:
    """Return how each of ``cells`` ended that were done by ``work``."""
    return _ended(_events(cells, runs, work, slots=slots, **options))


def _events(cells: list[Cell], runs: Path, work: Work, **options: Any) -> list[Event]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "work_on_cell", work)
        return _happened(cells, runs, **options)


def _conducted(cells: list[Cell], runs: Path, **options: Any) -> list[CellEnded]:
    return _ended(_happened(cells, runs, **options))


def _ended(events: list[Event]) -> list[CellEnded]:
    return [each for each in events if isinstance(each, CellEnded)]


def _happened(cells: list[Cell], runs: Path, **options: Any) -> list[Event]:
    conditions = Conditions(runs=runs, data_root=None)
    happenings = conduct(cells, conditions, **{"slots": 2, "timeout_s": 60.0, **options})
    with closing(happenings):
        return list(happenings)


def _made(runs: Path) -> list[str]:
    return (runs / "made.txt").read_text().splitlines()


def _standing(cell: Cell, store: Store) -> Standing:
    [one] = freshness.standings([cell], store, Published(), Verified([]), data_root=None)
    return one


def test_two_runs_on_one_folder_share_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work_on_cell", making)
    cells = _cells(8)
    found: list[list[CellEnded]] = []
    # Both know the cells before either begins one, as two commands typed at once do.
    threads = [
        threading.Thread(target=lambda: found.append(_conducted(cells, tmp_path))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(_made(tmp_path)) == Counter(cell.cell_id for cell in cells)
    for ends in found:
        assert sorted(end.cell.seed for end in ends) == list(range(8))
        assert {end.row.status for end in ends} == {"ok"}


def test_a_cell_that_another_run_has_is_waited_for_and_begun_if_that_leaves_it(
    tmp_path: Path,
) -> None:
    [cell] = _cells(1)
    lock = Store(tmp_path).claim(cell)
    assert lock is not None
    assert Store(tmp_path).claim(cell) is None
    threading.Timer(0.3, lock.close).start()
    [end] = _ends([cell], tmp_path, making)
    assert end.row.status == "ok"
    assert _made(tmp_path) == [cell.cell_id]


def test_no_run_waits_for_another_beyond_its_own_end(tmp_path: Path) -> None:
    [cell] = _cells(1)
    with Store(tmp_path).claim(cell) or pytest.fail("nobody has it"):
        assert _ends([cell], tmp_path, making, until_s=time.monotonic() + 0.3) == []


def test_a_cell_is_free_again_once_its_run_has_ended(tmp_path: Path) -> None:
    cells = _cells(2)
    _ends(cells, tmp_path, dying)
    for cell in cells:
        with Store(tmp_path).claim(cell) or pytest.fail("nobody has it"):
            pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "digits").write_text("no folder")
    with pytest.raises(StoreError, match=r"cannot write .*lock: .*choose another folder"):
        _ends(_cells(1), tmp_path, making)
    with pytest.raises(StoreError, match=r"cannot read .*row\.json: .*choose another folder"):
        Store(tmp_path).load(_cells(1)[0])


@pytest.mark.parametrize("work", [dying, without_a_machine])
def test_what_ends_without_numbers_never_replaces_numbers(tmp_path: Path, work: Work) -> None:
    [cell] = _cells(1)
    [good] = _ends([cell], tmp_path, making)
    [end] = _ends([cell], tmp_path, work)
    assert end.row.status != "ok"
    assert Store(tmp_path).load(cell) == good.row


def test_without_numbers_there_the_failure_is_kept(tmp_path: Path) -> None:
    [cell] = _cells(1)
    [end] = _ends([cell], tmp_path, dying)
    assert end.row == Store(tmp_path).load(cell)
    assert end.row.error == "the process exited with code 3 without a row; see the log"


def test_a_failure_of_the_machine_is_run_again_by_the_same_command(tmp_path: Path) -> None:
    [cell] = _cells(1)
    _ends([cell], tmp_path, without_a_machine)
    found = Store(tmp_path).load(cell)
    assert found is not None
    made = replace(
        found.provenance,
        train_fp=freshness.fingerprints(cell)["train"],
        measure_fp=freshness.fingerprints(cell)["measure"],
        data_fp=freshness.data_fingerprint(cell.dataset, None),
    )
    store = Store(tmp_path / "judged")
    store.save(replace(found, provenance=made))
    one = _standing(cell, store)
    assert (one.state, one.why, one.is_due) == ("missing", "machine: planned", True)
    store.save(replace(found, provenance=made, status="failed"))
    assert not _standing(cell, store).is_due


def test_several_failures_of_the_machine_in_a_row_stop_a_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"3 cells in a row .* the last: planned; no more were"):
        _ends(_cells(8), tmp_path, without_a_machine, slots=1)
    assert len(set(_made(tmp_path))) == 3


def test_a_failure_of_the_machine_now_and_then_stops_nothing(tmp_path: Path) -> None:
    ends = _ends(_cells(8), tmp_path, now_and_then, slots=1)
    assert Counter(end.row.status for end in ends) == {"ok": 4, "machine": 4}


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "machine"),
        (OSError(errno.EROFS, "Read-only file system"), "machine"),
        (StoreError("the teacher is not ready"), "machine"),
        (_caused(DataError("unreadable"), OSError(errno.EIO, "Input/output error")), "machine"),
        (RuntimeError("No CUDA GPUs are available"), "machine"),
        (AssertionError("Torch not compiled with CUDA enabled"), "machine"),
        (DataError("not here; set SNN_DISTILL_DATA"), "machine"),
        (PlaceError("several devices would draw others; run it on one"), "skipped"),
        (UnsupportedError("a teacher of another topology"), "skipped"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "failed"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "oom"),
        (RuntimeError("CUDA error: out of memory\nerrors might be asynchronous"), "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "oom"),
        (RuntimeError("Triton Error [CUDA]: out of memory"), "oom"),
        (RuntimeError("CUDA error: device-side assert triggered"), "failed"),
        (SpecError("no such thing"), "failed"),
    ],
)
def test_what_the_machine_refused_is_told_from_what_the_cell_did(
    error: Exception, status: str
) -> None:
    assert worker.describe(error)[0] == status


def test_an_error_of_any_length_is_one_line_of_a_row() -> None:
    assert worker.describe(ValueError("x" * 10**6 + "\nmore"))[1] == f"ValueError: {'x' * 500}"
    assert worker.describe(ValueError("\n"))[1] == "ValueError: "
    assert worker.describe(ValueError("a\ud800b"))[1] == "ValueError: a\\ud800b"


def _worked(tmp_path: Path, patch: pytest.MonkeyPatch, run: Callable[..., Row]) -> list[Any]:
    """Return what is sent of a cell that ``run`` runs, in this process."""
    from harness.engine import cell

    [asked] = _cells(1)
    sent: list[Any] = []
    conditions = Conditions(runs=tmp_path, data_root=None)
    order = Order(cell=asked, conditions=conditions, log_path=tmp_path / "log.txt")
    patch.setattr(cell, "run", run)
    worker.work_on_cell(order, sent.append)
    return sent


def test_a_row_that_the_disk_refuses_comes_back_as_one_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    [sent] = _worked(tmp_path, monkeypatch, lambda order, _report: _row(order))
    assert sent.status == "machine"
    assert "No space left on device; make room" in sent.error
    assert not list(tmp_path.rglob("row.json"))


def test_a_failure_of_the_machine_is_sent_and_left_to_the_parent_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_order: Order, _report: Send) -> Row:
        raise OSError(errno.EIO, "Input/output error")

    [sent] = _worked(tmp_path, monkeypatch, run)
    assert sent.status == "machine"
    assert not list(tmp_path.rglob("row.json"))


@pytest.mark.parametrize(
    ("error", "stays"),
    [
        (MemoryError(), True),
        (ValueError("a bug"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (UnsupportedError("it means nothing here"), False),
        (DivergedError("the loss became nan"), False),
    ],
)
def test_what_was_trained_before_a_failure_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, *, stays: bool
) -> None:
    [asked] = _cells(1)
    path = Store(tmp_path).folder(asked) / CHECKPOINT
    path.parent.mkdir(parents=True)
    path.touch()

    def run(_order: Order, _report: Send) -> Row:
        raise error

    _worked(tmp_path, monkeypatch, run)
    assert path.exists() == stays
    _worked(tmp_path, monkeypatch, lambda order, _report: _row(order))
    assert not path.exists()


class Odd(Progress):
    """What only the method's own process can read."""

    def __reduce__(self) -> Any:
        raise TypeError("cannot be sent")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (3, "a method must yield Progress, got int"),
        (Odd(samples=1, budget=2, loss=0.5), None),
        (Progress(samples=1, budget=2, loss="high"), "could not convert string to float"),  # type: ignore[arg-type]  # as a careless method might
    ],
)
def test_a_parent_is_sent_nothing_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, told: str | None
) -> None:
    def run(order: Order, report: Send) -> Row:
        report(given)
        return _row(order)

    sent = _worked(tmp_path, monkeypatch, run)
    [file] = tmp_path.rglob("row.json")
    row = Row.from_json(file.read_bytes())
    if told is None:
        assert sent == [Progress(samples=1, budget=2, loss=0.5)]
        assert type(sent[0]) is Progress
        assert row.status == "ok"
    else:
        assert sent == []
        assert told in str(row.error)


@pytest.fixture
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have a fork server that has imported what it preloads: that takes longer than a box."""
    _ends(_cells(1), tmp_path_factory.mktemp("warm"), making)


@pytest.mark.usefixtures("_warm")
def test_a_time_box_begins_what_fits_and_cuts_off_the_rest(tmp_path: Path) -> None:
    begun_s = time.monotonic()
    box = {"slots": 1, "until_s": begun_s + BOX_S, "timeout_s": None}
    *ends, last = _events(_cells(6), tmp_path, slow_from_the_third, **box)
    # It is asked to end before the box does, and does so at once.
    assert time.monotonic() - begun_s < BOX_S + 1
    assert [(end.cell.seed, end.row.status) for end in _ended(ends)] == [(0, "ok"), (1, "ok")]
    assert isinstance(last, SetBack)
    assert last.cell.seed == 2
    assert "the same command begins anew" in last.why
    rows = Store(tmp_path).rows("digits")
    assert sorted(row.cell.seed for row in rows) == [0, 1], "as if the run had been interrupted"


@pytest.mark.usefixtures("_warm")
def test_no_cell_is_begun_that_needs_more_than_is_left(tmp_path: Path) -> None:
    until_s = time.monotonic() + BOX_S
    ends = _ends(_cells(3), tmp_path, taking_its_time, slots=1, until_s=until_s)
    assert [end.row.status for end in ends] == ["ok"]


def test_students_wait_for_a_teacher_that_its_time_box_did_not_make(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def some(jobs: Any, **_: Any) -> Iterator[Any]:
        asked.append([job.argument.cell.suite for job in jobs])
        return (each for each in ())

    [student] = _cells(1)
    assert student.teacher is not None
    teacher, alone = cell_of(student.teacher), replace(student, teacher=None)
    conditions = Conditions(runs=tmp_path, data_root=None)
    list(conduct([student, teacher, alone], conditions, slots=1, timeout_s=None, run=some))
    assert asked == [["teachers"], ["digits"]]


def test_what_goes_on_telling_has_no_limit_unless_one_is_asked_for(tmp_path: Path) -> None:
    limits: list[tuple[float, float]] = []

    def none(jobs: Any, *, timeout_s: float, **_: Any) -> Iterator[Any]:
        limits.extend((timeout_s, job.patience_s) for job in jobs)
        return (each for each in ())

    [cell] = _cells(1)
    cells = [replace(cell, suite="teachers"), cell]
    conditions = Conditions(runs=tmp_path, data_root=None)
    for timeout_s in (None, 5.0):
        list(conduct(cells, conditions, slots=1, timeout_s=timeout_s, run=none))
    assert limits == 2 * [(math.inf, 7200.0)] + 2 * [(5.0, math.inf)]


@pytest.mark.parametrize("of", [1, 4, 7])
def test_shards_are_a_partition_into_parts_of_one_size(of: int) -> None:
    axes = Axes(methods=("direct", "logit_kd"), seeds=(0, 1, 2))
    whole = grid.cells("digits", axes, Store(Path("nothing")), Published())
    ordered = sorted(cell.cell_id for cell in whole)
    assert len(_cells(4)) == 4, "without a shard, nothing is left out"
    parts = [
        grid.cells("digits", replace(axes, shard=(k, of)), Store(Path("nothing")), Published())
        for k in range(1, of + 1)
    ]
    for k, part in enumerate(parts):
        assert {cell.cell_id for cell in part} == set(ordered[k::of])
        assert [cell for cell in whole if cell in part] == part
    assert sorted(cell.cell_id for part in parts for cell in part) == ordered


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--jobs", "0"), "--jobs must be positive, got 0; leave it out for the default"),
        (("--jobs", "auto"), "--jobs takes a number, or auto on a GPU, got 'auto' for cpu"),
        (("--jobs", "many"), "--jobs takes a number, or auto on a GPU, got 'many' for cpu"),
        (("--retry", "ok"), "--retry takes timeout, oom, failed, diverged, got 'ok'"),
        (("--retry", ""), "--retry names none"),
        (("--devices", "0,1"), "--devices takes GPUs like cuda:0,cuda:1, got '0,1'"),
        (("--devices", "cuda:77,cuda:78"), "--device cuda:77: torch finds "),
        (("--gpus-per-cell", "0"), "--gpus-per-cell must be positive, got 0"),
        (("--gpus-per-cell", "2", "--device", "cuda:77"), "--device cuda:77 and 1 more: torch"),
        (("--gpus-per-cell", "2", "--engine", "ray"), "--gpus-per-cell is for --engine local"),
        (("--methods", ""), "--methods names none; name some, or leave it out for all"),
        (("--seeds", ","), "--seeds names none"),
        (("--shard", "5/4"), "--shard must be one of 1/4 to 4/4, got 5/4"),
        (("--shard", "0/4"), "--shard must be one of 1/4 to 4/4, got 0/4"),
        (("--shard", "half"), "--shard takes one part of several like 1/4, got 'half'"),
        (("--for", "14"), "--for takes a time like 90s, 14m or 2h, got '14'"),
        (("--for", "0s"), "--for must be positive, got 0.0"),
        (("--checkpoint-every", "0m"), "--checkpoint-every must be positive, got 0.0"),
        (("--device", "gpu"), "--device must be cpu, cuda or cuda:N, got 'gpu'"),
        (("--device", "cuda:77"), "--device cuda:77: torch finds "),
    ],
)
def test_what_no_run_can_mean_is_refused_before_one_begins(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "runs"
    done = CliRunner().invoke(
        app, ["run", "digits", "--out", str(out), "--results", str(tmp_path), *words]
    )
    assert isinstance(done.exception, SpecError)
    assert said in str(done.exception)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "14"), "--for takes a time like 90s, 14m or 2h, got '14'"),
        (("--timeout", "-1"), "--timeout must be positive, got -1.0"),
        (("--devices", "0,1"), "--devices takes GPUs like cuda:0,cuda:1, got '0,1'"),
        (("--devices", "cuda:77,cuda:78"), "--device cuda:77: torch finds "),
    ],
)
def test_what_no_search_can_mean_is_refused_before_it_begins(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    places = ("--out", str(tmp_path / "runs"), "--results", str(tmp_path))
    done = CliRunner().invoke(app, ["tune", "digits", "--methods", "direct", *places, *words])
    assert isinstance(done.exception, SpecError)
    assert said in str(done.exception)
    assert not (tmp_path / "runs").exists()


def test_no_jobs_is_refused_by_every_verb_that_has_them(tmp_path: Path) -> None:
    places = ("--out", str(tmp_path), "--results", str(tmp_path))
    for verb in ("run", "tune", "reverify"):
        done = CliRunner().invoke(app, [verb, "digits", "--jobs", "0", *places])
        assert "--jobs must be positive, got 0" in str(done.exception), verb


def _run(tmp_path: Path, work: Work, *words: str, verb: str = "run") -> tuple[int, str]:
    few = ["--methods", "direct", "--timesteps", "1", "--backends", "reference"]
    few += ["--jobs", "1"] if verb in ("run", "tune") else []
    places = ("--out", str(tmp_path), "--results", str(tmp_path / "results"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "work_on_cell", work)
        done = CliRunner().invoke(app, [verb, "digits", *few, *places, *words])
    return done.exit_code, done.output


def failing(order: Order, send: Send) -> bool:
    """Fail with words that would be a line of their own and clear the screen."""
    placed(order, send)
    store = Store(order.conditions.runs)
    if order.cell.suite != "teachers" and (made := store.load(order.cell)) is not None:
        words = "gone\nfresh     0000000000000000 direct\x1b[2J"
        store.save(replace(made, status="failed", metrics=None, ledger=None, error=words))
    return True


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_what_a_row_says_of_its_failure_is_one_line_that_no_terminal_obeys(
    tmp_path: Path, verb: str
) -> None:
    _run(tmp_path, failing, "--seeds", "0")
    _, told = _run(tmp_path, failing, "--seeds", "0", verb=verb)
    [line] = [line for line in told.splitlines() if "seed=0" in line]
    assert line.startswith("failed ")
    assert "gone fresh 0000000000000000 direct\\u001b[2J" in line


def placed(order: Order, _send: Send) -> bool:
    """Make a fresh row, with weights."""
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    made = provenance.provenance(
        order,
        started=datetime.now(UTC),
        weights_sha256=sha256,
        teacher_sha256=sha256 if order.cell.teacher else None,
    )
    store = Store(order.conditions.runs)
    store.save(replace(_row(order), provenance=made))
    (store.folder(order.cell) / "weights.safetensors").write_bytes(WEIGHTS)
    return True


def slow_from_the_second(order: Order, send: Send) -> bool:
    if order.cell.suite != "teachers" and order.cell.seed >= 1:
        time.sleep(60)
    return placed(order, send)


def test_a_run_that_is_not_done_says_how_far_it_is_and_the_next_goes_on(tmp_path: Path) -> None:
    words = ("--seeds", "0,1,2")
    code, told = _run(tmp_path, slow_from_the_second, *words, "--for", "20s")
    assert code == 1
    assert "1 of 3 done (resume with the same command)" in told
    code, told = _run(tmp_path, placed, *words)
    assert code == 0, told
    assert "2 cells in" in told
    assert "the same command" not in told


def slow_at_other_rates(order: Order, send: Send) -> bool:
    """Finish the teacher and the first trial of a search."""
    cell = order.cell
    if cell.suite != "teachers" and cell.recipe != grid.load_suite("digits").recipes["short"]:
        time.sleep(60)
    return placed(order, send)


def beside_another_search(order: Order, send: Send) -> bool:
    """Make a trial while another search of the suite ends."""
    other = Tuning(
        method="dkd",
        model="digits_convnet",
        recipe_name="short",
        seed=1000,
        timesteps=1,
        backend="reference",
        learning_rate=0.1,
    )
    freeze("digits", [other], results=order.conditions.runs / "results")
    return placed(order, send)


def test_a_search_ends_in_its_time_freezes_nothing_half_tried_and_goes_on(tmp_path: Path) -> None:
    words = ("--recipe", "short", "--trials", "3")
    frozen = tmp_path / "results" / "digits" / "tuning.jsonl"
    code, told = _run(tmp_path, slow_at_other_rates, *words, "--for", "20s", verb="tune")
    assert code == 1
    assert "1 of 3 done (resume with the same command)" in told
    assert "0 choices" in told
    assert not frozen.exists()
    code, told = _run(tmp_path, beside_another_search, *words, verb="tune")
    assert code == 0, told
    assert "2 trials to run" in told
    methods = [json.loads(line)["method"] for line in frozen.read_text().splitlines()]
    assert methods == ["direct", "dkd"]  # what was frozen meanwhile is kept


def test_a_search_whose_code_moved_chooses_nothing_by_what_is_left_of_it(tmp_path: Path) -> None:
    words = ("--recipe", "short", "--trials", "3")
    code, told = _run(tmp_path, placed, *words, verb="tune")
    assert code == 0, told
    for path in tmp_path.glob("digits/*/row.json"):
        row = Row.from_json(path.read_text())
        moved = replace(row, provenance=replace(row.provenance, train_fp="0" * 16))
        path.write_text(moved.to_json())
    code, told = _run(tmp_path, slow_at_other_rates, *words, "--for", "4s", verb="tune")
    assert code == 1
    assert "0 choices" in told


def test_a_failure_of_the_machine_is_in_no_table(tmp_path: Path) -> None:
    [cell] = _cells(1)
    conditions = Conditions(runs=tmp_path, data_root=None)
    order = Order(cell=cell, conditions=conditions, log_path=tmp_path / "log.txt")
    for status, rows in (("machine", 0), ("failed", 1)):
        Store(tmp_path).save(_row(order, status))  # type: ignore[arg-type]  # both are one
        found = publish("digits", runs=tmp_path, folder=tmp_path / "results", data_root=None)
        assert len(found.rows) == rows


def test_nothing_is_chosen_while_the_machine_failed_a_trial(tmp_path: Path) -> None:
    cells = _cells(2)
    search = Search(method="direct", model=cells[0].model, cells=tuple(cells))
    conditions = Conditions(runs=tmp_path, data_root=None)
    orders = [
        Order(cell=cell, conditions=conditions, log_path=tmp_path / "log.txt") for cell in cells
    ]
    Store(tmp_path).save(_row(orders[0]))
    Store(tmp_path).save(_row(orders[1], "machine"))
    assert chosen(search, Store(tmp_path)) is None
    Store(tmp_path).save(_row(orders[1], "failed"))
    assert chosen(search, Store(tmp_path)) is not None


def test_each_shard_makes_the_teacher_that_it_needs(tmp_path: Path) -> None:
    for k in (1, 2):
        code, told = _run(tmp_path / str(k), placed, "--seeds", "0,1,2,3", "--shard", f"{k}/2")
        assert code == 0, told
        assert "3 cells in" in told
    assert len(list(tmp_path.glob("?/digits/*/row.json"))) == 4
    assert len(list(tmp_path.glob("?/teachers/*/row.json"))) == 2
