"""Spikes against the quantised network they equal, Yan, Bai, Tang and Wong 2024.

arXiv 2409.08290 v4 (v2 and v3 differ in the headline: 6.4 % instead of 5.7 %). The abstract
was read; constants and formulas come from a third party's digest, so everything here is
graded ``secondary``. ``T`` steps of spikes tell ``T + 1`` levels apart, so the fair
opponent has ``b = ceil(log2(T + 1))`` activation bits, not 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.contracts.ledger import Ledger
from harness.energy._bill import Baseline, Bill, Grade, Price, gaps, occurs, twin_bits

SOURCE = "Yan et al. 2024, arXiv 2409.08290 v4"
INPUT_BITS = 8  # of an image's pixels
_OTHER_ADDS = ("and_ac", "bias_add", "residual_add", "pool_add")


def _price(value: float, unit: str, *, grade: Grade = "simulated") -> Price:
    return Price(
        value=value,
        unit=unit,
        source=SOURCE,
        grade=grade,
        evidence="secondary",
        technology_nm=22,
    )


ACCUMULATE = _price(0.05448, "pJ/op")
COMPARE = _price(0.05448, "pJ/op")
SUBTRACT = _price(0.05448, "pJ/op")
SPARSE_MOVE = _price(3.0, "pJ/bit/hop", grade="derived")  # from Loihi 1
DENSE_MOVE = _price(0.25, "pJ/bit/hop", grade="derived")


@dataclass(frozen=True, kw_only=True)
class Yan:
    """The model as far as a ledger can feed it.

    Attributes:
        hops: How far a spike travels on the chip; None leaves movement out.
    """

    hops: float | None = None

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample costs. Loading weights from memory is *not* included."""
        # No price of a multiplication is known to us: a pixel enters bit by bit.
        prices = {
            "ac": ACCUMULATE.value,
            "mac": INPUT_BITS * ACCUMULATE.value,
            "compare": COMPARE.value,
            "reset": SUBTRACT.value,
        }
        if self.hops is not None:
            prices["spikes"] = SPARSE_MOVE.value * self.hops
        counted = {item: ledger.mean(item, encode="cached") for item in prices}
        others = {item: ledger.mean(item, encode="cached") for item in _OTHER_ADDS}
        return Bill(
            model=name,
            source=SOURCE,
            by_category={
                item: count * prices[item] for item, count in counted.items() if count is not None
            }
            | {item: count * ACCUMULATE.value for item, count in others.items() if occurs(count)},
            unpriced=(
                *(f"{item} was not counted" for item, count in counted.items() if count is None),
                *gaps(ledger),
            ),
            assumptions=self._assumptions(),
        )

    def baseline_pj(
        self,
        ledger: Ledger,
        kind: Baseline,
        /,
        *,
        artificial: Ledger | None,  # noqa: ARG002  only the twin is in the model
    ) -> float | None:
        """Return the quantised twin's energy: ``b`` accumulates a weight, ``b`` bits a move."""
        macs = ledger.dense_macs
        if kind != "twin" or macs is None:
            return None
        bits = twin_bits(ledger.steps)
        computing = macs * bits * ACCUMULATE.value
        if self.hops is None:
            return computing
        layers = [layer for layer in ledger.layers.values() if layer.neurons]
        neurons = sum(layer.updates / (layer.samples * layer.steps) for layer in layers)
        return computing + neurons * bits * DENSE_MOVE.value * self.hops if layers else None

    def _assumptions(self) -> tuple[str, ...]:
        moved = (
            "not included: moving spikes, loading weights"
            if self.hops is None
            else f"a spike is 1 bit and travels {self.hops:g} hop; its address is not included, "
            "nor are weights from memory"
        )
        return (
            "22 nm, constants from a digest of the paper",
            f"an {INPUT_BITS}-bit pixel is multiplied once, by {INPUT_BITS} accumulates",
            "the twin multiplies by b bits with b accumulates and skips no zeros",
            moved,
        )


MODELS: Mapping[str, Yan] = {"compute": Yan(), "one_hop": Yan(hops=1.0)}
