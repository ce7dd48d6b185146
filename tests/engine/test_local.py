"""A job that raises, aborts, hangs, exits or is killed never harms another."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.engine.processes import End, Job, News, run_jobs

LIMIT_S = 4.0


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


def leaving_a_thread(_argument: Any, _send: Callable[[Any], None]) -> bool:
    threading.Thread(target=time.sleep, args=(600,)).start()
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


def test_closing_the_iterator_kills_what_runs(tmp_path: Path) -> None:
    happenings = run_jobs([_job(tmp_path, hanging)], slots=1, timeout_s=60)
    first = next(happenings)
    assert isinstance(first, News)
    happenings.close()
    assert _gone(first.value)


def test_jobs_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.engine import test_local
from harness.engine.processes import run_jobs
for each in run_jobs([test_local._job(Path({str(tmp_path)!r}), test_local.hanging)],
                     slots=1, timeout_s=60):
    print(each.value, flush=True)
"""
    file = tmp_path / "parent.py"
    file.write_text(f"if __name__ == '__main__':\n{_indented(script)}")
    parent = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    child = int(Path(f"/proc/{grandchild}/stat").read_text().split()[3])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert _gone(child)
    assert _gone(grandchild)


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
