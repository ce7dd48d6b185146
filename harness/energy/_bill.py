"""Prices with their sources, and bills that say what they leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

import numpy as np

from harness.contracts.ledger import Ledger

Grade = Literal["measured", "simulated", "derived", "assumed"]
Evidence = Literal["reproduced", "read", "secondary", "memory"]
Baseline = Literal["dense", "effective", "twin"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one operation, access or event costs, and who says so.

    Attributes:
        value: In ``unit``.
        unit: ``pJ/op``, ``pJ/access``, ``pJ/byte``, ``pJ/bit/hop``, ...
        source: Whose figure it is.
        grade: How the source came by it.
        evidence: How we know it: reproduced by running a tool, read in the source, from
            a secondary source, or from memory and unconfirmed.
        technology_nm: Of the chip; None if not stated.
        operand_bits: Of the operation; None if not stated.
        access_bits: Of the memory access; None if it is none or not stated.
    """

    value: float
    unit: str
    source: str
    grade: Grade
    evidence: Evidence
    technology_nm: int | None = None
    operand_bits: int | None = None
    access_bits: int | None = None


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What one sample costs under one model.

    Attributes:
        model: Its name.
        by_category: Picojoules a sample of what has a price.
        unpriced: What is in scope and has none, a phrase each.
        assumptions: What the figures take for granted or leave out, a sentence each.
        source: Of the model.
    """

    model: str
    by_category: Mapping[str, float]
    unpriced: tuple[str, ...]
    assumptions: tuple[str, ...]
    source: str

    @property
    def total_pj(self) -> float | None:
        """Picojoules a sample; None if anything in the model's scope is unpriced."""
        return None if self.unpriced else self.partial_pj

    @property
    def partial_pj(self) -> float:
        """The sum of what has a price; a total only if nothing is unpriced."""
        return sum(self.by_category.values(), start=0.0)


class EnergyModel(Protocol):
    """A way to price a ledger. Files of this folder provide several, as ``MODELS``."""

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample of ``ledger`` costs.

        Its counts may be those of several ledgers (``together``): they are added, multiplied
        and asked whether something ``occurs``, and nothing else.
        """
        ...

    def baseline_pj(
        self, ledger: Ledger, kind: Baseline, /, *, artificial: Ledger | None
    ) -> float | None:
        """Return what one sample of the artificial network costs, or None if unknown.

        ``dense`` multiplies every weight, ``effective`` skips zero activations and nothing
        else, for which it needs the ``artificial`` network's own ledger, ``twin`` has as many
        activation bits as the spikes can tell apart.
        """
        ...


def occurs(count: float | None) -> TypeGuard[float]:
    """Return whether a count is known and not 0; it is so in all ledgers ``together`` or none."""
    return count is not None and bool(np.any(count))


def gaps(ledger: Ledger) -> tuple[str, ...]:
    """Return what the meter could not count, which no model can price."""
    return tuple(f"uncounted: {gap.operation} in {gap.layer}" for gap in ledger.uncounted)


def artificial_operations(
    ledger: Ledger, kind: Baseline, /, *, artificial: Ledger | None
) -> tuple[float, float] | None:
    """Return the multiply-accumulates and accumulates of one frame, or None if unknown.

    Every weight is multiplied, or for ``effective`` what the ``artificial`` network ran: it
    skipped zeros, and accumulated integers, such as summed events, a unit at a time.
    """
    if kind != "effective":
        return None if ledger.dense_macs is None else (ledger.dense_macs, 0.0)
    if artificial is None:
        return None
    macs, adds = (artificial.mean(item, encode="cached") for item in ("mac", "ac"))
    return None if macs is None or adds is None else (macs, adds)


def twin_bits(steps: int) -> int:
    """Return the bits of the quantised network that ``steps`` of spikes equal.

    0 to T spikes are T + 1 levels: ``ceil(log2(T + 1))``, Yan et al. 2024, exact for
    integrate-and-fire with reset by subtraction and a current in [0, threshold).
    """
    return steps.bit_length()
