"""A Ray cluster: each cell is a task on whichever node has room for it.

A node needs the installed packages and the data. This project's code is sent along; what a
cell needs and makes goes through Ray's object store, a teacher once to a node, and this
process alone writes results. A cell whose node is lost goes on elsewhere, from the last
checkpoint that came home.
"""

import logging
import math
import re
import signal
import socket
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from harness import fingerprint
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.engine.engines import Place, RunJobs
from harness.engine.engines._remote import (
    ROW,
    Errand,
    Files,
    Parcel,
    attempt,
    held,
    lay_out,
    teacher_files,
)
from harness.engine.freshness import remember
from harness.engine.jobs import Order
from harness.engine.processes import End, Job, News
from harness.engine.provenance import without_numbers
from harness.engine.teachers import cell_of
from harness.store import Store

_PACKAGES = ("harness", "backends", "suites")
_LOOK_S = 1.0
_ANSWER_S = 5.0
_GRACE_S = 30.0  # for what was cut off to come home
_LOSSES = 3  # without a checkpoint in between; a fourth attempt would hardly do better
_log = logging.getLogger(__name__)


class Ray:
    """The nodes of a Ray cluster."""

    @contextmanager
    def opened(self, place: Place, /) -> Iterator[RunJobs]:
        """Yield what runs jobs on the cluster that this machine belongs to.

        Raises:
            SpecError: If Ray is not installed, or there is no such cluster.
        """
        address = place.address or "auto"
        ray = _imported()
        _require_answer(address)
        packages = [str(fingerprint.ROOT / name) for name in _PACKAGES]
        hears = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"py_modules": packages, "excludes": ["__pycache__"]},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SpecError(
                f"no Ray cluster at {address!r} ({_line(error)}); start one: ray start --head; one "
                "that asks for a token is told it with RAY_AUTH_MODE=token"
            ) from error
        signal.signal(signal.SIGTERM, hears)  # Ray's own handler ends the process there and then
        try:
            yield _Driver(ray, place).run_jobs
        finally:
            ray.shutdown()


ENGINE = Ray()


def _imported() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise SpecError(
            f"--engine ray needs Ray ({error}): python -m pip install -e '.[cluster]'"
        ) from error
    return ray


