"""Operations, addressing and memory of Lemaire et al. 2022, under three readings of SRAM.

"An analytical estimation of spiking neural networks energy efficiency", arXiv
2210.13107. ``E = E_mem + E_ops + E_addr`` with 32-bit integers at 45 nm; no author code
is public. Equations as documented by the co-authors' qualia-plugin-snn and SpikingJelly
2.0; theta are spikes of all samples and steps that ran, ``K`` the kernel, ``S`` the stride.
The shift of a norm folded into a layer is a bias of it. Integers and averaged spikes arrive a
unit at a time: theta is what was accumulated over the ``C_out ceil(K/S)^2`` outputs that a unit
reaches, and at least one a value:

=============  ==========================================  ================================
per layer      artificial, per frame                       spiking
=============  ==========================================  ================================
MAC            ``C_out H_o W_o C_in K_h K_w``              leak: one a neuron and step
accumulate     ``C_out H_o W_o`` (bias)                    ``theta ceil(K/S)^2 C_out`` + bias a
                                                           step + one a spike (reset)
read inputs    as MAC; linear: ``N_in``                    ``theta``
read weights   as MAC                                      ``theta C_out K_h K_w``
potentials     none                                        read and write, each: as weights,
                                                           and one a neuron and step
write outputs  ``C_out H_o W_o``                           spikes
addressing     ``C_in H W + C_out H_o W_o + C_out K^2``,   ``theta C_out K^2`` additions;
               linear: ``N_in + N_out``                    convolution: ``2 theta`` MAC
=============  ==========================================  ================================

Borders, dilation and, for memory, stride are ignored, as in the original, so that units at
borders, which reach fewer outputs, are too few. The readings of "energy of an access" move one
layer's bill from 1,450 to 20,186 pJ.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise

import numpy as np

from harness.contracts.ledger import Layer, Ledger, Shape
from harness.energy._bill import Baseline, Bill, Price, gaps, occurs
from harness.energy._horowitz import (
    CACHE_1_MB,
    CACHE_8_KB,
    CACHE_32_KB,
    INT32_ADD,
    INT32_MULTIPLY,
)

SOURCE = "Lemaire et al. 2022, arXiv 2210.13107"
WORD_BITS = 32
FIFO_WORDS = 1000  # messages that an event queue holds, the paper's setting

REGRESSION_SLOPE = Price(
    value=1.09e-5,
    unit="pJ/access/bit stored",
    source="qualia-plugin-snn 2.6.0, default",
    grade="derived",
    evidence="read",
    technology_nm=45,
)
REGRESSION_OFFSET = Price(
    value=13.2,
    unit="pJ/access",
    source="qualia-plugin-snn 2.6.0, default",
    grade="derived",
    evidence="read",
    technology_nm=45,
)

_KIB_WORDS = 1024 * 8 // WORD_BITS
_CURVE = (
    (0, 0.0),
    (8 * _KIB_WORDS, CACHE_8_KB.value),
    (32 * _KIB_WORDS, CACHE_32_KB.value),
    (1024 * _KIB_WORDS, CACHE_1_MB.value),
)
_OUT_OF_SCOPE = ("and_ac", "residual_add", "pool_add", "gated", "function")


@cache
def piecewise_pj(words: int, /) -> float:
    """Return an access to a memory of ``words``: lines through Horowitz' caches and 0.

    Clamped at 1 MiB. The cache energies are those of 64-bit words, charged here for
    32 bits as SpikingJelly does; halving them is as defensible.
    """
    size = min(words, _CURVE[-1][0])
    for (small, low), (large, high) in pairwise(_CURVE):
        if size <= large:
            return low + (high - low) * (size - small) / (large - small)
    return CACHE_1_MB.value


def bus64_pj(words: int, /) -> float:  # noqa: ARG001  whatever the size
    """Return an access over a 64-bit bus that carries two words for 10 pJ."""
    return CACHE_8_KB.value / (64 // WORD_BITS)


def regression_pj(words: int, /) -> float:
    """Return an access to a memory of ``words`` by the laboratory's own linear fit."""
    return REGRESSION_SLOPE.value * words * WORD_BITS + REGRESSION_OFFSET.value


