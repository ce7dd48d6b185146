"""Rows with numbers, and what their ledgers cost at today's prices."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from harness import energy
from harness.contracts.cell import Cell
from harness.contracts.ledger import Encode, Ledger
from harness.contracts.row import EarlyExit, Metrics, Row
from harness.energy import Panel

Baseline = Literal["dense", "effective", "twin"]
# What the literature prints, under the convention by which our networks run: what stands
# before the first neuron is computed once.
USUAL_ENERGY = "horowitz_45nm_fp32:cached"
BASELINES: tuple[Baseline, ...] = get_args(Baseline)

# Figures that ledgers give, with the category without which they are unknown.
COUNTED = {
    "spikes_per_sample": "spikes",
    "firing_rate": "spikes",
    "acs_per_sample": "ac",
    "macs_per_sample": "mac",
    "dense_macs": "dense_valid",
    "coverage": None,
}


@dataclass(frozen=True, kw_only=True)
class PricedRow:
    """What one seed measured.

    Attributes:
        row: Of its cell.
        metrics: The row's.
        panel: What all energy models make of the row's ledger; None without one.
    """

    row: Row
    metrics: Metrics
    panel: Panel | None

    def figure(self, name: str) -> float | None:
        """Return a metric, or a count of the ledger; None if it is unknown."""
        ledger = self.row.ledger
        if name not in COUNTED:
            found: float | None = getattr(self.metrics, name)
        elif ledger is None or COUNTED[name] in ledger.not_counted:
            found = None
        else:
            found = getattr(ledger, name)
        return found

    def energy_pj(self, model: str) -> float | None:
        """Return the energy estimate of a sample under one model."""
        return None if self.panel is None else self.panel.lines[model].bill.total_pj

    def ratio(self, model: str, baseline: Baseline) -> float | None:
        """Return that over the artificial network's."""
        return None if self.panel is None else self.panel.lines[model].ratio[baseline]


def answers(rows: Iterable[Row], teachers: Sequence[Row], /) -> list[PricedRow]:
    """Return the rows that have numbers, priced; ledgers that are alike are priced once."""
    known: dict[str, Panel] = {}

    def panel(row: Row) -> Panel | None:
        if row.ledger is None:
            return None
        artificial = _artificial(row.cell, teachers)
        name = f"{id(artificial)} {json.dumps(row.ledger.to_plain())}"
        if name not in known:
            known[name] = energy.panel(row.ledger, artificial=artificial)
        return known[name]

    return [
        PricedRow(row=row, metrics=row.metrics, panel=panel(row))
        for row in rows
        if row.metrics is not None
    ]


def usual_energy(models: Collection[str], /) -> str | None:
    """Return the usual energy model, or else the first of ``models``; None without any."""
    return USUAL_ENERGY if USUAL_ENERGY in models else min(models, default=None)


def exit_energy_pj(exits: EarlyExit, model: str) -> float | None:
    """Return the energy estimate of a sample until its early exit; None if unknown."""
    spent = {name: exits.spent[name] for name in get_args(Encode) if name in exits.spent}
    total = energy.operations_pj(spent, model) if spent else None
    return None if total is None else total / exits.samples


def _artificial(cell: Cell, teachers: Iterable[Row]) -> Ledger | None:
    """Return the teacher's ledger where the teacher has the student's topology."""
    teacher = cell.teacher
    if teacher is None or teacher.model != cell.model:
        return None
    return next((row.ledger for row in teachers if teacher.is_of(row.cell)), None)
