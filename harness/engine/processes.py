"""One process a job on this machine: isolated, with a hard time limit.

A fork server imports torch once, so a job starts in a tenth of a second, yet no tensor
operation and no CUDA call happens before the fork. A job that raises, aborts, hangs,
exits or is killed ends with a status and never harms another.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, Literal

_PRELOADED = ["harness.engine.preload"]
_GRACE_S = 2.0

Ending = Literal["done", "timeout", "died"]
Work = Callable[[Any, Callable[[Any], None]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to run in a process of its own.

    Attributes:
        name: For people.
        work: An importable function of ``argument`` and of a function that reports news.
        argument: Picklable.
        log_path: Where its output goes.
    """

    name: str
    work: Work
    argument: Any
    log_path: Path


@dataclass(frozen=True, kw_only=True)
class News:
    """Something a running job reports."""

    job: Job
    value: Any


@dataclass(frozen=True, kw_only=True)
class End:
    """How a job ended.

    Attributes:
        job: Which.
        ending: ``done`` only if its function returned.
        exit_code: Negative is the signal that killed it.
        seconds: Wall-clock.
    """

    job: Job
    ending: Ending
    exit_code: int | None
    seconds: float


@dataclass(kw_only=True)
class _Running:
    job: Job
    process: BaseProcess
    news: Connection
    started_s: float = field(default_factory=time.monotonic)


def run_jobs(
    jobs: Iterable[Job],
    /,
    *,
    slots: int,
    timeout_s: float,
) -> Generator[News | End]:
    """Run ``jobs`` in order, at most ``slots`` at once, and yield what happens.

    Closing the iterator, or an interrupt, kills whatever still runs.

    Args:
        jobs: What to run.
        slots: How many at once.
        timeout_s: Wall-clock seconds a job may take before its process group is killed.
    """
    # Threads that wait by spinning, OpenMP's default, slow a busy machine down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    waiting = deque(jobs)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                running.append(_start(context, waiting.popleft()))
            yield from _await(running, timeout_s)
    finally:
        for one in running:
            _kill(one.process)


def _start(context: ForkServerContext, job: Job) -> _Running:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_in_child, args=(job, theirs), name=job.name)
    process.start()
    theirs.close()
    return _Running(job=job, process=process, news=ours)


def _await(running: list[_Running], timeout_s: float) -> Iterator[News | End]:
    """Yield news and endings until something happened or the next limit is reached."""
    now = time.monotonic()
    patience = min(one.started_s + timeout_s for one in running) - now
    watched: list[Any] = [one.process.sentinel for one in running]
    watched += [one.news for one in running if not one.news.closed]
    wait(watched, timeout=max(0.0, patience))
    for one in list(running):
        yield from _heard(one)
        late = time.monotonic() - one.started_s > timeout_s
        if one.process.is_alive() and not late:
            continue
        if late:
            _kill(one.process)
        one.process.join()
        _sweep(one.process)
        yield from _heard(one)
        running.remove(one)
        yield _end(one, late=late and one.process.exitcode != 0)


def _heard(one: _Running) -> Iterator[News]:
    try:
        while not one.news.closed and one.news.poll():
            yield News(job=one.job, value=one.news.recv())
    except (EOFError, OSError):
        one.news.close()


def _end(one: _Running, *, late: bool) -> End:
    code = one.process.exitcode
    ending: Ending = "timeout" if late else "done" if code == 0 else "died"
    return End(job=one.job, ending=ending, exit_code=code, seconds=time.monotonic() - one.started_s)


def _kill(process: BaseProcess) -> None:
    """End a job and whatever it started."""
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        if process.pid is None or not process.is_alive():
            return
        try:
            os.killpg(process.pid, signal_)
        except ProcessLookupError:  # it has not made its group yet
            os.kill(process.pid, signal_)
        process.join(_GRACE_S)


def _sweep(process: BaseProcess) -> None:
    """Kill what an ended job left running in its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # type: ignore[arg-type]  # it was started, so it has one


def _in_child(job: Job, news: Connection) -> None:
    """Run ``job`` alone: own process group, output to its log, dying with the parent."""
    os.setsid()
    Thread(target=_end_with_parent, daemon=True).start()
    job.log_path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    job.work(job.argument, news.send)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads a library left behind must not keep a finished cell waiting.
    os._exit(0)


def _end_with_parent() -> None:
    """Kill this job's whole group as soon as the parent is gone.

    The kernel's own signal on a parent's death would not come: a job's parent is the
    fork server, which lives as long as any job.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)
