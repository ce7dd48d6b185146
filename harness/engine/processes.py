"""Jobs on this machine, each isolated from the others, with a hard time limit.

A fork server imports torch once, so a process starts in a tenth of a second, yet no tensor
operation and no CUDA call happens before the fork. A process serves one job after the other
and keeps what they share (imports, data, a GPU's context), as long as each leaves it as it
found it (``harness.engine.traces``). A job that raises, aborts, hangs, exits or is killed
takes its process with it, ends with a status and never harms another: if others had its
process before, so that the fault may be theirs, it is run again in a fresh one, and that counts.
Beside each process stands another that ends it with the run (``harness.engine.warden``).
"""

import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from harness.contracts.errors import StoreError
from harness.engine.warden import AT_ONCE, Warden

_PRELOADED = ["harness.engine.unheard", "harness.engine.preload"]
GRACE_S = 10.0  # for what is asked to end: a step, and a checkpoint
_START_S = 60.0  # for a process to begin, which is no time of its job
_SLOW_S = 5.0  # beyond which a warden is stuck itself
_LOOK_S = 1.0  # at most so long between looks at clocks and logs
_LOG_BYTES, _LOG_END_BYTES = 2**24, 2**16
_LOG_NOTE = b"\n[cut here: the log became too long]\n"
_JOBS_A_PROCESS = 64  # what no one notices to be left behind cannot pile up for longer

Ending = Literal["done", "timeout", "died"]
Work = Callable[[Any, Callable[[Any], None]], bool]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to run apart from everything else.

    Attributes:
        name: For people.
        work: An importable function of ``argument`` and of a function that reports news. It
            returns whether it went well.
        argument: Picklable.
        log_path: Where its output goes.
        device: That it uses; jobs of another have another process, which holds nothing there.
        patience_s: Seconds after which it is cut off if it reports nothing that is new.
    """

    name: str
    work: Work
    argument: Any
    log_path: Path
    device: str = "cpu"
    patience_s: float = math.inf


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
        exit_code: Of its process, if that ended with it; negative is the signal that killed it.
            None if nobody can know, since the fork server was killed.
        seconds: Wall-clock.
    """

    job: Job
    ending: Ending
    exit_code: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What a process says when it has a job: its clock starts now, not when a fork server did."""


@dataclass(frozen=True, kw_only=True)
class _Returned:
    """What a process says when a job's function has returned.

    Attributes:
        well: As the function says.
        reusable: Whether the process is as the job found it.
    """

    well: bool
    reusable: bool


@dataclass(kw_only=True)
class _Worker:
    """A process and the job that it has.

    Attributes:
        process: The warden of the one that works.
        line: To the one that works and from it.
        device: That its jobs use.
        job: None while it has none.
        started_s: When it got it.
        begun: Whether it has said that it works on it; before, nobody there hears a signal.
        heard: The last that it reported, and when.
        asked_s: When it was asked to end, if it was.
        earlier: How many it had before.
    """

    process: BaseProcess
    line: Connection
    device: str
    job: Job | None = None
    started_s: float = 0.0
    begun: bool = False
    heard: tuple[Any, float] = (None, 0.0)
    asked_s: float | None = None
    earlier: int = 0

    def give(self, job: Job) -> None:
        """Let it begin ``job``."""
        self.job = job
        self.begin()
        self.begun = False
        with suppress(OSError):  # one that died in between ends as one that dies at work
            self.line.send(job)

    def begin(self) -> None:
        """Let its time begin now."""
        self.started_s = time.monotonic()
        self.heard = None, self.started_s

    def ends_s(self, timeout_s: float) -> float:
        """Return when its job is to be cut off that may take so long."""
        assert self.job is not None
        if not self.begun:
            return self.started_s + timeout_s + _START_S
        return min(self.started_s + timeout_s, self.heard[1] + self.job.patience_s)

    def said(self) -> Iterator[Any]:
        """Yield all that it has said since; one that says what cannot be read is ended."""
        try:
            while not self.line.closed and self.line.poll():
                yield self.line.recv()
        except (EOFError, OSError):
            return
        except Exception:  # noqa: BLE001  whatever reading an object may raise
            _write_note(self.job, traceback.format_exc())
            self.tell(signal.SIGABRT)

    def tell(self, number: signal.Signals) -> None:
        """Let its warden know that it is to end."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)

    def ask(self) -> None:
        """Let it end so that it can write down what it has."""
        self.asked_s = time.monotonic()
        self.tell(signal.SIGTERM)

    def stop(self) -> None:
        """End it and whatever it started, at once."""
        self.tell(AT_ONCE)
        until_s = time.monotonic() + _SLOW_S
        self.process.join(_SLOW_S)
        while _runs(self.process) and time.monotonic() < until_s:
            time.sleep(0.01)  # without a fork server nobody says when it has ended
        self.process.kill()
        self.process.join()
        self.line.close()


