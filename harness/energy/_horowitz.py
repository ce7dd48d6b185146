"""Horowitz' prices at 45 nm and 0.9 V, and the compute-only model made of them.

M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014,
figure 1.1.9. Read through the tools named in each source, not in the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.contracts.ledger import Encode, Ledger
from harness.energy._bill import Baseline, Bill, Price, artificial_operations, gaps, twin_bits

SOURCE = "M. Horowitz, ISSCC 2014, 45 nm, 0.9 V"


def _operation(value: float, bits: int, where: str) -> Price:
    return Price(
        value=value,
        unit="pJ/op",
        source=f"{SOURCE}; as in {where}",
        grade="derived",
        evidence="read",
        technology_nm=45,
        operand_bits=bits,
    )


def _access(value: float) -> Price:
    return Price(
        value=value,
        unit="pJ/access",
        source=f"{SOURCE}; as in SpikingJelly 2.0 and PMC8934428",
        grade="derived",
        evidence="read",
        technology_nm=45,
        access_bits=64,
    )


INT8_ADD = _operation(0.03, 8, "SpikingJelly 2.0 and qualia-plugin-snn")
INT8_MULTIPLY = _operation(0.2, 8, "SpikingJelly 2.0 and qualia-plugin-snn")
INT32_ADD = _operation(0.1, 32, "SpikingJelly 2.0, qualia-plugin-snn and PMC8934428 table 3")
INT32_MULTIPLY = _operation(3.1, 32, "SpikingJelly 2.0, qualia-plugin-snn and PMC8934428 table 3")
FP16_ADD = _operation(0.4, 16, "SpikingJelly 2.0")
FP16_MULTIPLY = _operation(1.1, 16, "SpikingJelly 2.0")
FP32_ADD = _operation(0.9, 32, "SpikingJelly 2.0 and PMC8934428 table 3")
FP32_MULTIPLY = _operation(3.7, 32, "SpikingJelly 2.0 and PMC8934428 table 3")

CACHE_8_KB = _access(10.0)
CACHE_32_KB = _access(20.0)
CACHE_1_MB = _access(100.0)

# Priced like an addition; the AND in front of an AND-accumulate is taken as free.
_SYNAPTIC_ADDS = ("ac", "and_ac")
_OTHER_ADDS = (
    "bias_add",
    "residual_add",
    "pool_add",
    "neuron_add",
    "reset",
    "compare",
)
_REQUIRED = ("ac", "mac")
_REQUIRED_OF_NEURONS = ("neuron_add", "neuron_mul", "compare")


@dataclass(frozen=True, kw_only=True)
class ComputeOnly:
    """Arithmetic alone: ``E = N_mac (E_multiply + E_add) + N_ac E_add``.

    Attributes:
        add: Price of an addition.
        multiply: Price of a multiplication.
        encode: Whether a constant input is multiplied in every step or once.
        neurons: Whether biases, residuals, pooling and neuron updates are included;
            the literature's figure leaves them out.
    """

    add: Price
    multiply: Price
    encode: Encode
    neurons: bool = False

    @property
    def mac_pj(self) -> float:
        """A multiplication and an addition."""
        return self.multiply.value + self.add.value

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample costs. Memory traffic is *not* included."""
        adds = (*_SYNAPTIC_ADDS, *_OTHER_ADDS) if self.neurons else _SYNAPTIC_ADDS
        prices = {"mac": self.mac_pj, **dict.fromkeys(adds, self.add.value)}
        if self.neurons:
            prices["neuron_mul"] = self.multiply.value
        counted = {item: ledger.mean(item, encode=self.encode) for item in prices}
        needed = (*_REQUIRED, *_REQUIRED_OF_NEURONS) if self.neurons else _REQUIRED
        uncounted = tuple(f"{item} was not counted" for item in needed if counted[item] is None)
        return Bill(
            model=name,
            source=SOURCE,
            by_category={
                item: count * prices[item] for item, count in counted.items() if count is not None
            },
            unpriced=(*uncounted, *gaps(ledger)),
            assumptions=self._assumptions(),
        )

    def baseline_pj(
        self, ledger: Ledger, kind: Baseline, /, *, artificial: Ledger | None
    ) -> float | None:
        """Return what the artificial network costs in the same arithmetic.

        The twin multiplies by ``b`` bits with ``b`` additions where that is cheaper than
        a multiplication of full width; nobody publishes a price for ``b`` bits.
        """
        operations = artificial_operations(ledger, kind, artificial=artificial)
        if operations is None:
            return None
        macs, adds = operations
        bit_by_bit = twin_bits(ledger.steps) * self.add.value
        product = min(self.mac_pj, bit_by_bit) if kind == "twin" else self.mac_pj
        return macs * product + adds * self.add.value

    def _assumptions(self) -> tuple[str, ...]:
        often = "in every step" if self.encode == "per_step" else "once and its result kept"
        left_out = "memory traffic" if self.neurons else "memory, biases, pooling, neuron updates"
        prices = f"{self.add.value} pJ to add, {self.multiply.value} pJ to multiply"
        return (
            f"45 nm, {self.add.operand_bits}-bit operands: {prices}",
            f"a constant input is multiplied {often}",
            f"not included: {left_out}",
        )


def variants(*, add: Price, multiply: Price) -> Mapping[str, ComputeOnly]:
    """Return the model under both conventions for the first layer, and with neurons."""
    return {
        "per_step": ComputeOnly(add=add, multiply=multiply, encode="per_step"),
        "cached": ComputeOnly(add=add, multiply=multiply, encode="cached"),
        "cached_with_neurons": ComputeOnly(
            add=add, multiply=multiply, encode="cached", neurons=True
        ),
    }
