"""Every due cell becomes a row. Imports no torch."""

import math
import os
import signal
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import IO

from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import StoreError
from harness.contracts.method import Progress
from harness.contracts.row import Row, Status
from harness.engine import watch, worker
from harness.engine.engines import RunJobs
from harness.engine.forecast import Forecast
from harness.engine.jobs import Conditions, Order
from harness.engine.partly import fraction, progress_of
from harness.engine.places import Places
from harness.engine.processes import GRACE_S, End, Job, News, run_jobs
from harness.engine.provenance import without_numbers
from harness.engine.teachers import cell_of
from harness.store import Store

_PATIENCE_S = 7200.0  # with a cell that says nothing new: it hangs, or measures
_ALIKE = 3  # failures of the machine in a row, after which the next will hardly be another
_PAUSE_S = 0.5  # between looks at cells that other runs have
_WORTH_S = 30.0  # of a cell that cannot end: enough to begin, and to leave a checkpoint
_NOTE_S = 5.0  # between two notes of how far a cell is
_BESIDE_OTHERS = "out of memory beside others, to be run again alone"


@dataclass(frozen=True, kw_only=True)
class Started:
    """A job reports for the first time, or again.

    Attributes:
        cell_id: Of the cell or teacher.
        name: Of it, for people.
        progress: How far it is.
    """

    cell_id: str
    name: str
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class SetBack:
    """A cell ended without a row, and is run again: alone, or by the same command.

    Attributes:
        cell: Which.
        seconds: What it had.
        why: In words.
    """

    cell: Cell
    seconds: float
    why: str


@dataclass(frozen=True, kw_only=True)
class CellEnded:
    """A cell has become a row, here or in another run."""

    cell: Cell
    row: Row
    seconds: float


Event = Started | SetBack | CellEnded


def conduct(
    cells: Sequence[Cell],
    conditions: Conditions,
    /,
    *,
    slots: int,
    timeout_s: float | None,
    until_s: float = math.inf,
    places: Places | None = None,
    forecast: Forecast | None = None,
    run: RunJobs = run_jobs,
) -> Generator[Event]:
    """Run ``cells`` and yield what happens; teachers are cells, and come first.

    Then come those of which most is done, else they are in order. What another run works on
    is waited for, and its row taken. A cell that is cut off at ``until_s`` leaves no row, as
    if the run had been interrupted. One that runs out of memory beside others is run again
    alone, at the end.

    Args:
        cells: What is due.
        conditions: How cells are run.
        slots: How many at once.
        timeout_s: What a cell may take; None is no limit but two hours without anything new.
        until_s: When, on the monotonic clock, everything has ended: cells are asked to a
            little before. None is begun that would get nowhere, as far as anybody knows.
        places: Where cells run; default on the device of ``conditions``.
        forecast: What is known of how long cells take.
        run: What runs the jobs that cells are; an engine's (``harness.engine.engines``).

    Raises:
        StoreError: If the disk refuses, or several cells in a row met a failure of the machine.
    """
    store = Store(conditions.runs)
    shift = _Shift(
        store=store,
        conditions=conditions,
        until_s=until_s - min(GRACE_S, (until_s - time.monotonic()) / 10),
        run=run,
        versions={cell.cell_id: store.version(cell) for cell in cells},
        places=places or Places(devices=(conditions.device,)),
        forecast=forecast or Forecast(),
        parts={cell.cell_id: fraction(progress_of(store, cell)) for cell in cells},
        timeout_s=timeout_s,
    )
    ordered = sorted(cells, key=lambda cell: -shift.parts[cell.cell_id])
    teachers = [cell for cell in ordered if cell.suite == TEACHERS]
    others = [cell for cell in ordered if cell.suite != TEACHERS]
    try:
        yield from shift.work(teachers, slots)
        # Which a time box cut off or never began: their students wait for them.
        untaught = {cell.cell_id for cell in teachers if store.load(cell) is None}
        ready = [
            cell
            for cell in others
            if cell.teacher is None or cell_of(cell.teacher).cell_id not in untaught
        ]
        yield from shift.work(ready, slots)
    finally:
        for lock in shift.locks.values():
            lock.close()