@dataclass
class _Tally:
    """Operations, addresses and accesses on their way to a bill."""

    access_pj: Callable[[int], float]
    pj: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def operate(self, category: str, *, adds: float = 0, macs: float = 0) -> None:
        mac_pj = INT32_ADD.value + INT32_MULTIPLY.value
        self.pj[category] += adds * INT32_ADD.value + macs * mac_pj

    def access(self, category: str, times: float, *, words: int) -> None:
        self.pj[category] += times * self.access_pj(words)


@dataclass(frozen=True, kw_only=True)
class Lemaire:
    """One reading of the model.

    Attributes:
        access_pj: Energy of an access to a memory of so many words.
        merges_bias: Whether biases lie in the memory of the weights, as SpikingJelly has it.
        multiplies_inputs_again: Equation 2.4 as printed: a linear layer's spikes times
            ``N_in N_out``, and no reset. Both implementations drop the first.
        addresses_every_weight: ``N_in N_out`` additions to address an artificial linear
            layer, as qualia-plugin-snn has it, instead of ``N_in + N_out``.
    """

    access_pj: Callable[[int], float]
    merges_bias: bool = False
    multiplies_inputs_again: bool = False
    addresses_every_weight: bool = False

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample costs."""
        tally = _Tally(self.access_pj)
        last: Shape | None = None
        for layer in ledger.layers.values():
            last = layer.shape or last
            self._charge(layer, last, tally)
        return Bill(
            model=name,
            source=SOURCE,
            by_category={item: pj / ledger.samples for item, pj in tally.pj.items()},
            unpriced=(*_unpriced(ledger), *gaps(ledger)),
            assumptions=(
                "45 nm, 32-bit integers, on-chip memory of exactly the size needed",
                f"an access costs as in {getattr(self.access_pj, '__name__', 'a custom curve')}",
                "an analog layer is charged as an artificial one, each time that it ran",
                "integers and averaged spikes arrive a unit at a time, told by their accumulates",
                "borders and dilation are ignored: of such units a few at borders are missed",
            ),
        )

    def baseline_pj(
        self,
        ledger: Ledger,
        kind: Baseline,
        /,
        *,
        artificial: Ledger | None,  # noqa: ARG002  the model prices shapes, not activity
    ) -> float | None:
        """Return the artificial network's bill; the model has no sparse and no quantised one."""
        if kind != "dense":
            return None
        shapes = map(_shape, ledger.layers.values())
        return sum(_frame_pj(self, shape) for shape in shapes if shape is not None)

    def charge_frame(self, shape: Shape, tally: _Tally, /) -> None:
        """Charge an artificial layer for one frame."""
        self._charge_frames(shape, 1, tally)
        tally.access("outputs", shape.outputs, words=shape.outputs)

    def _charge(self, layer: Layer, last: Shape | None, tally: _Tally) -> None:
        shape = _shape(layer)
        if shape is not None and layer.operand == "analog":
            self._charge_frames(shape, layer.samples * layer.steps, tally)
        elif shape is not None:
            self._charge_events(layer, shape, tally)
        if layer.neurons:
            resets = not (self.multiplies_inputs_again and last is not None and not last.kernel)
            self._charge_neurons(layer, tally, resets=resets)

    def _charge_frames(self, shape: Shape, frames: int, tally: _Tally) -> None:
        """Charge an artificial layer, all but the writing of its outputs."""
        uses = frames * shape.outputs * shape.in_channels // shape.groups * math.prod(shape.kernel)
        inputs, outputs = frames * shape.inputs, frames * shape.outputs
        tally.operate("operations", macs=uses, adds=outputs if shape.bias else 0)
        if shape.kernel:
            taps = frames * shape.out_channels * math.prod(shape.kernel)
            tally.operate("addressing", adds=inputs + outputs + taps)
            tally.access("inputs", uses, words=shape.inputs)
        else:
            both = frames * shape.inputs * shape.outputs
            adds = both if self.addresses_every_weight else inputs + outputs
            tally.operate("addressing", adds=adds)
            tally.access("inputs", inputs, words=shape.inputs)
        self._read_parameters(shape, uses, outputs, tally)

    def _charge_events(self, layer: Layer, shape: Shape, tally: _Tally) -> None:
        out = shape.out_channels // shape.groups
        windows = zip(shape.kernel, shape.stride, strict=True)
        reached = out * math.prod(-(-kernel // stride) for kernel, stride in windows)
        spikes = _spikes(layer, reached)
        touched = spikes * out * math.prod(shape.kernel)
        outputs = layer.samples * layer.steps * shape.outputs
        again = shape.inputs if self.multiplies_inputs_again and not shape.kernel else 1
        adds = spikes * reached * again + (outputs if shape.bias else 0)
        tally.operate("operations", adds=adds)
        tally.operate("addressing", adds=touched, macs=2 * spikes if shape.kernel else 0)
        tally.access("inputs", spikes, words=FIFO_WORDS)
        self._read_parameters(shape, touched, outputs, tally)
        tally.access("potentials", 2 * touched, words=shape.outputs)

    def _read_parameters(self, shape: Shape, uses: float, outputs: int, tally: _Tally) -> None:
        biases = shape.out_channels if shape.bias else 0
        both = shape.weights + biases
        tally.access("weights", uses, words=both if self.merges_bias else shape.weights)
        if shape.bias:
            tally.access("biases", outputs, words=both if self.merges_bias else biases)

    @staticmethod
    def _charge_neurons(layer: Layer, tally: _Tally, *, resets: bool) -> None:
        spikes, updates = layer.total.spikes, layer.updates
        adds = spikes if resets else 0
        tally.operate("operations", adds=adds, macs=updates if layer.leaks else 0)
        tally.access("potentials", 2 * updates, words=layer.neurons)
        tally.access("outputs", spikes, words=FIFO_WORDS)


def _shape(layer: Layer) -> Shape | None:
    """Return the shape of a layer with weights; what a norm folded into it adds is its bias."""
    if layer.shape is None or not occurs(layer.total.bias_add):
        return layer.shape
    return replace(layer.shape, bias=True)


def _spikes(layer: Layer, reached: int) -> float:
    """Return the spikes that a layer reads, each of which reaches so many outputs."""
    values = layer.total.inputs_nonzero
    if layer.operand != "integer" and "explicit" not in layer.readings:
        return values
    units: float = np.maximum(values, layer.total.ac / reached)
    return units


@cache
def _frame_pj(model: Lemaire, shape: Shape) -> float:
    tally = _Tally(model.access_pj)
    model.charge_frame(shape, tally)
    return sum(tally.pj.values())


def _unpriced(ledger: Ledger) -> tuple[str, ...]:
    """Return what the model cannot price, a phrase each."""
    shapeless = [
        path
        for path, layer in ledger.layers.items()
        if layer.shape is None
        and any(map(occurs, (layer.total.ac, layer.total.mac, layer.total.dense_valid)))
    ]
    foreign = [item for item in _OUT_OF_SCOPE if occurs(ledger.mean(item))]
    return (
        *(f"layer {path!r}, whose shape the ledger does not have" for path in shapeless),
        *(f"{item}: the model knows linear, convolution and neuron layers" for item in foreign),
    )


MODELS: Mapping[str, Lemaire] = {
    "piecewise": Lemaire(access_pj=piecewise_pj),
    "bus64": Lemaire(access_pj=bus64_pj),
    "regression": Lemaire(access_pj=regression_pj),
    "piecewise_merged_bias": Lemaire(access_pj=piecewise_pj, merges_bias=True),
    "piecewise_as_printed": Lemaire(access_pj=piecewise_pj, multiplies_inputs_again=True),
    "piecewise_every_address": Lemaire(access_pj=piecewise_pj, addresses_every_weight=True),
}
