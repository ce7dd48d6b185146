"""Rows with numbers, and what their ledgers cost at today's prices."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from harness import energy
from harness.contracts.cell import Cell
from harness.contracts.ledger import Encode, Ledger
from harness.contracts.row import EarlyExit, Metrics, Row

Baseline = Literal["dense", "effective", "twin"]
# What the literature prints, under the convention by which our networks run: what stands
# before the first neuron is computed once.
USUAL_ENERGY = "horowitz_45nm_fp32:cached"
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
_ENCODES: tuple[Encode, ...] = get_args(Encode)

# Figures that ledgers give, with the category without which they are unknown.
COUNTED = {
    "spikes_per_sample": "spikes",
    "firing_rate": "spikes",
    "acs_per_sample": "ac",
    "and_acs_per_sample": "and_ac",
    "macs_per_sample": "mac",
    "dense_macs": "dense_valid",
    "coverage": None,
}


ByModel = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Priced:
    """What ledgers that differ in counts alone come to, a number each; None is unknown.

    Attributes:
        models: The energy models, in the order of what follows.
        energies: Picojoules a sample by each of them, by ledger.
        ratios: Those over the artificial network's, by baseline.
        counted: What the ledgers give, by figure.
        assumptions: Of each energy model.
    """

    models: tuple[str, ...]
    energies: Sequence[ByModel]
    ratios: Mapping[Baseline, Sequence[ByModel]]
    counted: Mapping[str, Sequence[float | None]]
    assumptions: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class PricedRow:
    """What one seed measured.

    Attributes:
        row: Of its cell.
        metrics: The row's.
        priced: What its ledger costs, among others; None without one.
        place: Of its ledger among them.
    """

    row: Row
    metrics: Metrics
    priced: Priced | None = None
    place: int = 0

    def figure(self, name: str) -> float | None:
        """Return a metric, or a count of the ledger; None if it is unknown."""
        if name not in COUNTED:
            found: float | None = getattr(self.metrics, name)
            return found
        return None if self.priced is None else self.priced.counted[name][self.place]


def answers(rows: Iterable[Row], teachers: Sequence[Row], /) -> list[PricedRow]:
    """Return the rows that have numbers, priced; ledgers of one make at once."""
    found = [row for row in rows if row.metrics is not None]
    by_teacher: dict[Hashable, list[Row]] = {}
    for row in found:
        if row.ledger is not None:
            by_teacher.setdefault((row.cell.teacher, row.cell.model), []).append(row)
    priced: dict[str, dict[str, Any]] = {}
    for counted in by_teacher.values():
        artificial = _artificial(counted[0].cell, teachers)
        for ledger, places in energy.together(row.ledger for row in counted if row.ledger):
            told = _priced(ledger, artificial, len(places))
            for at, place in enumerate(places):
                priced[counted[place].cell_id] = {"priced": told, "place": at}
    return [
        PricedRow(row=row, metrics=row.metrics, **priced.get(row.cell_id, {}))
        for row in found
        if row.metrics is not None
    ]


def _priced(ledger: Ledger, artificial: Ledger | None, many: int) -> Priced:
    """Return what ``many`` ledgers come to, which ``ledger`` is together."""

    def each(value: float | None) -> list[float | None]:
        found: list[float | None] = [None] * many
        return found if value is None else np.broadcast_to(value, many).tolist()

    def by_ledger(by_model: Iterable[float | None]) -> list[ByModel]:
        return list(zip(*map(each, by_model), strict=True))

    lines = energy.panel(ledger, artificial=artificial).lines
    return Priced(
        models=tuple(lines),
        energies=by_ledger(line.bill.total_pj for line in lines.values()),
        ratios={
            baseline: by_ledger(line.ratio[baseline] for line in lines.values())
            for baseline in BASELINES
        },
        assumptions={model: line.bill.assumptions for model, line in lines.items()},
        counted={
            name: each(None if needed in ledger.not_counted else getattr(ledger, name))
            for name, needed in COUNTED.items()
        },
    )


def usual_energy(models: Collection[str], /) -> str | None:
    """Return the usual energy model, or else the first of ``models``; None without any."""
    return USUAL_ENERGY if USUAL_ENERGY in models else min(models, default=None)


def exit_energy_pj(exits: EarlyExit, model: str) -> float | None:
    """Return the energy estimate of a sample until its early exit; None if unknown."""
    spent = {name: exits.spent[name] for name in _ENCODES if name in exits.spent}
    total = energy.operations_pj(spent, model) if spent else None
    return None if total is None else total / exits.samples


def _artificial(cell: Cell, teachers: Iterable[Row]) -> Ledger | None:
    """Return the teacher's ledger where the teacher has the student's topology."""
    teacher = cell.teacher
    if teacher is None or teacher.model != cell.model:
        return None
    return next((row.ledger for row in teachers if teacher.is_of(row.cell)), None)
