"""Every due cell becomes a row. Imports no torch."""

import math
import os
import signal
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO

from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import StoreError
from harness.contracts.method import Progress
from harness.contracts.row import Row, Status
from harness.engine import worker
from harness.engine.engines import RunJobs
from harness.engine.jobs import Conditions, Order
from harness.engine.processes import End, Job, News, run_jobs
from harness.engine.provenance import without_numbers
from harness.store import Store

CELL_S = 7200.0
_ALIKE = 3  # failures of the machine in a row, after which the next will hardly be another
_PAUSE_S = 0.5  # between looks at cells that other runs have


@dataclass(frozen=True, kw_only=True)
class Started:
    """A job reports for the first time, or again.

    Attributes:
        name: Of the cell or teacher.
        progress: How far it is.
    """

    name: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class CellEnded:
    """A cell has become a row, here or in another run."""

    cell: Cell
    row: Row
    seconds: float


Event = Started | CellEnded


def conduct(
    cells: Sequence[Cell],
    conditions: Conditions,
    /,
    *,
    slots: int,
    timeout_s: float | None,
    until_s: float = math.inf,
    run: RunJobs = run_jobs,
) -> Generator[Event]:
    """Run ``cells`` in order and yield what happens; teachers are cells, and come first.

    What another run works on is waited for, and its row taken. A cell that is cut off at
    ``until_s`` leaves no row, as if the run had been interrupted.

    Args:
        cells: What is due.
        conditions: How cells are run.
        slots: How many at once.
        timeout_s: What a cell may take; None is two hours, and no limit for a teacher.
        until_s: When, on the monotonic clock, everything ends. A cell is not begun if one that
            differs in its seed alone, or without such a one every cell so far, took longer
            than is left.
        run: What runs the jobs that cells are; an engine's (``harness.engine.engines``).

    Raises:
        StoreError: If the disk refuses, or several cells in a row met a failure of the machine.
    """
    store = Store(conditions.runs)
    shift = _Shift(
        store=store,
        conditions=conditions,
        until_s=until_s,
        run=run,
        versions={cell.cell_id: store.version(cell) for cell in cells},
    )
    teachers = [cell for cell in cells if cell.suite == TEACHERS]
    others = [cell for cell in cells if cell.suite != TEACHERS]
    try:
        for part, usual_s in ((teachers, math.inf), (others, CELL_S)):
            yield from shift.work(part, slots, usual_s if timeout_s is None else timeout_s)
    finally:
        for lock in shift.locks.values():
            lock.close()


