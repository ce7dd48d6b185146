"""How far rows that somebody sent are to be believed, by what came with them.

A row is *refused* if its own predictions, its teacher's or its weights contradict it. It is
*verified* if this harness computed decisions of it again from its weights, on data that lies
here, and its code is that of this checkout or was proved to mean the same. Else it is *claimed*,
with the reason. That weights were trained as the row says only ``reproduce`` can tell. Imports
no torch.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from harness import discovery
from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import HarnessError, StoreError
from harness.contracts.row import Row
from harness.data import catalogue
from harness.engine import packed
from harness.engine.folder import Evidence, Teachers
from harness.engine.freshness import stages_moved
from harness.engine.packed import Arrays
from harness.engine.processes import Job, News, run_jobs
from harness.engine.proofs import Verified
from harness.report._words import visible

Level = Literal["refused", "claimed", "verified"]
# What people call a plug-in, and the file that it is in.
_PLACES: Mapping[discovery.Kind, tuple[str, str]] = {
    "suites": ("suite", "suites/{}.py"),
    "methods": ("method", "suites/methods/{}.py"),
    "models": ("model", "suites/models/{}.py"),
    "datasets": ("data set", "suites/datasets/{}.py"),
    "tasks": ("task", "suites/tasks/{}.py"),
    "encoders": ("encoder", "suites/encoders/{}.py"),
    "backends": ("simulator", "backends/{}/"),
}
_LONGEST = 100  # characters of a name


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a process is asked about a row.

    Attributes:
        row: Which.
        weights: The file of them.
        arrays: Predictions and labels, as a cell's folder keeps them.
        data_root: Where data sets lie.
        samples: Of the test split, at most so many are asked.
        seed: Of the draw of these.
    """

    row: Row
    weights: Path
    arrays: bytes
    data_root: Path | None
    samples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Again:
    """What a process found.

    Attributes:
        samples: That were asked again.
        wrong: What contradicts the row; None if nothing does.
        cannot: Why nothing could be asked.
    """

    samples: int
    wrong: str | None = None
    cannot: str | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of a row.

    Attributes:
        row: Which.
        level: How far it is to be believed.
        why: Why no further; empty if it is verified.
        samples: Of its test samples, those that were computed again.
    """

    row: Row
    level: Level
    why: str = ""
    samples: int = 0


def verify(
    evidence: Evidence,
    data_root: Path | None,
    /,
    *,
    proofs: Verified,
    samples: int,
    seed: int,
    slots: int,
    timeout_s: float,
    logs: Path,
) -> Iterator[Finding]:
    """Yield what is known of each row, as it becomes known.

    Args:
        evidence: Rows and what came with them.
        data_root: Where data sets lie.
        proofs: Of moved code that means the same.
        samples: At most so many of a row's test split are computed again.
        seed: Of the draw of these; whoever sends rows must not know it.
        slots: Processes at once.
        timeout_s: Seconds a row may take.
        logs: Where processes write.
    """
    left: list[tuple[Row, Arrays]] = []
    teachers = Teachers.of(evidence)
    for row in evidence.rows.values():
        found = _looked_at(evidence, row, teachers, proofs)
        if isinstance(found, Finding):
            yield found
        else:
            left.append((row, found))
    asked = partial(Question, data_root=data_root, samples=samples, seed=seed)
    with TemporaryDirectory(prefix="verify-") as folder:
        jobs = (_job(evidence, row, arrays, asked, Path(folder), logs) for row, arrays in left)
        told: set[str] = set()
        for happening in run_jobs(jobs, slots=slots, timeout_s=timeout_s):
            row = happening.job.argument.row
            if isinstance(happening, News):
                told.add(row.cell_id)
                yield _finding(row, happening.value)
                continue
            happening.job.argument.weights.unlink(missing_ok=True)
            if row.cell_id not in told:
                ended = f"{happening.ending} after {happening.seconds:.0f} s"
                words = f"computing it again ended as {ended}; see {happening.job.log_path}"
                yield Finding(row=row, level="claimed", why=words)


def _looked_at(
    evidence: Evidence, row: Row, teachers: Teachers, proofs: Verified
) -> Finding | Arrays:
    """Return what is known of ``row`` without computing; its predictions if that is not all."""
    tested = row.metrics is not None and row.cell.judged == "test"
    try:
        arrays = evidence.arrays(row) if tested else None
        wrong = None if arrays is None else teachers.contradiction(row, arrays)
        weights = None if arrays is None or wrong else evidence.weights(row)
    except StoreError as error:
        return Finding(row=row, level="refused", why=str(error))
    if wrong:
        return Finding(row=row, level="refused", why=wrong)
    lacking = {
        "it has no numbers of the test split": not tested,
        "no predictions came with it": arrays is None,
        "no weights came with it": weights is None,
    }
    why = next((words for words, is_so in lacking.items() if is_so), None)
    if arrays is None or (why := why or _other_code(row, proofs)):
        return Finding(row=row, level="claimed", why=str(why))
    return arrays


def _other_code(row: Row, proofs: Verified) -> str | None:
    """Return how the code that made ``row`` is not the code that is here, if it is not."""
    try:
        if words := absent(row.cell):
            return words
        moved = stages_moved(row, proofs)
    except HarnessError as error:
        return packed.one_line(error)
    stages = " and ".join({"train": "training", "measure": "measuring"}[one] for one in moved)
    return f"its {stages} code is not what is here" if moved else None


def absent(cell: Cell, /) -> str:
    """Return which plug-ins of ``cell`` are not here, and which files to ask for; else nothing."""
    found = [(kind, name) for kind, name in _loaded(cell) if name not in discovery.names(kind)]
    whats = ", ".join(f"{_PLACES[kind][0]} {_short(repr(name))}" for kind, name in found)
    files = ", ".join(_short(_PLACES[kind][1].format(name)) for kind, name in found)
    return f"no {whats} here; ask the sender for {files}" if found else ""


def _loaded(cell: Cell) -> Iterator[tuple[discovery.Kind, str]]:
    """Yield what ``cell`` loads by name."""
    if cell.suite != TEACHERS:
        yield "suites", cell.suite
    yield "methods", cell.method
    yield "models", cell.model
    yield "datasets", cell.dataset
    if cell.unlabelled is not None:
        yield from (("datasets", name) for name in cell.unlabelled.datasets)
    if cell.dataset in discovery.names("datasets"):
        yield "tasks", catalogue.load(cell.dataset).card.task
    if cell.encoder is not None:
        yield "encoders", cell.encoder
    if cell.backend is not None:
        yield "backends", cell.backend


def _short(name: str) -> str:
    """Return a name that somebody else chose, so that a terminal shows it and obeys nothing."""
    return " ".join(visible(name).split())[:_LONGEST]


def _job(
    evidence: Evidence,
    row: Row,
    arrays: Arrays,
    asked: Callable[..., Question],
    folder: Path,
    logs: Path,
) -> Job:
    weights = folder / f"{row.cell_id}.safetensors"
    weights.write_bytes(evidence.weights(row) or b"")
    return Job(
        name=f"verify {row.cell_id}",
        work=work_on_question,
        argument=asked(row=row, weights=weights, arrays=packed.to_npz(arrays)),
        log_path=logs / f"verify-{time.time_ns()}-{row.cell_id}.txt",
    )


def _finding(row: Row, again: Again) -> Finding:
    if again.wrong:
        return Finding(row=row, level="refused", why=again.wrong, samples=again.samples)
    if again.cannot:
        return Finding(row=row, level="claimed", why=again.cannot)
    return Finding(row=row, level="verified", samples=again.samples)


def work_on_question(question: Question, send: Callable[[Again], None]) -> bool:
    """Answer a question about one row, whatever happens. Runs in its own process."""
    try:
        from harness.engine.reinference import again

        send(again(question))
    except HarnessError as error:  # no such data, simulator or method here
        send(Again(samples=0, cannot=packed.one_line(error)))
    except Exception as error:  # noqa: BLE001  whatever strange parameters may lead to
        traceback.print_exc()
        send(Again(samples=0, cannot=f"{type(error).__name__}: {packed.one_line(error)}"))
    return True
