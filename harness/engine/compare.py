"""Two sets of rows, cell by cell: what is identical, and what differs by how much.

Imports no torch.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness import statistics
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.task import FRACTION, Scale
from harness.contracts.values import to_plain
from harness.results import FILE_BYTES, TUNING
from harness.store import read_bytes, read_row

# Of the metrics, what a clock or the system measures.
TIMES = (
    "latency_ms_b1",
    "latency_ms_b1_iqr",
    "latency_ms_frame",
    "latency_ms_frame_iqr",
    "throughput_sps",
    "train_seconds",
    "spared_seconds",
    "peak_memory_bytes",
)
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One cell whose accuracy is not the same on both sides.

    Attributes:
        cell_id: Which.
        label: What people call it.
        then: Accuracy on the first side.
        now: On the second.
        half_width: Half of the 95 % interval over seeds on the first side; None if there
            is one seed.
        scale: What numbers they are.
    """

    cell_id: str
    label: str
    then: float
    now: float
    half_width: float | None
    scale: Scale

    @property
    def within(self) -> bool | None:
        """Whether the difference is smaller than what seeds make; None if that is unknown."""
        return None if self.half_width is None else abs(self.now - self.then) <= self.half_width


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How two sets of rows agree.

    Attributes:
        common: Cells with numbers on both sides.
        identical: Of these, cells with the same accuracy.
        same_counts: Of these, cells with the same ledger too.
        differences: The others, the largest first.
        only_then: Cells of the first side alone.
        only_now: Of the second.
        status: Cells that ended otherwise: name, then, now.
    """

    common: int
    identical: int
    same_counts: int
    differences: tuple[Difference, ...]
    only_then: int
    only_now: int
    status: tuple[tuple[str, str, str], ...]

    def line(self, there: str) -> str:
        """Return the agreement with ``there`` in one line."""
        same = f"{self.identical} of {self.common} accuracies identical"
        counts = f", {self.same_counts} in every count"
        if not self.differences:
            return f"agreement with {there}: {same}{counts if self.common else ''}"
        largest = self.differences[0]
        inside = sum(one.within is True for one in self.differences)
        return (
            f"agreement with {there}: {same}{counts}; {len(self.differences)} differ, by up to "
            f"{largest.scale.factor * abs(largest.now - largest.then):.2f} "
            f"{largest.scale.points}, {inside} of them by less than "
            "half of the interval over seeds"
        )


def compare(then: Mapping[str, Row], now: Mapping[str, Row], /) -> Agreement:
    """Return how the rows ``now`` agree with those ``then``, both by ``cell_id``."""
    common = sorted(then.keys() & now.keys())
    pairs = [(then[name], now[name]) for name in common]
    scored = [(a, b) for a, b in pairs if a.metrics and b.metrics]
    alike = [(a, b) for a, b in scored if _accuracy(a) == _accuracy(b)]
    spread = _half_widths(then.values())
    differences = [
        Difference(
            cell_id=a.cell_id,
            label=a.cell.label,
            then=_accuracy(a),
            now=_accuracy(b),
            half_width=spread.get(a.cell.around_seed),
            scale=a.metrics.scale if a.metrics else FRACTION,
        )
        for a, b in scored
        if _accuracy(a) != _accuracy(b)
    ]
    return Agreement(
        common=len(scored),
        identical=len(alike),
        same_counts=sum(a.ledger == b.ledger for a, b in alike),
        differences=tuple(sorted(differences, key=lambda one: -abs(one.now - one.then))),
        only_then=len(then.keys() - now.keys()),
        only_now=len(now.keys() - then.keys()),
        status=tuple((a.cell.label, a.status, b.status) for a, b in pairs if a.status != b.status),
    )


def unlike(then: Row, now: Row, /) -> list[str]:
    """Return the names of what two rows of one cell say differently, times apart.

    The last digits of a number, which depend on the order of a sum, are no difference.
    """
    ours, theirs = (to_plain(row.metrics) if row.metrics else {} for row in (then, now))
    names = [
        name
        for name in (*ours, *theirs)
        if name not in TIMES and not alike(ours.get(name), theirs.get(name), within=_ROUNDING)
    ]
    status = ["status"] if then.status != now.status else []
    ledger = ["ledger"] if then.ledger != now.ledger else []
    return [*status, *dict.fromkeys(names), *ledger]


def alike(ours: Any, theirs: Any, /, *, within: float) -> bool:
    """Return whether two plain values are the same, floats but for ``within`` of 1 or of them."""
    same = partial(alike, within=within)
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=within, abs_tol=within)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


def rows_of(place: str, suite: str, /) -> dict[str, Row]:
    """Return the rows of ``suite`` in a folder of runs or results, or in a git revision.

    Raises:
        SpecError: If ``suite`` is no name of one.
        StoreError: If ``place`` is neither, or holds no row of it, or a damaged one.
    """
    if not re.fullmatch(r"\w[\w-]*", suite):
        raise SpecError(f"--suite takes a suite's name like digits, got {suite!r}")
    folder = Path(place)
    rows = _in_folder(folder, suite) if folder.is_dir() else _in_revision(place, suite)
    if not rows:
        raise StoreError(f"{place} holds no rows of {suite}")
    return {row.cell_id: row for row in rows}


def _in_folder(folder: Path, suite: str) -> list[Row]:
    files = [*folder.glob(f"{suite}/*/row.json"), *folder.glob("*/row.json")]
    files += [*folder.glob(f"{suite}/*.jsonl"), *folder.glob("*.jsonl")]
    found = sorted({path for path in files if path.name != TUNING})
    return [row for path in found for row in _in_file(path, suite) if row.cell.suite == suite]


def _in_file(path: Path, suite: str) -> Iterable[Row]:
    text = read_bytes(path, FILE_BYTES)
    if path.suffix == ".jsonl":
        return _of_suite(str(path), text.splitlines(), suite)
    try:
        return [read_row(text)]
    except SpecError as error:
        raise StoreError(f"{path}: {error}; delete it or run its cell again") from error


def _in_revision(revision: str, suite: str) -> list[Row]:
    git = partial(_git, revision=revision)
    listed = git("ls-tree", "--name-only", revision, f"results/{suite}/").decode().split()
    files = [path for path in listed if path.endswith(".jsonl") and Path(path).name != TUNING]
    shown = {f"{revision}:{path}": git("show", f"{revision}:{path}") for path in files}
    return [
        row for place, text in shown.items() for row in _of_suite(place, text.splitlines(), suite)
    ]


def _of_suite(place: str, lines: Iterable[bytes], suite: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if b'"cell_id"' not in line:
            continue
        try:
            row = read_row(line)
        except SpecError as error:
            raise StoreError(f"{place} line {number}: {error}; delete the line") from error
        if row.cell.suite == suite:
            yield row


def _git(*words: str, revision: str) -> bytes:
    try:
        done = subprocess.run(["git", *words], check=True, capture_output=True)  # noqa: S603, S607  the user's git
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", b"") or b""
        raise StoreError(
            f"{revision!r} is no folder, and git knows no such revision: "
            f"{told.decode().strip() or error}"
        ) from error
    return done.stdout


def _accuracy(row: Row) -> float:
    return row.metrics.score if row.metrics else 0.0


def _half_widths(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Return half of the interval over seeds, by what is alike but for the seed."""
    by_question: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.metrics:
            by_question.setdefault(row.cell.around_seed, []).append(row.metrics.score)
    means = {name: statistics.mean_over_seeds(values) for name, values in by_question.items()}
    return {name: one.interval.half_width for name, one in means.items() if one.interval}
