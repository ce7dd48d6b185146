"""Run the canaries of rows whose code moved, not their cells.

A stage whose numbers come out as the row itself holds them is noted in ``verified.jsonl``
and is fresh again. Two runs that differ from each other are no verdict.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import discovery, fingerprint
from harness.contracts.cell import Cell
from harness.contracts.errors import HarnessError, StoreError, UnsupportedError
from harness.contracts.row import Row, Stage
from harness.engine import proofs, worker
from harness.engine.freshness import data_fingerprint, fingerprints, has_moved
from harness.engine.processes import Job, News, run_jobs
from harness.engine.proofs import PARTS, Proof, key_of
from harness.engine.teachers import cell_of
from harness.results import published
from harness.store import Store, changing

_PATIENCE_S = 86_400.0

Outcome = Literal["same", "moved", "no verdict", "no canary", "not run"]


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What came of one row.

    Attributes:
        row: Which.
        outcome: ``same`` if every stage is.
        words: What is not the same, or why there is nothing to compare.
        proofs: Of the stages that are the same.
    """

    row: Row
    outcome: Outcome
    words: str = ""
    proofs: tuple[Proof, ...] = ()


def verify(row: Row, data_root: Path | None, /) -> Verification:
    """Compute the canary of ``row`` anew and compare it with the one it holds."""
    from harness.engine.canary import canary_of, differing

    if (incomparable := _incomparable(row, data_root)) is not None:
        return incomparable
    try:
        now = canary_of(row.cell, data_root)
        if row.canary is None:
            return Verification(row=row, outcome="moved", words=f"was skipped: {row.error}")
        moved = {stage: differing(row.canary, now, stage) for stage in PARTS}
        if any(moved.values()) and any(
            differing(now, canary_of(row.cell, data_root), stage) for stage in PARTS
        ):
            return Verification(row=row, outcome="no verdict", words="two runs here differ")
    except (UnsupportedError, ModuleNotFoundError) as error:
        if row.canary is not None or str(error) != row.error:
            outcome: Outcome = "moved" if _is_installed(row.cell.backend) else "not run"
            return Verification(row=row, outcome=outcome, words=str(error))
        moved = dict.fromkeys(PARTS, ())
    except HarnessError as error:
        return Verification(row=row, outcome="not run", words=str(error))
    words = "; ".join(f"{stage}: {', '.join(parts)}" for stage, parts in moved.items() if parts)
    return Verification(
        row=row,
        outcome="moved" if words else "same",
        words=words,
        proofs=tuple(_proof(row, stage) for stage, parts in moved.items() if not parts),
    )


def _incomparable(row: Row, data_root: Path | None) -> Verification | None:
    """Return why no canary of ``row`` can be compared, if none can."""
    if row.canary is None and row.status != "skipped":
        return Verification(row=row, outcome="no canary", words="run its cell again")
    then = row.provenance.data_fp
    here = data_fingerprint(row.cell.dataset, data_root, row.cell.unlabelled)
    if None not in (then, here) and then != here:
        return Verification(row=row, outcome="no verdict", words="its data is another here")
    return None


def _is_installed(backend: str | None) -> bool:
    return all(map(fingerprint.installed, discovery.packages_of(backend)))


def _proof(row: Row, stage: Stage) -> Proof:
    return Proof(
        stage=stage,
        fingerprint=fingerprints(row.cell)[stage],
        versions=dict(fingerprint.versions(discovery.packages_of(row.cell.backend))),
        canaries=(key_of(row, stage),),
    )


def verify_all(
    rows: Sequence[Row], data_root: Path | None, /, *, slots: int, logs: Path
) -> Iterator[Verification]:
    """Verify ``rows``, in ``slots`` processes of one thread; yield as they come.

    Raises:
        StoreError: If a process died; names its log.
    """
    codeless = {row.cell_id: why for row in rows if (why := no_code_for(row.cell))}
    for row in rows:
        if row.cell_id in codeless:
            yield Verification(row=row, outcome="not run", words=codeless[row.cell_id])
    rows = [row for row in rows if row.cell_id not in codeless]
    # Rows of one data set, T and teacher together: each process opens them once.
    ordered = sorted(rows, key=lambda row: (row.cell.dataset, row.cell.timesteps, row.cell_id))
    size = -(-len(ordered) // slots) if ordered else 1
    jobs = [
        Job(
            name=f"canaries {start + 1} to {start + len(ordered[start : start + size])}",
            work=worker.work_on_canaries,
            argument=(ordered[start : start + size], data_root),
            log_path=logs / f"reverify-{time.time_ns()}-{start}.txt",
        )
        for start in range(0, len(ordered), size)
    ]
    for happening in run_jobs(jobs, slots=slots, timeout_s=_PATIENCE_S):
        if isinstance(happening, News):
            yield happening.value
        elif happening.ending != "done":
            raise StoreError(f"{happening.job.name}: died; see {happening.job.log_path}")


def no_code_for(cell: Cell, /) -> str:
    """Return which plug-in of ``cell`` is not here or cannot be read; empty if all can."""
    try:
        fingerprints(cell)
    except HarnessError as error:
        return str(error)
    return ""


def suspects(suite: str, runs: Path, folder: Path, /, *, sample: int | None) -> list[Row]:
    """Return the rows of ``suite``, and of its teachers, whose code or libraries moved.

    Or ``sample`` rows, evenly over all there are, as if theirs had. Code that is not here is
    among what moved.
    """
    store, known = Store(runs), published(suite, results=folder)
    here = [row for row in store.rows(suite) if row.cell.judged == "test"]  # trials have no canary
    rows = [*known.rows.values(), *here]
    for cell in map(cell_of, {row.cell.teacher for row in rows if row.cell.teacher}):
        rows += [row for row in (known.teachers.get(cell.cell_id), store.load(cell)) if row]
    noted = proofs.read(folder, runs)

    def moved(row: Row) -> bool:
        return bool(no_code_for(row.cell)) or has_moved(row, noted)

    # A cell that was run here and published has two rows, of other code; one proof if they agree.
    found = {
        tuple(key_of(row, stage) for stage in PARTS): row
        for row in rows
        if row.status in {"ok", "skipped"} and (sample is not None or moved(row))
    }
    ok = list(found.values())
    if sample is None:
        return ok
    many = min(sample, len(ok))
    return [ok[place * len(ok) // many] for place in range(many)]


def note(
    rows: Sequence[Row], runs: Path, folder: Path, data_root: Path | None, /, *, slots: int
) -> Generator[Verification]:
    """Verify ``rows`` and note the proofs, also of a run that is cut short."""
    found_alike: list[Proof] = []
    try:
        for found in verify_all(rows, data_root, slots=slots, logs=runs / "reverify"):
            found_alike += found.proofs
            yield found
    finally:
        place = folder if folder.is_dir() else runs
        with changing(place):
            proofs.write(place, proofs.renewed(proofs.read(place).proofs, found_alike))
