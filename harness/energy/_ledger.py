"""What a meter counted, as an energy model reads it: plain integers, no tensors."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from harness.contracts.errors import SpecError
from harness.contracts.ledger import CATEGORIES, Counts, Measurement, OperandClass

Encode = Literal["per_step", "cached"]


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """The shape of a linear or convolution layer, for models that price memory.

    Attributes:
        in_channels: Inputs of a linear layer, channels of a convolution.
        out_channels: Outputs or output channels.
        kernel: Along each axis of space; empty for a linear layer.
        stride: Likewise.
        input_size: Likewise, of the input map.
        output_size: Likewise, of the output map.
        groups: Of a grouped convolution.
        bias: Whether there is one.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    input_size: tuple[int, ...] = ()
    output_size: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "input_size", "output_size"):
            axes = tuple(getattr(self, name))
            object.__setattr__(self, name, axes)
            if len(axes) != len(self.kernel):
                raise SpecError(f"Synapses.{name} must have {len(self.kernel)} axes, got {axes!r}")
        numbers = (self.in_channels, self.out_channels, self.groups)
        axes = (*self.kernel, *self.stride, *self.input_size, *self.output_size)
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in (*numbers, *axes)):
            raise SpecError(f"sizes of synapses must be positive integers, got {self!r}")

    @property
    def inputs(self) -> int:
        """Numbers that enter for one sample and step."""
        return self.in_channels * math.prod(self.input_size)

    @property
    def outputs(self) -> int:
        """Numbers that leave for one sample and step."""
        return self.out_channels * math.prod(self.output_size)

    @property
    def weights(self) -> int:
        """Weights that are stored."""
        return self.out_channels * self.in_channels // self.groups * math.prod(self.kernel)


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """The size of a layer of neurons.

    Attributes:
        units: Neurons a sample.
        leak: Whether the membrane decays, which costs a multiplication a step.
    """

    units: int
    leak: bool

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int) or self.units < 1:
            raise SpecError(f"Neurons.units must be a positive integer, got {self.units!r}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One layer's totals over all samples and all steps that it ran.

    Attributes:
        counts: By category. A category that is absent was not counted, which is not 0.
        operand: Class of the input over the whole run; None where nothing depends on it.
        steps: How often the layer ran for each sample; 1 where the encoding ran once.
        per_step: The counts as if it ran anew in every step, where they differ.
        cached: The counts as if equal inputs were computed once, where they differ.
        synapses: Its shape, if it is linear or a convolution and the meter knows it.
        neurons: Its size, if it is a layer of neurons.
    """

    counts: Mapping[str, int]
    operand: OperandClass | None
    steps: int
    per_step: Mapping[str, int] = field(default_factory=dict)
    cached: Mapping[str, int] = field(default_factory=dict)
    synapses: Synapses | None = None
    neurons: Neurons | None = None

    def __post_init__(self) -> None:
        for counts in (self.counts, self.per_step, self.cached):
            _refuse_bad(counts)
        known = (None, *get_args(OperandClass))
        if self.operand not in known or (self.operand is None and self.synapses is not None):
            raise SpecError(
                f"operand must be one of {', '.join(get_args(OperandClass))}, got {self.operand!r}"
            )
        if self.steps < 1:
            raise SpecError(f"steps must be at least 1, got {self.steps!r}")

    def count(self, category: str, *, encode: Encode) -> int:
        """Return one count under a convention for constant inputs."""
        special = self.per_step if encode == "per_step" else self.cached
        return special.get(category, self.counts.get(category, 0))


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The exact counts of one run.

    Attributes:
        samples: How many ran.
        timesteps: T of the network.
        layers: By module path.
        uncounted: Arithmetic that the meter saw and could not count, a phrase each.
    """

    samples: int
    timesteps: int
    layers: Mapping[str, Entry] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("samples", "timesteps"):
            if not getattr(self, name) >= 1:
                raise SpecError(f"Ledger.{name} must be at least 1, got {getattr(self, name)!r}")

    @staticmethod
    def from_mapping(summary: Mapping[str, Any], /) -> Ledger:
        """Return the ledger of a plain summary.

        ``{"samples", "timesteps", "layers": {path: {"steps", category: int, ...,
        "operand"?, "per_step"?: {category: int}, "cached"?: {...}, "synapses"?: {...},
        "neurons"?: {...}}}, "uncounted"?: [phrase]}``

        Raises:
            SpecError: Names what is missing or wrong, and the layer.
        """
        _require(summary, ("samples", "timesteps", "layers"), "a ledger summary")
        return Ledger(
            samples=summary["samples"],
            timesteps=summary["timesteps"],
            layers={path: _entry(path, item) for path, item in summary["layers"].items()},
            uncounted=tuple(summary.get("uncounted", ())),
        )

    @staticmethod
    def from_measurement(
        measured: Measurement, /, *, synapses: Mapping[str, Synapses] | None = None
    ) -> Ledger:
        """Return the ledger of a metered run; ``synapses`` by layer, for models of memory."""
        shapes = synapses or {}
        return Ledger(
            samples=measured.samples,
            timesteps=measured.steps,
            layers={
                name: Entry(
                    counts=_of(layer),
                    operand=layer.operand,
                    steps=layer.steps,
                    per_step=_of(layer.encoding.per_step),
                    cached=_of(layer.encoding.cached),
                    synapses=shapes.get(name),
                    # A decay is the one multiplication that a neuron's step needs.
                    neurons=Neurons(units=layer.neurons, leak=layer.neuron_mul > 0)
                    if layer.neurons
                    else None,
                )
                for name, layer in measured.layers.items()
            },
            uncounted=tuple(f"{gap.operation} in {gap.layer}" for gap in measured.uncounted),
        )

    def total(self, category: str, *, encode: Encode = "per_step") -> int | None:
        """Return the total over samples, steps and layers; None if no layer counted it."""
        if not any(category in entry.counts for entry in self.layers.values()):
            return None
        return sum(entry.count(category, encode=encode) for entry in self.layers.values())

    def per_sample(self, category: str, *, encode: Encode = "per_step") -> float | None:
        """Return the total divided by the samples; None if no layer counted it."""
        total = self.total(category, encode=encode)
        return None if total is None else total / self.samples

    def dense_macs(self) -> float | None:
        """Return the artificial network's multiply-accumulates for one frame, borders apart."""
        dense = [
            entry.counts["dense_valid"] / entry.steps
            for entry in self.layers.values()
            if "dense_valid" in entry.counts
        ]
        return sum(dense) / self.samples if dense else None


def twin_bits(timesteps: int) -> int:
    """Return the bits of the quantised network that ``timesteps`` of spikes equal.

    0 to T spikes are T + 1 levels: ``ceil(log2(T + 1))``, Yan et al. 2024, exact for
    integrate-and-fire with reset by subtraction and a current in [0, threshold).
    """
    return timesteps.bit_length()


def _of(counts: Counts) -> dict[str, int]:
    return {category: getattr(counts, category) for category in CATEGORIES}


def _entry(path: str, item: Mapping[str, Any]) -> Entry:
    _require(item, ("steps",), f"layer {path!r}")
    described = {"operand", "steps", "per_step", "cached", "synapses", "neurons"}
    synapses, neurons = item.get("synapses"), item.get("neurons")
    try:
        return Entry(
            counts={name: count for name, count in item.items() if name not in described},
            operand=item.get("operand"),
            steps=item["steps"],
            per_step=item.get("per_step", {}),
            cached=item.get("cached", {}),
            synapses=None if synapses is None else Synapses(**synapses),
            neurons=None if neurons is None else Neurons(**neurons),
        )
    except (SpecError, TypeError) as error:
        raise SpecError(f"layer {path!r}: {error}") from error


def _refuse_bad(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if name not in CATEGORIES:
            near = difflib.get_close_matches(name, CATEGORIES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(CATEGORIES)}"
            raise SpecError(f"no category {name!r} in a ledger; {hint}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise SpecError(f"count of {name} must be an integer of 0 or more, got {count!r}")


def _require(mapping: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    if missing := [name for name in names if name not in mapping]:
        raise SpecError(f"{what} lacks {', '.join(missing)}; it has: {', '.join(mapping)}")