def _require_answer(address: str) -> None:
    """Look whether anybody listens at ``address``: Ray itself would try for minutes."""
    if address == "auto":
        return
    found = re.fullmatch(r"([^:/]+):([0-9]{1,5})", address)
    if found is None:
        raise SpecError(
            f"--address must be auto or HOST:PORT, got {address!r}; give this command on a "
            "machine of the cluster"
        )
    try:
        socket.create_connection((found[1], int(found[2])), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise SpecError(
            f"nobody answers at {address} ({error}); `ray start --head` tells a cluster's address"
        ) from error


@dataclass(kw_only=True)
class _Errand:
    """A job on its way.

    Attributes:
        job: Which.
        timeout_s: Wall-clock seconds of an attempt.
        until_s: When, on the monotonic clock, the whole run ends.
        started: For a row that the job cannot make itself.
        stream: What its present attempt sends.
        begun: Whether that has begun.
        losses: How many nodes it lost since a file of its came home.
    """

    job: Job
    timeout_s: float
    until_s: float
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    stream: Any = None
    begun: bool = False
    losses: int = 0


class _Driver:
    """Sends jobs to nodes, and takes in what they send."""

    def __init__(self, ray: Any, place: Place) -> None:
        """Ask ``ray``, which is connected, for tasks as ``place`` says."""
        self._ray = ray
        self._cpus = place.threads
        self._gpus = place.gpu_share if place.device.startswith("cuda") else 0.0
        self._task = ray.remote(
            num_cpus=self._cpus,
            num_gpus=self._gpus,
            num_returns="streaming",
            max_retries=0,  # Ray would begin anew, with the checkpoint of the first attempt
            scheduling_strategy="SPREAD",
        )(_attempt)
        # Cancelling it recalls attempts. It runs on this very node, to be lost no sooner.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        wait = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(_wait)
        self._at_home = wait.remote()
        self._teachers: dict[str, Any] = {}
        self._git, self._lock = fingerprint.git_state(), fingerprint.of_lock()

    def run_jobs(
        self,
        jobs: Iterable[Job | None],
        /,
        *,
        slots: int,
        timeout_s: float,
        until_s: float = math.inf,
    ) -> Generator[News | End]:
        """Run ``jobs`` as ``RunJobs`` says; where slots are left to it, as many as have room.

        Raises:
            SpecError: If no number is given and no node has room for any.
        """
        if slots == sys.maxsize and not self._room():
            raise SpecError(
                f"no node of the cluster has the {self._cpus} CPUs and {self._gpus:g} GPUs of a "
                "cell; with --jobs N so many cells wait for nodes to come"
            )
        waiting, running = iter(jobs), list[_Errand]()
        try:
            while True:
                while len(running) < (slots if slots < sys.maxsize else max(1, self._room())):
                    job = next(waiting, None)
                    if job is None:
                        break
                    errand = _Errand(job=job, timeout_s=timeout_s, until_s=until_s)
                    self._begin(errand)
                    running.append(errand)
                if not running:
                    break
                for errand in self._ready(running):
                    for happening in self._heard(errand):
                        if isinstance(happening, End):
                            running.remove(errand)
                        yield happening
        finally:
            try:
                self._recall(running)
            finally:
                for errand in running:
                    self._ray.cancel(errand.stream, force=True)

    def _recall(self, running: list[_Errand]) -> None:
        """Let what still runs write down what it has, and take that in; twice means at once."""
        for errand in [one for one in running if not one.begun]:
            self._ray.cancel(errand.stream, force=True)
            running.remove(errand)
        if running:
            self._ray.cancel(self._at_home)
        for errand in running:
            errand.until_s = min(errand.until_s, time.monotonic())
        while running:
            for errand in self._ready(running):
                if any(isinstance(each, End) for each in self._heard(errand)):
                    running.remove(errand)

    def _room(self) -> int:
        """Return how many cells run at once on the nodes that there are."""
        having = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(
            int(
                min(
                    one.get("CPU", 0) // self._cpus,
                    one.get("GPU", 0) // self._gpus if self._gpus else math.inf,
                )
            )
            for one in having
        )

    def _begin(self, errand: _Errand) -> None:
        """Send ``errand`` out, with what an earlier attempt left."""
        order: Order = errand.job.argument
        sent = Errand(
            job=errand.job,
            held=held(order),
            timeout_s=errand.timeout_s,
            left_s=errand.until_s - time.monotonic(),
        )
        errand.begun = False
        errand.stream = self._task.options(name=errand.job.name).remote(
            sent, self._teacher(order), [self._at_home]
        )

    def _teacher(self, order: Order) -> Any:
        """Return the files of a cell's teacher; they are put into the object store once."""
        if order.cell.teacher is None:
            return {}
        name = cell_of(order.cell.teacher).cell_id
        if name not in self._teachers:
            self._teachers[name] = self._ray.put(teacher_files(order))
        return self._teachers[name]

    def _ready(self, running: list[_Errand]) -> list[_Errand]:
        """Return those of whom there is something to hear, now or before long."""
        streams = [errand.stream for errand in running]
        self._ray.wait(streams, num_returns=1, timeout=_LOOK_S)
        ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0)
        late = time.monotonic() - _GRACE_S
        return [one for one in running if one.stream in ready or one.until_s < late]

    def _heard(self, errand: _Errand) -> Iterator[News | End]:
        """Yield what ``errand`` has to say next; take in what it sends home."""
        if errand.until_s < time.monotonic() - _GRACE_S:
            self._ray.cancel(errand.stream, force=True)
            yield _end(errand, "timeout")
            return
        failures = self._ray.exceptions
        try:
            said = self._ray.get(next(errand.stream))
        except failures.RayTaskError as error:
            yield from _of_the_machine(errand, str(error.cause))
        except (failures.RayError, StopIteration) as error:
            yield from self._lost(errand, error)
        else:
            yield from self._taken(errand, said)

    def _taken(self, errand: _Errand, said: Any) -> Iterator[News | End]:
        errand.begun = True
        if isinstance(said, End):
            yield replace(said, job=errand.job)
        elif not isinstance(said, Parcel):
            yield News(job=errand.job, value=said)
        else:
            if said.files:
                errand.losses = 0
            try:
                self._store(errand.job.argument, said)
            except StoreError as error:
                yield _machine(errand, str(error))

    def _store(self, order: Order, parcel: Parcel) -> None:
        """Put what came home into its folder."""
        store, files = Store(order.conditions.runs), dict(parcel.files)
        if ROW in files:
            remember(store, order.cell)
            files[ROW] = self._signed(files[ROW])
        lay_out(store.folder(order.cell), files, gone=parcel.gone)

    def _signed(self, row: bytes) -> bytes:
        """Return ``row`` with the version of the code that was sent along: a node knows none."""
        made = Row.from_json(row)
        commit, dirty = self._git
        told = replace(made.provenance, git_sha=commit, git_dirty=dirty, lock_sha=self._lock)
        return replace(made, provenance=told).to_json().encode() + b"\n"

    def _lost(self, errand: _Errand, error: Exception) -> Iterator[News | End]:
        """Send ``errand`` out again, unless it has been lost too often, or time is up."""
        errand.losses += 1
        words = f"the node of {errand.job.name} was lost: {_line(error)}"
        if time.monotonic() > errand.until_s:
            yield _end(errand, "timeout")
        elif errand.losses < _LOSSES:
            _log.warning("%s; it goes on elsewhere", words)
            with suppress(OSError), errand.job.log_path.open("a", encoding="utf-8") as log:
                log.write(f"[{words}; what follows is of another]\n")
            self._begin(errand)
        elif isinstance(error, self._ray.exceptions.OutOfMemoryError):
            yield _end(errand, "died", exit_code=-signal.SIGKILL)
        else:
            yield from _of_the_machine(errand, f"{words}, {errand.losses} times in a row")


def _wait() -> None:
    """Wait until the task is cancelled."""
    while True:
        time.sleep(_LOOK_S)


def _attempt(errand: Errand, teacher: Files, at_home: list[Any]) -> Iterator[Any]:
    """Run on a node what ``attempt`` does, until nobody is at home."""
    import ray

    def recalled() -> bool:
        ready, _ = ray.wait(at_home, timeout=0, fetch_local=False)
        try:
            ray.get(ready)
        except ray.exceptions.TaskCancelledError:
            return True
        except ray.exceptions.RayError:  # it died, which says nothing
            return False
        return False

    yield from attempt(errand, teacher, recalled=recalled)


def _of_the_machine(errand: _Errand, words: str) -> Iterator[News | End]:
    """Yield what ends ``errand`` by no fault of its own."""
    yield _machine(errand, words)
    yield _end(errand, "died")


def _machine(errand: _Errand, words: str) -> News:
    order: Order = errand.job.argument
    row = without_numbers(order, status="machine", error=words, started=errand.started)
    return News(job=errand.job, value=row)


def _end(errand: _Errand, ending: Any, *, exit_code: int | None = None) -> End:
    seconds = (datetime.now(UTC) - errand.started).total_seconds()
    return End(job=errand.job, ending=ending, exit_code=exit_code, seconds=seconds)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
