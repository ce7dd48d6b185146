"""What one job or one file does ends no run and harms no other: trials that once did."""

import io
import json
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from harness import discovery
from harness.cli import app
from harness.contracts.errors import HarnessError, SpecError
from harness.contracts.method import Progress
from harness.engine import grid, processes, progress, scheduler
from harness.engine.grid import Axes
from harness.engine.meaning import unmeant
from harness.engine.processes import End, Job, News, run_jobs
from harness.engine.scheduler import CellEnded, Started
from harness.results import Published
from harness.store import Store
from tests.report.rows import wrong

Send = Callable[[Any], None]


def good(argument: Any, send: Send) -> bool:
    send(argument)
    return True


def killing_itself(number: int, _send: Send) -> bool:
    os.kill(os.getpid(), number)
    return True


class _Riddle:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise LookupError("nobody can read this")


def speaking_in_riddles(_argument: Any, send: Send) -> bool:
    send(_Riddle())
    time.sleep(60)
    return True


def flooding(megabytes: int, _send: Send) -> bool:
    for number in range(megabytes):
        os.write(1, f"{number:08}\n".encode() * (2**20 // 9))
    os.write(2, b"the last words\n")
    return True


def telling_what_the_kernel_prefers(_argument: Any, send: Send) -> bool:
    send(int(Path("/proc/self/oom_score_adj").read_text()))
    return True


def waiting(_argument: Any, send: Send) -> bool:
    send(os.getpid())
    time.sleep(60)
    return True


def _job(folder: Path, work: Any, argument: Any = None) -> Job:
    log_path = folder / f"{work.__name__}.txt"
    return Job(name=work.__name__, work=work, argument=argument, log_path=log_path)


def _end(jobs: list[Job], timeout_s: float = 60.0) -> list[End]:
    ended = [each for each in run_jobs(jobs, slots=1, timeout_s=timeout_s) if isinstance(each, End)]
    assert len(ended) == len(jobs)
    return ended


@pytest.mark.parametrize("timeout_s", [float("inf"), 1e12])
def test_a_limit_may_be_endless(tmp_path: Path, timeout_s: float) -> None:
    [end] = _end([_job(tmp_path, good)], timeout_s)
    assert end.ending == "done"


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="has no real-time signals")
def test_a_signal_without_a_name_is_told_by_its_number(tmp_path: Path) -> None:
    number = int(signal.SIGRTMIN) + 3
    [end] = _end([_job(tmp_path, killing_itself, number)])
    said = ("failed", f"killed by signal {number}; see the log")
    assert scheduler._death(end, cut_off=False) == said


def test_a_job_that_says_what_nobody_can_read_ends_alone(tmp_path: Path) -> None:
    riddling, after = _end([_job(tmp_path, speaking_in_riddles), _job(tmp_path, good)])
    assert (riddling.ending, riddling.exit_code) == ("died", -signal.SIGABRT)
    assert "nobody can read this" in riddling.job.log_path.read_text()
    assert after.ending == "done"


def test_a_log_keeps_its_beginning_and_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LOG_BYTES", 2**20)
    [end] = _end([_job(tmp_path, flooding, 8)])
    lines = end.job.log_path.read_bytes().splitlines()
    assert end.job.log_path.stat().st_size == 2**20
    assert lines[0] == b"00000000"
    assert lines[-1] == b"the last words"
    assert lines.count(processes._LOG_NOTE.strip()) == 1


def test_a_short_log_is_left_as_it_is(tmp_path: Path) -> None:
    [end] = _end([_job(tmp_path, flooding, 1)])
    assert b"cut" not in end.job.log_path.read_bytes()


def test_a_running_job_cannot_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LOG_BYTES", 2**20)
    path = tmp_path / "log.txt"
    with path.open("ab", buffering=0) as log:  # as a job has it
        for number in range(4):
            log.write(b"%d" % number * 2**20)
            processes._shorten(path)
            assert path.stat().st_size == 2**20
        log.write(b"end")
    assert path.read_bytes().endswith(b"33end")


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_the_kernel_short_of_memory_ends_a_cell_before_the_run(tmp_path: Path) -> None:
    [news, _] = run_jobs([_job(tmp_path, telling_what_the_kernel_prefers)], slots=1, timeout_s=60.0)
    assert isinstance(news, News)
    assert news.value == 1000
    assert int(Path("/proc/self/oom_score_adj").read_text()) < 1000


def test_a_killed_fork_server_is_no_fault_of_the_job(tmp_path: Path) -> None:
    jobs = [_job(tmp_path, waiting), _job(tmp_path, good)]
    ends = []
    for each in run_jobs(jobs, slots=1, timeout_s=60.0):
        if isinstance(each, End):
            ends.append(each)
        elif each.job.name == "waiting":
            server = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # there is no public name
            os.kill(server, signal.SIGKILL)
    lost, after = ends
    assert (lost.ending, lost.exit_code) == ("died", None)
    assert scheduler._death(lost, cut_off=False)[0] == "machine"
    assert after.ending == "done", "the next has a new server"


def test_a_job_that_exits_as_if_its_server_were_gone_has_failed(tmp_path: Path) -> None:
    [end] = _end([_job(tmp_path, exiting, 255)])
    assert end.exit_code == 255
    assert scheduler._death(end, cut_off=False)[0] == "failed"


def exiting(code: int, _send: Send) -> bool:
    os._exit(code)


def test_a_log_that_cannot_be_opened_is_no_fault_of_the_job(tmp_path: Path) -> None:
    job = _job(tmp_path / "file" / "below", good)
    (tmp_path / "file").write_text("no folder")
    [end] = _end([job])
    assert scheduler._death(end, cut_off=False)[0] == "machine"


def _happenings() -> Iterator[Any]:
    row = wrong("direct", "failed", "no [/x] and no [bold]this")
    yield Started(
        cell_id="0", name="a [/red] name", progress=Progress(samples=0, budget=0, loss=1.0)
    )
    yield CellEnded(cell=row.cell, row=row, seconds=1.0)


def test_an_error_is_shown_as_it_is_whatever_it_would_mean_as_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda: console)
    assert progress.tell(_happenings(), cells=1, as_json=False) == 1
    assert "no [/x] and no [bold]this" in shown.getvalue()
    assert "a [/red] name" in shown.getvalue()