def run_jobs(
    jobs: Iterable[Job | None],
    /,
    *,
    slots: int,
    timeout_s: float,
    until_s: float = math.inf,
    jobs_a_process: int = _JOBS_A_PROCESS,
) -> Generator[News | End]:
    """Run ``jobs`` in order, at most ``slots`` at once, and yield what happens.

    Whatever is cut off is asked to end first, and killed ``GRACE_S`` later. Closing the
    iterator, or an interrupt, cuts off all that still runs.

    Args:
        jobs: What to run; the next is asked for when there is room for it. None says that
            none can begin before another has ended.
        slots: How many at once.
        timeout_s: Wall-clock seconds a job may take before it is cut off.
        until_s: When, on the monotonic clock, those that still run are cut off likewise.
        jobs_a_process: After how many a process is replaced.
    """
    # Threads that wait by spinning, OpenMP's default, slow a busy machine down tenfold.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    waiting, alone = iter(jobs), deque[Job]()
    workers: list[_Worker] = []
    try:
        while True:
            while sum(one.job is not None for one in workers) < slots:
                apart = bool(alone)
                job = alone.popleft() if apart else next(waiting, None)
                if job is None:
                    break
                one = None if apart else _idle(workers, job.device, jobs_a_process)
                if one is None:
                    _make_room(workers, slots)
                    workers.append(one := _start(context, job.device))
                one.give(job)
            if not any(one.job for one in workers):
                break
            for happening in _await(workers, timeout_s, until_s):
                if isinstance(happening, Job):
                    alone.append(happening)
                else:
                    yield happening
    finally:
        _end(workers)


def _idle(workers: list[_Worker], device: str, jobs_a_process: int) -> _Worker | None:
    """Return a process that can have another job on ``device``."""
    for one in workers:
        if one.job is None and one.device == device and one.earlier < jobs_a_process:
            return one
    return None


def _make_room(workers: list[_Worker], slots: int) -> None:
    """Let go of a process that waits, so that there are never more than ``slots``."""
    if len(workers) >= slots:
        _dismiss(next(one for one in workers if one.job is None), workers)


def _start(context: ForkServerContext, device: str) -> _Worker:
    ours, theirs = context.Pipe()
    # A fork server that was killed is not at once known to be gone; the next try has a new one.
    for pause_s in (0.1, 1.0, None):
        process = context.Process(target=_serve, args=(theirs, GRACE_S))
        try:
            process.start()
            break
        except (OSError, EOFError) as error:
            if pause_s is None:
                raise StoreError(f"cannot start a process: {error!r}; lower --jobs") from error
            time.sleep(pause_s)
    theirs.close()
    return _Worker(process=process, line=ours, device=device)


def _dismiss(worker: _Worker, workers: list[_Worker]) -> None:
    worker.stop()
    workers.remove(worker)


def _end(workers: list[_Worker]) -> None:
    """End all, those at work so that they can write down what they have; twice means at once."""
    busy = [one for one in workers if one.job is not None]
    until_s = time.monotonic() + GRACE_S
    try:
        for one in busy:
            one.ask()
        for one in busy:
            one.process.join(max(0.0, until_s - time.monotonic()))
    finally:
        for one in workers:
            one.tell(AT_ONCE)
        for one in workers:
            one.stop()


def _await(workers: list[_Worker], timeout_s: float, until_s: float) -> Iterator[News | End | Job]:
    """Yield news and endings until something happened or it is time to look again.

    A job is yielded as it is if it has to be run again, in a process of its own.
    """
    busy = [one for one in workers if one.job is not None]
    limits = [min(until_s, one.ends_s(timeout_s)) for one in busy if one.asked_s is None]
    patience = min([limit - time.monotonic() for limit in limits] + [_LOOK_S])
    watched: list[Any] = [part for one in busy for part in (one.process.sentinel, one.line)]
    wait(watched, timeout=max(0.0, patience))
    for one in busy:
        gone = not one.process.is_alive()  # asked first: what it says is complete then
        yield from _listen(one, workers)
        if one.job is None:
            continue
        _shorten(one.job.log_path)
        if gone or _is_overdue(one):
            lost = gone and _runs(one.process)  # its end went to the fork server: there is none
            _dismiss(one, workers)
            yield _ended(one, "died" if one.asked_s is None else "timeout", lost=lost)
        elif one.asked_s is None and time.monotonic() > min(until_s, one.ends_s(timeout_s)):
            if one.begun:
                one.ask()
            else:  # there is nothing that it could write down
                _dismiss(one, workers)
                yield _ended(one, "timeout")


