"""What a person, or a machine, sees of a run: a live display, or one line an event."""

import json
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from harness.engine.forecast import Outlook, in_words
from harness.engine.partly import fraction
from harness.engine.scheduler import CellEnded, Event, SetBack, Started
from harness.report._words import visible

# A line about what is running at most so often, where there is no live display.
_QUIET_S = 30.0
_BAR, _PERCENT, _LEFT = 12, 4, 15  # characters, and a space between any two
_FINE = ("ok", "skipped")


def tell(
    happenings: Iterable[Event], /, *, cells: int, as_json: bool, outlook: Outlook | None = None
) -> int:
    """Tell everything that happens, and how fast it went; return how many cells failed.

    Args:
        happenings: Of a run.
        cells: How many it has to do.
        as_json: For machines: one JSON value a cell, and nothing else on standard output.
        outlook: What is known of how long they take; default nothing.
    """
    count = _Count(cells, outlook or Outlook({}, slots=1))
    console = Console()
    display = (
        _Display(count, console)
        if console.is_terminal and not as_json
        else _Lines(count, as_json=as_json)
    )
    with display.bars if isinstance(display, _Display) else nullcontext():
        for event in happenings:
            count.add(event)
            if isinstance(event, Started):
                display.progress(event)
            elif isinstance(event, SetBack):
                words = f"{'later':8} {event.cell.label}: {event.why}"
                display.line(words, event.cell.cell_id, None)
            else:
                display.line(_words(event), event.cell.cell_id, _columns(event))
    print(pace(count.ended, count.seconds()), file=sys.stderr if as_json else sys.stdout)
    return count.failed


class _Count:
    """What has ended, and what is left."""

    def __init__(self, cells: int, outlook: Outlook) -> None:
        self.cells, self.ended, self.failed = cells, 0, 0
        self._outlook, self._begun_s = outlook, time.monotonic()

    def add(self, event: Event) -> None:
        if isinstance(event, Started):
            self._outlook.moved(event.cell_id, fraction(event.progress), time.monotonic())
        elif isinstance(event, CellEnded):
            self.ended += 1
            self.failed += event.row.status not in _FINE
            ok = event.row.status == "ok"
            self._outlook.ended(event.cell.cell_id, event.seconds, ok=ok)

    def seconds(self) -> float:
        """Return how long the run has taken so far."""
        return time.monotonic() - self._begun_s

    def words(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.ended} of {self.cells} cells{failed}"

    def left(self) -> str:
        """Return how long the rest will take, in words; empty while nobody can say."""
        left_s = self._outlook.seconds()
        return "" if left_s is None else f"{in_words(left_s)} left"


def pace(cells: int, seconds: float, /) -> str:
    """Return in words how many cells a run of ``seconds`` made, and would make in an hour."""
    return (
        f"{cells} cells in {seconds:.0f} s: {3600 * cells / max(seconds, 1e-9):,.0f} cells an hour"
    )


def _words(event: CellEnded) -> str:
    row, name = event.row, event.cell.label
    if row.metrics is None:
        log = "" if row.status == "skipped" else f" (its output: logs {event.cell.cell_id})"
        return f"{row.status:8} {name}: {visible(str(row.error))}{log}"
    scored = row.metrics.scale.told(row.metrics.score)
    return f"{row.status:8} {name}: {scored} in {event.seconds:.1f} s"


def _columns(event: CellEnded) -> dict[str, object]:
    metrics = event.row.metrics
    return {
        "event": "cell",
        "cell_id": event.cell.cell_id,
        "name": event.cell.label,
        "status": event.row.status,
        "error": event.row.error,
        "log_path": event.row.provenance.log_path,
        "score": metrics.score if metrics else None,
        "seconds": event.seconds,
    }


class _Lines:
    """One line an event, for logs and machines."""

    def __init__(self, count: _Count, *, as_json: bool) -> None:
        self._count, self._as_json = count, as_json
        self._spoken_s: dict[str, float] = {}
        self._counted_s = time.monotonic()

    def progress(self, event: Started) -> None:
        """Say how far a cell is, and the whole run, now and then."""
        now = time.monotonic()
        if now - self._spoken_s.setdefault(event.cell_id, now) < _QUIET_S or self._as_json:
            return
        self._spoken_s[event.cell_id] = now
        done = 100 * fraction(event.progress)
        print(f"running  {event.name}: {done:.0f} %, loss {event.progress.loss:.4f}")
        if now - self._counted_s >= _QUIET_S:
            self._counted_s = now
            print("so far  ", ", ".join(filter(None, (self._count.words(), self._count.left()))))
        sys.stdout.flush()

    def line(self, words: str, _cell_id: str, columns: dict[str, object] | None) -> None:
        """Print one event."""
        if not self._as_json:
            print(words)
        elif columns is not None:
            print(json.dumps(columns))
        sys.stdout.flush()


class _Display:
    """A live bar for the whole run and one for each cell that runs."""

    def __init__(self, count: _Count, console: Console) -> None:
        self._count = count
        self.bars = Progress(
            _Name(console),
            BarColumn(bar_width=_BAR),
            _Column("percent", _PERCENT),
            _Column("left", _LEFT),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._whole = self.bars.add_task(count.words(), total=count.cells, left=count.left())
        self._running: dict[str, TaskID] = {}
        self._began: dict[str, tuple[float, float]] = {}

    def progress(self, event: Started) -> None:
        """Move one cell's bar."""
        name, part = event.cell_id, fraction(event.progress)
        if name not in self._running:
            self._running[name] = self.bars.add_task(event.name, total=1.0, left="")
            self._began[name] = time.monotonic(), part
        self.bars.update(self._running[name], completed=part, left=self._left(name, part))
        self._tell_whole()

    def _left(self, name: str, part: float) -> str:
        """Return how long a cell's training will take, by how fast it was since it began here."""
        began_s, before = self._began[name]
        if part >= 1:
            return "measuring"
        if part <= before:
            return ""
        left_s = (time.monotonic() - began_s) * (1 - part) / (part - before)
        return f"{in_words(left_s)} left"

    def line(self, words: str, cell_id: str, _columns: dict[str, object] | None) -> None:
        """Print one event above the bars."""
        self.bars.console.print(words, highlight=False, markup=False)
        if cell_id in self._running:
            self.bars.remove_task(self._running.pop(cell_id))
        self._tell_whole()

    def _tell_whole(self) -> None:
        count = self._count
        self.bars.update(
            self._whole, description=count.words(), completed=count.ended, left=count.left()
        )


class _Name(ProgressColumn):
    """What a bar is of, in all the width there is; too long, its middle is left out."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        """Return one line."""
        width = max(10, self._console.width - _BAR - _PERCENT - _LEFT - 3)
        return Text(shortened(task.description, width).ljust(width), no_wrap=True)


def shortened(name: str, width: int, /) -> str:
    """Return ``name`` in ``width`` characters: cells differ at both ends of theirs."""
    if len(name) <= width:
        return name
    end = (width - 1) // 2
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


class _Column(ProgressColumn):
    """Something of a task, right-aligned."""

    def __init__(self, what: Literal["percent", "left"], width: int) -> None:
        super().__init__()
        self._what, self._width = what, width

    def render(self, task: Task) -> Text:
        """Return one line."""
        words = f"{task.percentage:.0f}%" if self._what == "percent" else str(task.fields["left"])
        return Text(words.rjust(self._width), no_wrap=True)