def test_what_went_wrong_is_told_with_the_log_that_says_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_QUIET_S", -1.0)
    assert progress.tell(_happenings(), cells=1, as_json=False) == 1
    failed = wrong("direct", "failed", "no")
    log_path = failed.provenance.log_path
    told = f"no [/x] and no [bold]this (its output: logs {failed.cell_id})"
    assert told in capsys.readouterr().out
    progress.tell(_happenings(), cells=1, as_json=True)
    assert json.loads(capsys.readouterr().out)["log_path"] == log_path


BROKEN = {
    "unfinished": ("METHOD = (\n", "line 1: SyntaxError: '(' was never closed"),
    "computed": ("METHOD = Some(rate=2 * 3)\n", "line 1: '2 * 3' is no literal"),
    "odd": ("METHOD = '\x00'\n", "source code string cannot contain null bytes"),
}


@pytest.fixture(params=BROKEN)
def broken(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Put a method that cannot be read beside the others; return its name."""
    name = f"broken_{request.param}"
    (tmp_path / f"{name}.py").write_text(BROKEN[request.param][0])
    monkeypatch.syspath_prepend(tmp_path)
    known = {**discovery._modules("methods"), name: name}
    monkeypatch.setattr(
        discovery,
        "_modules",
        lambda kind, real=discovery._modules: known if kind == "methods" else real(kind),
    )
    yield name
    discovery._tree.cache_clear()
    discovery.file_of.cache_clear()


def _cells(*methods: str) -> list[Any]:
    axes = Axes(methods=methods or None, timesteps=(1,), seeds=(0,))
    return grid.cells("digits", axes, Store(Path("nothing")), Published())


def test_a_method_that_cannot_be_read_blocks_only_its_own_cells(
    broken: str, request: pytest.FixtureRequest
) -> None:
    said = BROKEN[request.node.callspec.params["broken"]][1]
    others = set(discovery.names("methods")) - {broken}
    meant = {one for one in others if not unmeant(one, "digits")}
    assert {cell.method for cell in _cells()} == meant
    [(name, words)] = grid.unreadable("digits", Axes()).items()
    assert name == broken
    assert f"{broken}.py" in words
    assert said in words
    assert "\n" not in words
    assert {cell.method for cell in _cells("direct")} == {"direct"}
    with pytest.raises(SpecError, match=f"{broken}.py"):
        _cells(broken)
    assert grid.unreadable("digits", Axes(methods=(broken,))) == {}


@pytest.mark.parametrize("suite", [[], ["digits"]])
def test_claims_say_which_method_they_could_not_read(broken: str, suite: list[str]) -> None:
    ended = CliRunner().invoke(app, ["claims", *suite, "--out", "nowhere", "--results", "nowhere"])
    assert ended.exit_code == 0
    assert "left out: " in ended.stderr
    assert f"{broken}.py" in ended.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("SUITE = (\n", r"torn\.py line 1: SyntaxError: '\(' was never closed"),
        ("x = 1\nSUITE = y\n", r"torn\.py line 2: NameError: name 'y' is not defined"),
        ("import nothing_at_all\n", r"torn\.py line 1: ModuleNotFoundError: No module named"),
        ("x = 1\n", "torn must provide SUITE"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "torn.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torn", raising=False)
    monkeypatch.setattr(discovery, "_modules", lambda _kind: {"torn": "torn"})
    try:
        with pytest.raises(HarnessError, match=said) as caught:
            discovery.load("suites", "torn")
        assert "\n" not in str(caught.value)
        if "import" in source:
            with pytest.raises(ModuleNotFoundError):
                discovery.load("backends", "torn")
    finally:
        discovery.file_of.cache_clear()
        sys.modules.pop("torn", None)
