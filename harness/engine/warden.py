"""A process that looks after another: ends it with the run, and leaves nothing that it started.

What runs a method cannot be trusted to watch the run: it may hold the interpreter's lock,
be stopped, or have taken the handlers away. So it is forked from a process that does
nothing else than this. On Linux whatever loses its parent below comes to it, a session of
its own or not; elsewhere the group alone is ended.
"""

import ctypes
import math
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import NoReturn

AT_ONCE = signal.SIGUSR1
_PASSED_ON = (signal.SIGTERM, signal.SIGABRT)
_HEARD = (*_PASSED_ON, AT_ONCE, signal.SIGCHLD)
_LONGEST_S = 5.0  # what the kernel does not let go of by then, nobody can end
_FIRST_TO_GO = "1000"  # as /proc counts: the kernel, short of memory, ends a cell before all else
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # include/uapi/linux/prctl.h


class Warden:
    """Told by signals: ``SIGTERM`` and ``SIGABRT`` are passed on, ``AT_ONCE`` gives no grace."""

    def __init__(self) -> None:
        """Lead a session of its own."""
        os.setsid()
        _adopt_orphans()
        self._ward = 0
        self._heard, self._rung = socket.socketpair()
        self._heard.settimeout(0)
        self._rung.settimeout(0)

    def fork(self) -> bool:
        """Return True in the warden, and False in the process that it looks after.

        That leads a group of its own, dies with the warden and is the first that the kernel
        ends when memory is short.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        for number in _HEARD:
            signal.signal(number, _nothing)
        warden = os.getpid()
        self._ward = os.fork()
        if self._ward:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.set_wakeup_fd(self._rung.fileno(), warn_on_full_buffer=False)
        else:
            self._heard.close()
            self._rung.close()
            for number in (*_HEARD, signal.SIGHUP):  # the fork server ignores some of them
                signal.signal(number, signal.SIG_DFL)
            _be_looked_after(warden)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        return self._ward != 0

    def watch(self, run: int, /, *, grace_s: float) -> NoReturn:
        """Look after the other process until it has ended, and end as it did.

        Args:
            run: What can be read once the run is gone.
            grace_s: What a process may take that is asked to end.
        """
        status = self._watched(run, grace_s)
        _end_all_below(self._ward)
        _end_as(os.waitstatus_to_exitcode(status))

    def _watched(self, run: int, grace_s: float) -> int:
        end_s = math.inf
        while True:
            left_s = None if end_s == math.inf else max(0.0, end_s - time.monotonic())
            ready = wait([run, self._heard], left_s)
            told = self._told()
            for number in told & set(_PASSED_ON):
                os.kill(self._ward, number)
                end_s = min(end_s, time.monotonic() + grace_s)
            if (status := self._ended()) is not None:
                return status
            if run in ready or AT_ONCE in told or time.monotonic() >= end_s:
                os.kill(self._ward, signal.SIGKILL)
                return os.waitpid(self._ward, 0)[1]

    def _told(self) -> set[int]:
        with suppress(BlockingIOError):
            return set(self._heard.recv(4096))
        return set()

    def _ended(self) -> int | None:
        """Return how the other process ended, or None; let go of orphans that did."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._ward:
                    return ended[1]
        return None


def _nothing(*_: object) -> None:
    """Hear a signal: its number comes along the socket."""


def _be_looked_after(warden: int) -> None:
    os.setsid()
    _adopt_orphans()  # so that what a job leaves behind is seen when it ends
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != warden:
        os._exit(1)
    with suppress(OSError):  # Linux alone
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, encoding="ascii")


def _adopt_orphans() -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        none = ctypes.c_ulong(0)
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), none, none, none)


def _end_all_below(ward: int) -> None:
    """Kill what is left until nothing is: whatever loses its parent is the warden's child."""
    if sys.platform != "linux":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(ward, signal.SIGKILL)
        return
    until_s = time.monotonic() + _LONGEST_S
    with suppress(ChildProcessError):
        while time.monotonic() < until_s:
            for child in _children():
                os.kill(child, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.002)


def _children() -> Iterator[int]:
    """Yield the children of this process, those that have ended among them."""
    ours = str(os.getpid())
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # "pid (name) state parent ...", and a name may hold anything.
            if stat.read_text(errors="replace").rpartition(")")[2].split()[1] == ours:
                yield int(stat.parent.name)


def _end_as(exit_code: int) -> NoReturn:
    """End as the other process did, to whom it was a child."""
    if exit_code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its own core tells more
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    os._exit(abs(exit_code))