def _is_overdue(one: _Worker) -> bool:
    """Return whether a warden did not end what it was asked to, as one that is stopped."""
    return one.asked_s is not None and time.monotonic() > one.asked_s + GRACE_S + _SLOW_S


def _listen(one: _Worker, workers: list[_Worker]) -> Iterator[News | End | Job]:
    for said in one.said():
        if isinstance(said, _Begun):
            one.begin()
            one.begun = True
            continue
        if not isinstance(said, _Returned):
            assert one.job is not None
            if one.job.patience_s < math.inf and said != one.heard[0]:
                one.heard = said, time.monotonic()
            yield News(job=one.job, value=said)
            continue
        if one.asked_s is not None or not (said.well and said.reusable):
            _dismiss(one, workers)
        yield _ended(one, "done", well=said.well)


def _ended(one: _Worker, ending: Ending, *, well: bool = False, lost: bool = False) -> End | Job:
    """Return the end of the job that ``one`` had, or the job if others may be to blame for it."""
    job, one.job = one.job, None
    assert job is not None
    one.earlier += 1
    _shorten(job.log_path)
    if not well and ending != "timeout" and one.asked_s is None and one.earlier > 1:
        return job
    return End(
        job=job,
        ending=ending,
        exit_code=0 if ending == "done" else None if lost else one.process.exitcode,
        seconds=time.monotonic() - one.started_s,
    )


def _runs(process: BaseProcess) -> bool:
    """Return whether there is a process, whatever the fork server says of it."""
    try:
        os.kill(process.pid or 0, 0)
    except ProcessLookupError:
        return False
    return True


def _shorten(log_path: Path) -> None:
    """Cut the middle out of a log that is too long; how a job went on is at the end."""
    with suppress(OSError):
        if log_path.stat().st_size <= _LOG_BYTES:
            return
        with log_path.open("r+b") as log:
            log.seek(-_LOG_END_BYTES, os.SEEK_END)
            end = log.read(_LOG_END_BYTES)
            log.truncate(_LOG_BYTES - _LOG_END_BYTES - len(_LOG_NOTE))
            log.seek(0, os.SEEK_END)
            log.write(_LOG_NOTE + end)


def _write_note(job: Job | None, words: str) -> None:
    """Add to a job's log what its own process cannot say."""
    if job is not None:
        with suppress(OSError), job.log_path.open("a", encoding="utf-8") as log:
            log.write(words)


def _serve(line: Connection, grace_s: float) -> None:
    """Become a warden and a process that runs the jobs that come along ``line``."""
    run = multiprocessing.parent_process()
    assert run is not None
    warden = Warden()
    if warden.fork():
        line.close()
        warden.watch(run.sentinel, grace_s=grace_s)
    try:
        _run_what_comes(line)
    finally:
        os._exit(1)


def _run_what_comes(line: Connection) -> None:
    from harness.engine.traces import Traces

    traces = Traces()
    while True:
        job: Job = line.recv()
        line.send(_Begun())
        traces.begin()
        well, left = _work(job, line), traces.left_behind()
        if left:
            _say(f"this process is not used again: {', '.join(left)}\n")
        _say("")
        line.send(_Returned(well=well, reusable=not left))


def _work(job: Job, line: Connection) -> bool:
    """Do ``job``; end the process if that raises, whatever threads it has left."""
    try:
        _write_into(job.log_path)
        return job.work(job.argument, line.send)
    except BaseException as error:  # noqa: BLE001  to be told by the exit code
        _say(traceback.format_exc())
        os._exit(os.EX_IOERR if isinstance(error, OSError) else 1)


def _say(words: str) -> None:
    """Write into the job's log, if there is room."""
    with suppress(OSError):
        sys.stdout.write(words)
        sys.stdout.flush()
        sys.stderr.flush()


def _write_into(log_path: Path) -> None:
    """Send all output of this process to the end of a file."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
