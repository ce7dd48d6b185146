"""What came in, held to the cell of ours that it is said to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.ledger import CATEGORIES, Ledger
from harness.contracts.row import Row
from harness.engine.scoring import arrays_in, contradiction
from harness.engine.show import known
from harness.evaluation.evaluate import Verdict
from harness.exchange.judging import Judged
from harness.exchange.stored import command_for
from harness.store import PREDICTIONS, Store


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a cell's run left.

    Attributes:
        row: With metrics.
        predictions: After each step, ``[T, N, ...]``.
        labels: The targets, ``[N, ...]``.
    """

    row: Row
    predictions: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a network differs from a cell.

    Attributes:
        cell_id: The cell's.
        samples: Of the test split.
        differing: Those that it decides otherwise after any step.
        counts: Operations over all samples and steps that are others: those here, and the
            cell's. None if nobody counted the cell's.
    """

    cell_id: str
    samples: int
    differing: int
    counts: Mapping[str, tuple[int, int]] | None

    @property
    def is_equal(self) -> bool:
        """Whether no decision and no count that is known is another."""
        return not self.differing and not self.counts

    def line(self) -> str:
        """Return it in words."""
        return f"{self.differing} of {self.samples} decide otherwise; counts {self._counts()}"

    def _counts(self) -> str:
        if self.counts is None:
            return "of the cell are not known"
        if not self.counts:
            return "equal"
        told = (f"{name} {here}, there {there}" for name, (here, there) in self.counts.items())
        return f"differ: {'; '.join(told)}"


def evidence_of(
    cell_id: str, /, *, dataset: str, timesteps: int, runs: Path, published: Path
) -> Evidence:
    """Return the decisions of a cell that was tested on ``dataset`` in ``timesteps`` steps.

    Raises:
        StoreError: If there is no row of it, several begin so, or no predictions of it are in
            ``runs``, or others than its row is about.
        SpecError: If it was tested on something else, or in another number of steps.
    """
    row = known(cell_id, runs=runs, published=published)
    cell = row.cell
    if (cell.dataset, cell.timesteps) != (dataset, timesteps):
        raise SpecError(
            f"cell {cell.cell_id} was tested on {cell.dataset} in {cell.timesteps} steps; compare "
            f"with --dataset {cell.dataset} --timesteps {cell.timesteps}"
        )
    path = Store(runs).folder(cell) / PREDICTIONS
    arrays = arrays_in(path, row)
    if arrays is None or row.metrics is None:
        raise StoreError(
            f"no predictions of {cell.label} under {runs}: rows are published without them; make "
            f"them: {command_for(cell, runs)}"
        )
    if wrong := contradiction(row, arrays):
        raise StoreError(f"{path} contradicts its row: {wrong}; run its cell again")
    return Evidence(row=row, predictions=arrays["predictions"], labels=arrays["labels"])


def compare(judged: Judged, evidence: Evidence, /) -> Comparison:
    """Return how what was ``judged`` differs from a cell.

    Raises:
        SpecError: If the cell was tested on other samples.
    """
    verdict = judged.verdict
    if not np.array_equal(verdict.labels, evidence.labels):
        raise SpecError(
            f"the test labels here are not those of cell {evidence.row.cell_id}; compare on the "
            "data that it was tested on"
        )
    return Comparison(
        cell_id=evidence.row.cell_id,
        samples=len(verdict.labels),
        differing=_differing(verdict, evidence.predictions),
        counts=_other_counts(judged.ledger, evidence.row.ledger),
    )


def _differing(
    verdict: Verdict,
    predictions: NDArray[Any],  # [T, N, ...]
) -> int:
    """Return how many samples are decided otherwise after any step."""
    steps = zip(verdict.predictions, predictions, strict=True)
    alike = [verdict.task.alike(*decided) for decided in steps]
    return int((~np.all(alike, axis=0)).sum())


def _other_counts(ours: Ledger, said: Ledger | None) -> Mapping[str, tuple[int, int]] | None:
    if said is None:
        return None
    here, there = ours.total, said.total
    both = {name: (getattr(here, name), getattr(there, name)) for name in CATEGORIES}
    return {
        name: counts
        for name, counts in both.items()
        if name not in said.not_counted and counts[0] != counts[1]
    }
