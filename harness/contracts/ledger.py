"""What a metered run leaves: exact integer counts, by layer, sample and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from harness.contracts.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

OperandClass = Literal["silent", "binary", "ternary", "scaled", "integer", "analog"]
Operation = Literal["ac", "mac"]
Category = Literal[
    "ac",
    "mac",
    "and_ac",
    "bias_add",
    "residual_add",
    "pool_add",
    "compare",
    "function",
    "neuron_add",
    "neuron_mul",
    "reset",
    "spikes",
    "inputs_nonzero",
    "gated",
    "dense_valid",
    "dense_padded",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Tally = Mapping[Category, "NDArray[np.int64]"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Which operation an operand class costs, for every layer of a run.

    ``ac`` adds a weight once a spike and, for ``integer``, once a unit of the value;
    ``mac`` multiplies once a value that is not zero. The constant of ``scaled``
    spikes is folded into the weights.
    """

    silent: Operation = "ac"
    binary: Operation = "ac"
    ternary: Operation = "ac"
    scaled: Operation = "ac"
    integer: Operation = "ac"
    analog: Operation = "mac"

    def __post_init__(self) -> None:
        for operand in get_args(OperandClass):
            if (choice := getattr(self, operand)) not in get_args(Operation):
                raise SpecError(f"Policy.{operand} must be ac or mac, got {choice!r}")
        if self.analog == "ac":
            raise SpecError("Policy.analog must be mac: an analog value cannot be accumulated")

    def operation(self, operand: OperandClass, /) -> Operation:
        """Return what a value of class ``operand`` costs."""
        choice: Operation = getattr(self, operand)
        return choice


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Operations over all samples and steps that ran. Exact.

    Attributes:
        ac: Weights accumulated because a spike arrived.
        mac: Weights multiplied by a value that is not zero, and accumulated.
        and_ac: Pairs of spikes that meet in a product of two spike tensors.
        bias_add: Biases added, once a step and output.
        residual_add: Elements of sums of two activations.
        pool_add: Values that are not zero, added up in a mean or a sum.
        compare: Comparisons with a threshold (neurons, ReLU) or a neighbour (max pooling).
        function: Values of exp, tanh, sqrt, quotients of activations and the like.
        neuron_add: Additions inside neurons, from their ``NeuronSpec``.
        neuron_mul: Multiplications inside neurons, likewise; and one an event that reaches
            neurons which spike once, in the layer whose weights they are.
        reset: Membranes reset, once a spike.
        spikes: Spikes that neurons emitted.
        inputs_nonzero: Values that are not zero, entering layers with weights.
        gated: Of products of two activations: left values that are not zero, times columns.
        dense_valid: Products with every input there is, borders excluded.
        dense_padded: Likewise with the zeros around the borders; the literature's "FLOPs".
        partial: Whether something could not be counted, so each figure is a lower bound.
    """

    ac: int = 0
    mac: int = 0
    and_ac: int = 0
    bias_add: int = 0
    residual_add: int = 0
    pool_add: int = 0
    compare: int = 0
    function: int = 0
    neuron_add: int = 0
    neuron_mul: int = 0
    reset: int = 0
    spikes: int = 0
    inputs_nonzero: int = 0
    gated: int = 0
    dense_valid: int = 0
    dense_padded: int = 0
    partial: bool = False

    def __add__(self, other: Counts) -> Counts:
        """Return both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in CATEGORIES}
        return Counts(**sums, partial=self.partial or other.partial)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """The two conventions for what stands before the first neuron.

    Attributes:
        per_step: As if it ran anew in every step.
        cached: As if steps with the same input were computed once.
    """

    per_step: Counts
    cached: Counts


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a layer with weights, for models that price its memory.

    Attributes:
        in_channels: Channels of a convolution, features of a linear layer.
        out_channels: Likewise, of the output.
        kernel: Along each dimension of space; empty for a linear layer.
        stride: Likewise.
        input_size: Likewise, of the input.
        output_size: Likewise, of the output.
        groups: Of a grouped convolution.
        bias: Whether it has one of its own.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    input_size: tuple[int, ...] = ()
    output_size: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Layer(Counts):
    """One layer's share.

    Attributes:
        name: Module path, or the path of the weight's owner.
        kind: convolution, linear, product, neuron, pool, norm, ...
        operand: Class of the input over the whole run; of a neuron, of its spikes; None
            where nothing depends on it.
        steps: Steps it ran for; 1 if it ran once for all.
        neurons: Neurons a sample; 0 if it is not a neuron layer.
        tally: Each category that occurs, ``[samples, steps]``.
        encoding: Both conventions, if it stands before the first neuron; else as run.
        explicit: As if average pooling were not composed with the layer after it.
        folded: Whether it is a normalisation absorbed by the layer before it.
        shape: Of a layer with weights.
    """

    name: str
    kind: str
    operand: OperandClass | None
    steps: int
    neurons: int = 0
    tally: Tally = field(default_factory=dict, repr=False)
    encoding: Encoding
    explicit: Counts
    folded: bool = False
    shape: Shape | None = None

    def per_sample(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category that occurs, ``[samples]``."""
        return {category: table.sum(axis=1) for category, table in self.tally.items()}

    def per_step(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category that occurs, ``[steps]``."""
        return {category: table.sum(axis=0) for category, table in self.tally.items()}

    def rate(self) -> float:
        """Return spikes a neuron and step, over the samples that ran."""
        if not self.neurons:
            raise SpecError(f"layer {self.name!r} is a {self.kind} and has no firing rate")
        return self.spikes / (self.neurons * self.steps * len(self.tally["spikes"]))


@dataclass(frozen=True, kw_only=True)
class Uncounted:
    """An operation that the meter saw and could not count.

    Attributes:
        layer: Path of the module it happened in.
        operation: Its name in torch.
        calls: How often.
        remedy: What to do.
    """

    layer: str
    operation: str
    calls: int
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a metered run cost.

    Attributes:
        layers: By name, in the order they first ran.
        samples: How many ran.
        steps: Steps a sample, as its neurons saw them; 1 without neurons.
        policy: Which operation each operand class was charged.
        coverage: Share of the arithmetic operator calls that are counted.
        uncounted: The others; empty unless a partial result was allowed.
    """

    layers: Mapping[str, Layer]
    samples: int
    steps: int
    policy: Policy = field(default_factory=Policy)
    coverage: float = 1.0
    uncounted: tuple[Uncounted, ...] = ()

    @property
    def total(self) -> Counts:
        """All layers together, as run."""
        return self._sum(list(self.layers.values()))

    @property
    def encoding(self) -> Encoding:
        """All layers together, under both conventions for the first layers."""
        layers = self.layers.values()
        return Encoding(
            per_step=self._sum([layer.encoding.per_step for layer in layers]),
            cached=self._sum([layer.encoding.cached for layer in layers]),
        )

    @property
    def explicit(self) -> Counts:
        """All layers together, with average pooling computed by itself."""
        return self._sum([layer.explicit for layer in self.layers.values()])

    def tally(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category, ``[samples, steps]``; what ran once stands at step 0."""
        tables = {
            category: np.zeros((self.samples, self.steps), np.int64) for category in CATEGORIES
        }
        for layer in self.layers.values():
            for category, table in layer.tally.items():
                tables[category][:, : table.shape[1]] += table
        return tables

    def per_sample(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category over all layers, ``[samples]``."""
        return {category: table.sum(axis=1) for category, table in self.tally().items()}

    def per_step(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category over all layers, ``[steps]``."""
        return {category: table.sum(axis=0) for category, table in self.tally().items()}

    def to_frame(self) -> pd.DataFrame:
        """Return one row a layer, with a column each category."""
        import pandas as pd

        columns = [entry.name for entry in fields(Counts)]
        rows = [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "operand": layer.operand,
                "steps": layer.steps,
                "neurons": layer.neurons,
                **{column: getattr(layer, column) for column in columns},
            }
            for layer in self.layers.values()
        ]
        described = ["layer", "kind", "operand", "steps", "neurons"]
        return pd.DataFrame(rows, columns=described + columns).set_index("layer")

    def _sum(self, parts: list[Counts] | list[Layer]) -> Counts:
        total = Counts(partial=bool(self.uncounted))
        for part in parts:
            total = total + part
        return total
