"""How long cells will take, and what they need of a GPU, by rows there are. Imports no torch."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from statistics import median

from harness.contracts.cell import Cell
from harness.contracts.recipe import Recipe
from harness.contracts.row import Row

# What torch does not count: a context, its kernels, and what the allocator cannot use.
_CONTEXT_BYTES, _SLACK = 7 * 2**27, 1.2


# Of a usual cell: as much as that must run until what is seen outweighs what was foreseen.
_DOUBT = 0.05


class Forecast:
    """What rows of the same kind took, from the most alike to the least: a median."""

    def __init__(self, rows: Iterable[Row] = (), *, otherwise: "Forecast | None" = None) -> None:
        """Know ``rows`` of one place; ask ``otherwise``, of another, where they say nothing."""
        self._otherwise = otherwise
        self._seconds: dict[object, list[float]] = {}
        self._bytes: dict[object, int] = {}
        self._asked: dict[object, float | None] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row, /, seconds: float | None = None) -> None:
        """Know what the cell of ``row`` took: ``seconds``, or what the row says."""
        if row.metrics is None:
            return
        self._asked.clear()
        taken_s = _seconds(row) if seconds is None else seconds
        device = row.provenance.device or "cpu"
        for kind in _kinds(row.cell, device):
            if taken_s is not None:
                self._seconds.setdefault(kind, []).append(taken_s)
        peak = row.metrics.peak_memory_bytes
        if peak and device.startswith("cuda"):
            exactly = _exactly(row.cell, device)
            self._bytes[exactly] = max(peak, self._bytes.get(exactly, 0))

    def seconds(self, cell: Cell, device: str, /) -> float | None:
        """Return what ``cell`` will take on ``device``, all of it; None if nobody knows."""
        asked = cell.around_seed, device  # of a suite's many thousand cells few differ in it
        if asked not in self._asked:
            self._asked[asked] = self._known_s(cell, device)
        return self._asked[asked]

    def gpu_bytes(self, cell: Cell, device: str, /) -> int | None:
        """Return what ``cell`` will need of a GPU's memory; None if it never ran on one."""
        peak = self._bytes.get(_exactly(cell, device)) if self._bytes else None
        if peak is not None:
            return int(_SLACK * peak) + _CONTEXT_BYTES
        return self._otherwise.gpu_bytes(cell, device) if self._otherwise else None

    def _known_s(self, cell: Cell, device: str) -> float | None:
        for kind in _kinds(cell, device):
            if found := self._seconds.get(kind):
                return median(found)
        return self._otherwise.seconds(cell, device) if self._otherwise else None


def _kinds(cell: Cell, device: str) -> Iterator[object]:
    """Yield what cells have in common that take about as long, from much to little."""
    exactly = _exactly(cell, device)
    yield from (exactly[:shared] for shared in (4, 3, 2, 1))


def _exactly(cell: Cell, device: str) -> tuple[object, ...]:
    kind, recipe = device.partition(":")[0], _of_any_rate(cell.recipe)
    work = (cell.dataset, cell.model, recipe, kind, cell.timesteps)
    return work, cell.judged, cell.method, cell.backend


@lru_cache
def _of_any_rate(recipe: Recipe) -> Recipe:
    """Return ``recipe`` without its learning rate, which takes no time."""
    return replace(recipe, learning_rate=1.0)


def _seconds(row: Row) -> float | None:
    """Return what a row's cell took by the clock on the wall, which may have been put back."""
    made, metrics = row.provenance, row.metrics
    trained_s = metrics.train_seconds if metrics else None
    if metrics and trained_s is not None:
        trained_s -= metrics.spared_seconds or 0.0
    if made.started_at is None or made.ended_at is None:
        return trained_s
    try:
        whole = datetime.fromisoformat(made.ended_at) - datetime.fromisoformat(made.started_at)
    except (ValueError, TypeError):  # a stranger's row may say anything
        return trained_s
    return max(whole.total_seconds(), trained_s or 0.0)


class Outlook:
    """What is left of a run, by a forecast and by how fast the run is beside it."""

    def __init__(self, expected_s: dict[str, float | None], /, *, slots: int) -> None:
        """Take the seconds expected of each cell, by its identity."""
        self._left, self._slots = dict(expected_s), max(1, slots)
        known_s = [seconds for seconds in expected_s.values() if seconds]
        self._doubt_s = _DOUBT * sum(known_s) / len(known_s) if known_s else 1.0
        self._ended: list[float] = []
        # By cell: the first part that this run told of, and the last, each with when.
        self._running: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {}
        self._foreseen_s = self._taken_s = 0.0

    def moved(self, cell_id: str, part: float, now_s: float, /) -> None:
        """Know that ``part`` of a cell is done at ``now_s``, by any clock."""
        first, _ = self._running.get(cell_id, ((part, now_s), None))
        self._running[cell_id] = first, (part, now_s)

    def ended(self, cell_id: str, seconds: float, /, *, ok: bool = True) -> None:
        """Know that a cell has ended, after ``seconds`` here; one that failed tells no speed."""
        expected_s = self._left.pop(cell_id, None)
        (before, _), _ = self._running.pop(cell_id, ((0.0, 0.0), None))
        self._ended.append(seconds)
        if expected_s and ok:
            self._foreseen_s += expected_s * (1 - before)
            self._taken_s += seconds

    def seconds(self) -> float | None:
        """Return how long the rest will take; None while nobody can say."""
        usual_s = sum(self._ended) / len(self._ended) if self._ended else None
        pace, rest = self._pace(), []
        for cell_id, expected_s in self._left.items():
            whole_s = usual_s if expected_s is None else pace * expected_s
            if whole_s is None:
                return None
            _, (part, _) = self._running.get(cell_id, (None, (0.0, 0.0)))
            rest.append(whole_s * (1 - part))
        # No cell is divided: the longest may be all that is left.
        return max(sum(rest) / self._slots, max(rest, default=0.0))

    def _pace(self) -> float:
        """Return what this run takes over what was foreseen: rows of another machine may err."""
        foreseen_s, taken_s = self._foreseen_s + self._doubt_s, self._taken_s + self._doubt_s
        for cell_id, ((before, began_s), (part, now_s)) in self._running.items():
            if expected_s := self._left.get(cell_id):
                foreseen_s += expected_s * (part - before)
                taken_s += now_s - began_s
        return taken_s / foreseen_s


def in_words(seconds: float | None, /) -> str:
    """Return a time in words, as ``2 h 05 min``."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"
