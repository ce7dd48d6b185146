"""What a person, or a machine, sees of a run: a live display, or one line an event."""

import json
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from harness.engine.scheduler import CellEnded, Event, Started

# A line about a running cell at most so often, where there is no live display.
_QUIET_S = 30.0


def tell(happenings: Iterable[Event], /, *, cells: int, as_json: bool) -> int:
    """Tell everything that happens, and how fast it went; return how many cells failed."""
    begun_s = time.monotonic()
    console = Console()
    display = _Display(cells) if console.is_terminal and not as_json else _Lines(as_json=as_json)
    ended = failures = 0
    with display.bars if isinstance(display, _Display) else nullcontext():
        for event in happenings:
            if isinstance(event, Started):
                display.progress(event)
            else:
                display.line(_words(event), _columns(event))
                ended += 1
                failures += event.row.status not in _FINE
    print(pace(ended, time.monotonic() - begun_s), file=sys.stderr if as_json else sys.stdout)
    return failures


def pace(cells: int, seconds: float, /) -> str:
    """Return in words how many cells a run of ``seconds`` made, and would make in an hour."""
    return (
        f"{cells} cells in {seconds:.0f} s: {3600 * cells / max(seconds, 1e-9):,.0f} cells an hour"
    )


_FINE = ("ok", "skipped")


def _words(event: CellEnded) -> str:
    row, name = event.row, event.cell.label
    if row.metrics is None:
        log = "" if row.status == "skipped" else f" ({row.provenance.log_path})"
        return f"{row.status:8} {name}: {row.error}{log}"
    return (
        f"{row.status:8} {name}: {100 * row.metrics.test_accuracy:.2f} % in {event.seconds:.1f} s"
    )


def _columns(event: CellEnded) -> dict[str, object]:
    metrics = event.row.metrics
    return {
        "event": "cell",
        "cell_id": event.cell.cell_id,
        "name": event.cell.label,
        "status": event.row.status,
        "error": event.row.error,
        "log_path": event.row.provenance.log_path,
        "test_accuracy": metrics.test_accuracy if metrics else None,
        "seconds": event.seconds,
    }


class _Lines:
    """One line an event, for logs and machines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._spoken_s: dict[str, float] = {}

    def progress(self, event: Started) -> None:
        """Say how far a cell is, now and then."""
        now = time.monotonic()
        if now - self._spoken_s.setdefault(event.name, now) < _QUIET_S or self._as_json:
            return
        self._spoken_s[event.name] = now
        done = event.progress.samples / max(1, event.progress.budget)
        print(f"running  {event.name}: {100 * done:.0f} %, loss {event.progress.loss:.4f}")
        sys.stdout.flush()

    def line(self, words: str, columns: dict[str, object]) -> None:
        """Print one event."""
        print(json.dumps(columns) if self._as_json else words)
        sys.stdout.flush()


class _Display:
    """A live bar for all cells and one for each that runs."""

    def __init__(self, cells: int) -> None:
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            transient=True,
        )
        self._whole = self.bars.add_task("cells", total=cells)
        self._running: dict[str, TaskID] = {}

    def progress(self, event: Started) -> None:
        """Move one cell's bar."""
        if event.name not in self._running:
            self._running[event.name] = self.bars.add_task(event.name)
        self.bars.update(
            self._running[event.name],
            completed=event.progress.samples,
            total=event.progress.budget,
        )

    def line(self, words: str, columns: dict[str, object]) -> None:
        """Print one event above the bars."""
        self.bars.console.print(words, highlight=False, markup=False)
        name = str(columns["name"])
        if name in self._running:
            self.bars.remove_task(self._running.pop(name))
        self.bars.advance(self._whole)
