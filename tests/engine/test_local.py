"""A job that raises, aborts, hangs, exits or is killed never harms another."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from harness.engine import processes
from harness.engine.processes import End, Job, News, run_jobs

LIMIT_S = 4.0


@pytest.fixture(autouse=True)
def grace_s(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give what hangs less time than a run does; return how much."""
    monkeypatch.setattr(processes, "GRACE_S", 1.0)
    return 1.0


def good(argument: Any, send: Callable[[Any], None]) -> bool:
    send(argument)
    print("to standard output")
    os.write(2, b"to standard error\n")
    return True


def raising(_argument: Any, _send: Callable[[Any], None]) -> bool:
    raise RuntimeError("planned")


def aborting(_argument: Any, _send: Callable[[Any], None]) -> bool:
    os.abort()


def exiting(argument: Any, _send: Callable[[Any], None]) -> bool:
    os._exit(argument)


def hanging(_argument: Any, send: Callable[[Any], None]) -> bool:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    send(grandchild.pid)
    time.sleep(600)
    return True


def holding_the_interpreter(_argument: Any, send: Callable[[Any], None]) -> bool:
    """Sleep in C without letting any thread of Python run."""
    send(os.getpid())
    ctypes.PyDLL(None).sleep(600)
    return True


def stopped(_argument: Any, send: Callable[[Any], None]) -> bool:
    send(os.getpid())
    os.kill(os.getpid(), signal.SIGSTOP)
    return True


def abandoning(asleep_s: float, send: Callable[[Any], None]) -> bool:
    """Start a process that is in no group of this one, and lost its parent."""
    told, tell = os.pipe()
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.write(tell, f"{os.getpid()}\n".encode())
            time.sleep(600)
        os._exit(0)
    send(int(os.read(told, 20)))
    time.sleep(asleep_s)
    return True


def writing_down(grace: float, send: Callable[[Any], None]) -> bool:
    """Take so long to end when asked."""

    def ask(*_: object) -> None:
        time.sleep(grace)
        print("written down", flush=True)
        os._exit(5)

    signal.signal(signal.SIGTERM, ask)
    send(os.getpid())
    time.sleep(600)
    return True


def leaving_a_thread(_argument: Any, _send: Callable[[Any], None]) -> bool:
    threading.Thread(target=time.sleep, args=(600,)).start()
    return True


def what_it_begins_with(_argument: Any, send: Callable[[Any], None]) -> bool:
    send([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)])
    send(type(tqdm.get_lock()).__module__)
    return True


def _job(folder: Path, work: Any, argument: Any = None, name: str = "") -> Job:
    name = name or work.__name__
    return Job(name=name, work=work, argument=argument, log_path=folder / f"{name}.txt")


def _endings(jobs: list[Job], slots: int = 2) -> tuple[dict[str, End], list[News]]:
    happened = list(run_jobs(jobs, slots=slots, timeout_s=LIMIT_S))
    ends = {each.job.name: each for each in happened if isinstance(each, End)}
    return ends, [each for each in happened if isinstance(each, News)]


def test_every_bad_job_gets_its_ending_and_every_good_one_finishes(tmp_path: Path) -> None:
    bad = [raising, aborting, hanging, leaving_a_thread]
    jobs = [_job(tmp_path, work) for work in bad]
    jobs += [_job(tmp_path, exiting, 3), _job(tmp_path, exiting, 0, "exiting_quietly")]
    jobs += [_job(tmp_path, good, number, f"good_{number}") for number in range(4)]
    ends, news = _endings(jobs)
    assert {name: (end.ending, end.exit_code) for name, end in ends.items()} == {
        "raising": ("died", 1),
        "aborting": ("died", -signal.SIGABRT),
        "hanging": ("timeout", -signal.SIGKILL),
        "leaving_a_thread": ("done", 0),
        "exiting": ("died", 3),
        "exiting_quietly": ("died", 0),
        **{f"good_{number}": ("done", 0) for number in range(4)},
    }
    assert sorted(each.value for each in news if each.job.name != "hanging") == [0, 1, 2, 3]
    assert "planned" in (tmp_path / "raising.txt").read_text()
    log = (tmp_path / "good_0.txt").read_text()
    assert "to standard output" in log
    assert "to standard error" in log
    [grandchild] = [each.value for each in news if each.job.name == "hanging"]
    assert _gone(grandchild), "what a hung job started outlives it"


def test_a_job_does_not_have_what_its_fork_server_keeps_from_itself(tmp_path: Path) -> None:
    _, news = _endings([_job(tmp_path, what_it_begins_with)])
    handlers, lock = (each.value for each in news)
    assert handlers == [signal.SIG_DFL, signal.SIG_DFL]
    assert lock == "_thread", "a lock between processes is left behind by each that made one"


