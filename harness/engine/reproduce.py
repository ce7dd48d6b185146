"""Run the very cell of a known row again, apart from everything, and compare."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.contracts.cell import Cell
from harness.contracts.errors import StoreError
from harness.contracts.row import Row
from harness.engine.compare import unlike
from harness.engine.jobs import Conditions
from harness.engine.reverify import verify
from harness.engine.scheduler import CellEnded, conduct
from harness.engine.teachers import cell_of, verified_weights
from harness.store import Store

Likeness = Literal["identical", "within tolerance", "different"]


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of running a row's cell again.

    Attributes:
        then: The row as known.
        now: The row as made here.
        likeness: ``identical`` in every number but times, or in why there is none; ``within
            tolerance`` if either accuracy lies in the other's interval over test samples.
        words: Which numbers differ, and which stage of the code moved.
    """

    then: Row
    now: Row
    likeness: Likeness
    words: str


def reproduce(row: Row, conditions: Conditions, /, *, timeout_s: float | None) -> Reproduction:
    """Run the cell of ``row``, and its teacher, in an empty store; compare what comes.

    Raises:
        StoreError: If its teacher was imported and is not in ``conditions.runs``, or what
            failed is this machine, which says nothing of the row.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        apart = Store(Path(folder))
        cells = [*_teacher(row, Store(conditions.runs), apart), row.cell]
        here = replace(conditions, runs=apart.root)
        for event in conduct(cells, here, slots=1, timeout_s=timeout_s):
            if isinstance(event, CellEnded):
                now = event.row
                if now.status == "machine":
                    raise StoreError(
                        f"{event.cell.label}: this machine failed, not the cell: {now.error}; "
                        "mend it or reproduce the row on another"
                    )
                if now.metrics is None and (now.status, now.error) != (row.status, row.error):
                    reason = f"{event.cell.label}: {now.status}: {now.error}"
                    return Reproduction(then=row, now=now, likeness="different", words=reason)
    return _compared(row, now, conditions.data_root)


def _teacher(row: Row, here: Store, apart: Store) -> list[Cell]:
    """Return the teacher's cell if it has to be trained; an imported one is copied."""
    if row.cell.teacher is None:
        return []
    cell = cell_of(row.cell.teacher)
    if row.cell.teacher.recipe is not None:
        return [cell]
    verified_weights(here, cell)
    shutil.copytree(here.folder(cell), apart.folder(cell))
    return []


def _compared(then: Row, now: Row, data_root: Path | None) -> Reproduction:
    names = unlike(then, now)
    if not names:
        return Reproduction(then=then, now=now, likeness="identical", words="")
    if then.metrics is None or now.metrics is None:
        return Reproduction(then=then, now=now, likeness="different", words=", ".join(names))
    ours, theirs = now.metrics, then.metrics
    within = (
        theirs.score_low <= ours.score <= theirs.score_high
        or ours.score_low <= theirs.score <= ours.score_high
    )
    found = verify(then, data_root)
    code = "the code's meaning did not move" if found.outcome == "same" else found.words
    return Reproduction(
        then=then,
        now=now,
        likeness="within tolerance" if within else "different",
        words=f"{', '.join(names)}; canary: {found.outcome}: {code}",
    )