@dataclass(kw_only=True)
class _Shift:
    """What a run knows of its cells.

    Attributes:
        store: Where rows are.
        conditions: How cells are run.
        until_s: When everything ends.
        run: What runs jobs.
        versions: Of each cell's row when the run began.
        locks: Of the cells that run.
        words: Of cells whose machine failed: the rows that they sent.
        taken_s: How long the last cell of a kind took.
        alike: Failures of the machine in a row.
        last: What the last of them was.
    """

    store: Store
    conditions: Conditions
    until_s: float
    run: RunJobs
    versions: Mapping[str, tuple[int, int] | None]
    locks: dict[str, IO[bytes]] = field(default_factory=dict)
    words: dict[str, Row] = field(default_factory=dict)
    taken_s: dict[object, float] = field(default_factory=dict)
    alike: int = 0
    last: str = ""

    def work(self, cells: Sequence[Cell], slots: int, timeout_s: float) -> Iterator[Event]:
        """Run ``cells``, and wait for those that another run has."""
        while cells:
            elsewhere: list[Cell] = []
            made: list[Cell] = []
            jobs = self._jobs(cells, elsewhere, made)
            happenings = self.run(jobs, slots=slots, timeout_s=timeout_s, until_s=self.until_s)
            with closing(happenings):
                for happening in happenings:
                    yield from self._events(happening)
            for cell in made:
                row = self.store.load(cell)
                assert row is not None
                yield CellEnded(cell=cell, row=row, seconds=0.0)
            if self.alike >= _ALIKE:
                raise StoreError(
                    f"{self.alike} cells in a row met a failure of this machine, the last: "
                    f"{self.last}; no more were begun; mend it, and the same command goes on"
                )
            if len(elsewhere) == len(cells):
                time.sleep(_PAUSE_S)
            cells = elsewhere

    def _jobs(
        self, cells: Sequence[Cell], elsewhere: list[Cell], made: list[Cell]
    ) -> Iterator[Job]:
        """Yield a job for each cell that can begin; list those that another run has or made."""
        for cell in cells:
            if self.alike >= _ALIKE or not self._fits(cell):
                continue
            lock = self.store.claim(cell)
            if lock is None:
                elsewhere.append(cell)
            elif self.store.version(cell) != self.versions[cell.cell_id]:
                lock.close()
                made.append(cell)
            else:
                self.locks[cell.cell_id] = lock
                yield _job(cell, self.conditions, self.store)

    def _fits(self, cell: Cell) -> bool:
        """Return whether ``cell`` may end in time, as far as anybody knows."""
        shortest_s = min(self.taken_s.values(), default=0.0)
        needed_s = self.taken_s.get(_kind(cell), shortest_s)
        return time.monotonic() + needed_s < self.until_s

    def _events(self, happening: News | End) -> Iterator[Event]:
        if isinstance(happening, End):
            yield self._ended(happening)
            return
        order: Order = happening.job.argument
        if isinstance(happening.value, Row):
            self.words[order.cell.cell_id] = happening.value
        else:
            yield Started(name=happening.job.name, progress=happening.value)

    def _ended(self, end: End) -> CellEnded:
        """Return the row of a job that ended, writing it if the job could not.

        What is written here never replaces a row with numbers.
        """
        order: Order = end.job.argument
        cell = order.cell
        sent = self.words.pop(cell.cell_id, None)
        row = before = self.store.load(cell)
        mine = str(order.log_path.relative_to(order.conditions.runs))
        if row is None or row.provenance.log_path != mine:
            cut_off = end.ending == "timeout" and time.monotonic() > self.until_s
            row = sent or _without_numbers(order, *_death(end, cut_off=cut_off))
            if not cut_off and (before is None or before.status != "ok"):
                row = self._saved(row, order)
        self.locks.pop(cell.cell_id).close()
        self.taken_s[_kind(cell)] = end.seconds
        self.alike = self.alike + 1 if row.status == "machine" else 0
        self.last = str(row.error)
        return CellEnded(cell=cell, row=row, seconds=end.seconds)

    def _saved(self, row: Row, order: Order) -> Row:
        """Save ``row``; return it, or what is to be told if the disk refuses."""
        try:
            self.store.save(row)
        except StoreError as error:
            return _without_numbers(order, "machine", str(error))
        return row


def _kind(cell: Cell) -> object:
    """Return what cells that take equally long have in common."""
    return cell.suite, cell.method, cell.model, cell.backend, cell.timesteps


def _job(cell: Cell, conditions: Conditions, store: Store) -> Job:
    # Its name tells attempts apart.
    log_path = store.folder(cell) / f"log-{time.time_ns()}.txt"
    order = Order(cell=cell, conditions=conditions, log_path=log_path)
    return Job(name=cell.label, work=worker.work_on_cell, argument=order, log_path=log_path)


def _without_numbers(order: Order, status: Status, error: str) -> Row:
    return without_numbers(order, status=status, error=error, started=datetime.now(UTC))


def _death(end: End, *, cut_off: bool) -> tuple[Status, str]:
    if cut_off:
        return (
            "timeout",
            f"cut off after {end.seconds:.0f} s by --for; the same command begins anew",
        )
    if end.ending == "timeout":
        return "timeout", f"stopped after {end.seconds:.0f} s; raise --timeout or lower the recipe"
    code = end.exit_code
    if code is None or code == os.EX_IOERR:
        who = "the fork server was killed" if code is None else "the disk refused row or log"
        return "machine", f"{who}; see the log"
    if code == -signal.SIGKILL:
        return "oom", "killed by the system, most likely for want of memory; lower --jobs"
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-code, f"signal {-code}")  # most real-time signals have none
        return "failed", f"killed by {name}; see the log"
    return "failed", f"the process exited with code {code} without a row; see the log"