def test_closing_the_iterator_kills_what_runs(tmp_path: Path) -> None:
    happenings = run_jobs([_job(tmp_path, hanging)], slots=1, timeout_s=60)
    first = next(happenings)
    assert isinstance(first, News)
    happenings.close()
    assert _gone(first.value)


def test_what_is_asked_to_end_may_write_down_what_it_has(tmp_path: Path, grace_s: float) -> None:
    begun_s = time.monotonic()
    jobs = [_job(tmp_path, writing_down, grace_s / 2), _job(tmp_path, hanging)]
    for event in run_jobs(jobs, slots=2, timeout_s=60, until_s=begun_s + LIMIT_S):
        if isinstance(event, News):
            continue
        # A handler of its own, that exits, is no fault of a job that was asked to.
        assert event.ending == "timeout"
        assert event.exit_code == (5 if event.job.name == "writing_down" else -signal.SIGKILL)
    assert time.monotonic() - begun_s >= LIMIT_S + grace_s
    assert "written down" in (tmp_path / "writing_down.txt").read_text()


def test_a_process_that_has_not_begun_is_waited_for_by_nobody(tmp_path: Path) -> None:
    begun_s = time.monotonic()
    [end] = run_jobs([_job(tmp_path, hanging)], slots=1, timeout_s=60, until_s=begun_s)
    assert isinstance(end, End)
    assert end.ending == "timeout"
    assert time.monotonic() - begun_s < processes.GRACE_S + processes._SLOW_S


def counting(argument: tuple[int, int], send: Callable[[Any], None]) -> bool:
    """Tell something every half second, and so many times the same."""
    for number in range(argument[0]):
        time.sleep(0.5)
        send(number // argument[1])
    return True


def test_patience_is_with_what_says_something_new_however_long_it_takes(tmp_path: Path) -> None:
    jobs = [
        replace(_job(tmp_path, counting, given, name), patience_s=1.5)
        for name, given in (("new", (6, 1)), ("the_same", (40, 40)))
    ]
    ends, _ = _endings(jobs)
    assert (ends["new"].ending, ends["the_same"].ending) == ("done", "timeout")
    assert ends["new"].seconds > 2.5
    assert 1.5 <= ends["the_same"].seconds < LIMIT_S


def test_an_interrupt_lets_all_end_at_once_side_by_side(tmp_path: Path, grace_s: float) -> None:
    jobs = [_job(tmp_path, writing_down, grace_s / 2, f"writing_{n}") for n in range(4)]
    happenings = run_jobs(jobs, slots=4, timeout_s=60)
    for _ in jobs:
        next(happenings)
    begun_s = time.monotonic()
    happenings.close()
    assert time.monotonic() - begun_s < 4 * grace_s / 2, "one after the other"
    for job in jobs:
        assert "written down" in job.log_path.read_text()


def test_a_warden_that_is_stopped_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_SLOW_S", 0.5)
    pids = []
    for event in run_jobs([_job(tmp_path, hanging)], slots=1, timeout_s=LIMIT_S):
        if isinstance(event, News):
            child = _parent_of(event.value)
            pids = [event.value, child]
            os.kill(_parent_of(child), signal.SIGSTOP)
        else:
            assert event.ending == "timeout"
    assert _gone(pids[1]), "it dies with its warden"


def test_what_lost_its_parent_is_found_when_its_job_ends(tmp_path: Path) -> None:
    ends, [news] = _endings([_job(tmp_path, abandoning, 0.0)])
    assert ends["abandoning"].ending == "done"
    assert "not used again: a process still runs" in (tmp_path / "abandoning.txt").read_text()
    assert _gone(news.value)


def test_jobs_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.engine import test_local
from harness.engine.processes import run_jobs
works = [test_local.hanging, test_local.holding_the_interpreter, test_local.stopped,
         test_local.abandoning]
jobs = [test_local._job(Path({str(tmp_path)!r}), work, 600) for work in works]
for each in run_jobs(jobs, slots=4, timeout_s=60):
    print(each.value, flush=True)
"""
    file = tmp_path / "parent.py"
    file.write_text(f"if __name__ == '__main__':\n{_indented(script)}")
    parent = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(4)]
    children = [_parent_of(pid) for pid in pids]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for pid in (*pids, *children):
        assert _gone(pid)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().split()[3])


def _indented(script: str) -> str:
    return "".join(f"    {line}\n" for line in script.splitlines())


def _gone(pid: int) -> bool:
    """Return whether the process ended (or is a zombie) within two seconds."""
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().split()[2] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)
