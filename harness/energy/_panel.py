"""Every model beside every other: no single joule is worth a claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from harness.contracts.ledger import Ledger
from harness.energy._bill import Baseline, Bill, EnergyModel, Evidence, occurs

Side = Literal["below", "within", "above"]
_BASELINES: tuple[Baseline, ...] = get_args(Baseline)


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """How many spikes a synapse may see in one inference before spiking stops paying.

    Attributes:
        low: Below it spiking wins against every opponent considered.
        high: Above it spiking loses against all of them.
        source: Who says so.
        evidence: How we know it.
    """

    low: float
    high: float
    source: str
    evidence: Evidence

    def side(self, sigma: float) -> Side:
        """Return where ``sigma`` accumulates a synapse lie."""
        if sigma < self.low:
            return "below"
        return "within" if sigma <= self.high else "above"


BREAK_EVENS = (
    BreakEven(
        low=1.72,
        high=1.72,
        source="Davidson & Furber 2021, 10.3389/fnins.2021.651141",
        evidence="secondary",
    ),
    BreakEven(
        low=0.15,
        high=1.38,
        source="Dampfhoffer et al. 2022, IEEE TETCI 7(3):731, by ANN implementation",
        evidence="read",  # the abstract
    ),
    BreakEven(
        low=0.06,
        high=0.35,
        source="Yan et al. 2024, arXiv 2409.08290",
        evidence="secondary",
    ),
)


@dataclass(frozen=True, kw_only=True)
class PanelLine:
    """One model's view.

    Attributes:
        bill: Of the spiking network.
        ratio: The bill over the artificial network's, by baseline; None where either is
            unknown or partial.
    """

    bill: Bill
    ratio: Mapping[Baseline, float | None]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What all models say of one network.

    Attributes:
        lines: By model.
    """

    lines: Mapping[str, PanelLine]


def build(ledger: Ledger, models: Mapping[str, EnergyModel], *, artificial: Ledger | None) -> Panel:
    """Return the panel of ``ledger``."""
    lines = {}
    for name, model in models.items():
        bill = model.bill(ledger, name=name)
        lines[name] = PanelLine(bill=bill, ratio=_ratios(bill, model, ledger, artificial))
    return Panel(lines=lines)


def _ratios(
    bill: Bill, model: EnergyModel, ledger: Ledger, artificial: Ledger | None
) -> dict[Baseline, float | None]:
    if (ours := bill.total_pj) is None:
        return dict.fromkeys(_BASELINES)
    theirs = {kind: model.baseline_pj(ledger, kind, artificial=artificial) for kind in _BASELINES}
    return {kind: ours / pj if occurs(pj) else None for kind, pj in theirs.items()}