@dataclass(kw_only=True)
class _Shift:
    """What a run knows of its cells.

    Attributes:
        store: Where rows are.
        conditions: How cells are run.
        until_s: When everything is asked to end.
        run: What runs jobs.
        versions: Of each cell's row when the run began, or set it back.
        places: Where cells run.
        forecast: How long cells take.
        parts: Which part of each cell was done before.
        timeout_s: What a cell may take; None is as long as it says something new.
        locks: Of the cells that run.
        noted_s: When it was last noted how far each is.
        words: Of cells whose machine failed: the rows that they sent.
        crowded: Cells that had no memory beside others.
        taken_s: How long the last cell of a kind took.
        alike: Failures of the machine in a row.
        last: What the last of them was.
    """

    store: Store
    conditions: Conditions
    until_s: float
    run: RunJobs
    versions: dict[str, tuple[int, int] | None]
    places: Places
    forecast: Forecast
    parts: Mapping[str, float]
    timeout_s: float | None = None
    locks: dict[str, IO[bytes]] = field(default_factory=dict)
    noted_s: dict[str, float] = field(default_factory=dict)
    words: dict[str, Row] = field(default_factory=dict)
    crowded: list[Cell] = field(default_factory=list)
    taken_s: dict[object, float] = field(default_factory=dict)
    alike: int = 0
    last: str = ""

    def work(self, cells: Sequence[Cell], slots: int) -> Iterator[Event]:
        """Run ``cells``, and those again that had no memory beside others."""
        yield from self._work(cells, slots)
        if self.crowded:
            shared, crowded = self.places, self.crowded
            self.places, self.crowded = replace(shared, alone=True, room=None), []
            yield from self._work(crowded, min(slots, len(shared.devices)))
            self.places = shared

    def _work(self, cells: Sequence[Cell], slots: int) -> Iterator[Event]:
        """Run ``cells``, and wait for those that another run has."""
        timeout_s = math.inf if self.timeout_s is None else self.timeout_s
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
    ) -> Iterator[Job | None]:
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
                yield from self._begun(cell)

    def _begun(self, cell: Cell) -> Iterator[Job | None]:
        """Yield the job of a cell that this run has, once there is a place for it."""
        while (device := self.places.take(cell)) is None:
            yield None
        # Its name tells attempts apart.
        log_path = self.store.folder(cell) / f"log-{time.time_ns()}.txt"
        conditions = replace(self.conditions, device=device)
        order = Order(cell=cell, conditions=conditions, log_path=log_path)
        self._note(order)
        yield Job(
            name=cell.label,
            work=worker.work_on_cell,
            argument=order,
            log_path=log_path,
            device=device,
            patience_s=_PATIENCE_S if self.timeout_s is None else math.inf,
        )

    def _fits(self, cell: Cell) -> bool:
        """Return whether ``cell`` will end in time or get some way, as far as anybody knows."""
        left_s = self.until_s - time.monotonic()
        needed_s = self.taken_s.get(_kind(cell))
        if needed_s is None:
            needed_s = self.forecast.seconds(cell, self.conditions.device)
        if needed_s is None:
            needed_s = min(self.taken_s.values(), default=0.0)
        return (1 - self.parts[cell.cell_id]) * needed_s < left_s or left_s > _WORTH_S

    def _events(self, happening: News | End) -> Iterator[Event]:
        if isinstance(happening, End):
            yield self._ended(happening)
            return
        order: Order = happening.job.argument
        cell_id = order.cell.cell_id
        if isinstance(happening.value, Row):
            self.words[cell_id] = happening.value
            return
        if time.monotonic() > self.noted_s.get(cell_id, 0.0) + _NOTE_S:
            self._note(order, happening.value)
        yield Started(cell_id=cell_id, name=happening.job.name, progress=happening.value)

    def _note(self, order: Order, progress: Progress | None = None) -> None:
        """Write for other processes what runs here and how far it is."""
        cell_id = order.cell.cell_id
        self.noted_s[cell_id] = time.monotonic()
        note = watch.Note(
            log=order.log_path.name,
            began_s=_began_s(order),
            device=order.conditions.device,
            samples=progress.samples if progress else 0,
            budget=progress.budget if progress else 0,
        )
        watch.write(self.locks[cell_id], note)

    def _ended(self, end: End) -> CellEnded | SetBack:
        """Return the row of a job that ended, writing it if the job could not.

        What is written here never replaces a row with numbers.
        """
        order: Order = end.job.argument
        cell = order.cell
        together = self.places.leave(cell)
        cut_off = end.ending == "timeout" and time.monotonic() > self.until_s
        row = self._with_company(self._row(end, order, cut_off=cut_off), order, together)
        beside_others = together > 1 and row.status == "oom"
        if beside_others:
            self._set_back(order)
        self.locks.pop(cell.cell_id).close()
        if beside_others:
            return SetBack(cell=cell, seconds=end.seconds, why=_BESIDE_OTHERS)
        if cut_off and row.status == "timeout":
            return SetBack(cell=cell, seconds=end.seconds, why=str(row.error))
        self.taken_s[_kind(cell)] = end.seconds
        self.forecast.add(row, end.seconds)
        self.alike = self.alike + 1 if row.status == "machine" else 0
        self.last = str(row.error)
        return CellEnded(cell=cell, row=row, seconds=end.seconds)

    def _row(self, end: End, order: Order, *, cut_off: bool) -> Row:
        cell = order.cell
        sent = self.words.pop(cell.cell_id, None)
        before = self.store.known(cell)
        if before is not None and before.provenance.log_path == _log_of(order):
            return before
        kept = progress_of(self.store, cell)
        row = sent or _without_numbers(order, *_death(end, cut_off=cut_off, kept=kept))
        elsewhere = sent is not None and sent.status != "machine"  # here it is skipped
        if cut_off or elsewhere or (before is not None and before.status == "ok"):
            return row
        return self._saved(row, order)

    def _with_company(self, row: Row, order: Order, together: int) -> Row:
        """Return a row that says how many cells were on its GPU, which its own could not know."""
        on_gpu = order.conditions.device != "cpu" and self.places.decides
        if row.metrics is None or not on_gpu:
            return row
        told = replace(row, provenance=replace(row.provenance, cells_on_device=together))
        try:
            self.store.save(told)
        except StoreError:  # the row as it is stands, and its company is unknown
            return row
        return told

    def _set_back(self, order: Order) -> None:
        """Let a cell be due: what it ran out of was not its own to have."""
        cell = order.cell
        before = self.store.known(cell)
        if before is None or before.status != "ok":
            words = "out of memory beside other cells; the same command runs it alone"
            self._saved(_without_numbers(order, "machine", words), order)
        self.versions[cell.cell_id] = self.store.version(cell)
        self.crowded.append(cell)

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


def _began_s(order: Order) -> float:
    """Return when a cell began, by the clock on the wall, as the name of its log says."""
    return int(order.log_path.stem.removeprefix("log-")) / 1e9


def _log_of(order: Order) -> str:
    return str(order.log_path.relative_to(order.conditions.runs))


def _without_numbers(order: Order, status: Status, error: str) -> Row:
    return without_numbers(order, status=status, error=error, started=datetime.now(UTC))


def _death(end: End, *, cut_off: bool, kept: Progress | None = None) -> tuple[Status, str]:
    where = f" at {100 * fraction(kept):.0f} %" if kept else ""
    if cut_off:
        after = "resume with the same command" if kept else "the same command begins anew"
        return "timeout", f"cut off after {end.seconds:.0f} s by --for{where}; {after}"
    if end.ending == "timeout":
        after = "--retry timeout goes on from there"
        if kept is None:
            after = "raise --timeout or lower the recipe"
        elif kept.samples >= kept.budget:
            after += ", but all is trained: give judging it a longer --timeout"
        silent_s = end.job.patience_s
        silent = f", for {silent_s:.0f} s without anything new" if silent_s < math.inf else ""
        return "timeout", f"stopped after {end.seconds:.0f} s{where}{silent}; {after}"
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
