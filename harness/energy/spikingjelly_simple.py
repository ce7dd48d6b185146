"""Arithmetic at 45 nm plus every byte of weight, bias and state, as SpikingJelly 2.0 does.

``E = 4.6 N_mac + 0.9 N_ac + 24.96 pJ/B``, products of two spikes among the accumulates, which
fetch no weight. Memory swamps operations: two spikes into a
linear layer of five outputs cost 9 pJ to add and 998 pJ to fetch. Priced from our exact
counts: SpikingJelly's own total includes operations of its own bookkeeping.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.contracts.ledger import Ledger
from harness.energy._bill import Baseline, Bill, Price, artificial_operations, gaps, occurs
from harness.energy._horowitz import FP32_ADD, FP32_MULTIPLY

SOURCE = "SpikingJelly 2.0.0, estimate_simple_energy"
WORD_BYTES = 4
MOVE = Price(
    value=24.96,  # 8 bits at 3.12 pJ/bit
    unit="pJ/byte",
    source=f"{SOURCE}, which attributes 3.12 pJ/bit to STEP",
    grade="assumed",
    evidence="secondary",
)


@dataclass(frozen=True)
class Simple:
    """The model; it has no parameters."""

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample costs."""
        priced = ("mac", "ac", "and_ac", "bias_add")
        counts = {item: ledger.mean(item) for item in (*priced, "neuron_add")}
        known = {item: 0.0 if count is None else count for item, count in counts.items()}
        neurons = [layer for layer in ledger.layers.values() if layer.neurons]
        states = [layer.updates / layer.samples for layer in neurons]
        uncounted = [item for item in priced if counts[item] is None]
        grown = occurs(counts["neuron_add"]) and not states
        sizeless = ["the size of neuron layers"] if grown else []
        return Bill(
            model=name,
            source=SOURCE,
            by_category={
                "mac": known["mac"] * (FP32_MULTIPLY.value + FP32_ADD.value),
                "ac": (known["ac"] + known["and_ac"]) * FP32_ADD.value,
                "weights": (known["mac"] + known["ac"]) * WORD_BYTES * MOVE.value,
                "biases": known["bias_add"] * WORD_BYTES * MOVE.value,
                "potentials": 2 * sum(states) * WORD_BYTES * MOVE.value,
            },
            unpriced=(
                *(f"{item} was not counted" for item in uncounted),
                *sizeless,
                *gaps(ledger),
            ),
            assumptions=(
                "45 nm, 32-bit floating point; every weight is fetched for every use",
                "a constant input is multiplied in every step",
                "not included: arithmetic of neurons, pooling, residual sums, inputs and outputs",
            ),
        )

    def baseline_pj(
        self, ledger: Ledger, kind: Baseline, /, *, artificial: Ledger | None
    ) -> float | None:
        """Return the artificial network's energy, each weight fetched for each use."""
        operations = artificial_operations(ledger, kind, artificial=artificial)
        if operations is None or kind == "twin":
            return None
        macs, adds = operations
        fetch = WORD_BYTES * MOVE.value
        use = FP32_MULTIPLY.value + FP32_ADD.value + fetch
        return macs * use + adds * (FP32_ADD.value + fetch)


MODELS: Mapping[str, Simple] = {"per_step": Simple()}
