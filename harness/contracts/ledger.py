"""What a metered run leaves: exact integer counts, by layer, sample and step.

There is one form of it. From the meter it tells samples apart; ``summed`` adds them up,
which is what rows keep, as plain JSON, and all that energy models read.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, ItemsView, Iterator, Mapping, ValuesView
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, get_args

import numpy as np
from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

from harness.contracts.errors import SpecError
from harness.contracts.values import in_words, value

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

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
Encode = Literal["per_step", "cached"]
Reading = Literal["per_step", "cached", "explicit"]
_READINGS: tuple[Reading, ...] = get_args(Reading)
Axes = tuple[PositiveInt, ...]
Tables = Mapping[Category, "NDArray[np.int64]"]  # [samples, steps]; what is absent is 0
Sums = Mapping[Reading | None, Mapping[str, int]]


@value
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
    analog: Literal["mac"] = "mac"  # nothing adds up to an analog value

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


@value
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

    in_channels: PositiveInt
    out_channels: PositiveInt
    kernel: Axes = ()
    stride: Axes = ()
    input_size: Axes = ()
    output_size: Axes = ()
    groups: PositiveInt = 1
    bias: bool = False

    def __post_init__(self) -> None:
        for name in ("stride", "input_size", "output_size"):
            if len(axes := getattr(self, name)) != len(self.kernel):
                raise SpecError(f"Shape.{name} must have {len(self.kernel)} axes, got {axes!r}")

    @cached_property
    def inputs(self) -> int:
        """Numbers that enter for one sample and step."""
        return self.in_channels * math.prod(self.input_size)

    @cached_property
    def outputs(self) -> int:
        """Numbers that leave for one sample and step."""
        return self.out_channels * math.prod(self.output_size)

    @cached_property
    def weights(self) -> int:
        """Weights that are stored."""
        return self.out_channels * self.in_channels // self.groups * math.prod(self.kernel)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer's share.

    Attributes:
        name: Module path, or the path of the weight's owner.
        kind: convolution, linear, product, neuron, pool, norm, ...
        operand: Class of the input over the whole run; of a neuron, of its spikes; None
            where nothing depends on it.
        samples: How many ran.
        steps: Steps it ran for; 1 if it ran once for all.
        neurons: Neurons a sample; 0 if it is not a neuron layer.
        tally: Each category that occurs, ``[samples, steps]``, or ``[1, steps]`` if summed.
        readings: What differs from that. ``per_step`` is as if it ran anew in every step of
            the network, ``cached`` as if steps with the same input were computed once, both
            over all steps of the network; ``explicit`` is as if average pooling were not
            composed with the layer after it.
        folded: Whether it is a normalisation absorbed by the layer before it.
        shape: Of a layer with weights.
        partial: Whether something could not be counted, so each figure is a lower bound.
    """

    name: str
    kind: str
    operand: OperandClass | None
    samples: int
    steps: int
    neurons: int = 0
    tally: Tables = field(default_factory=dict, repr=False)
    readings: Mapping[Reading, Tables] = field(default_factory=dict, repr=False)
    folded: bool = False
    shape: Shape | None = None
    partial: bool = False

    def __post_init__(self) -> None:
        _refuse_unclassed(self.name, self.operand, self.shape)

    @cached_property
    def total(self) -> Counts:
        """As run."""
        return Counts(**self.sums(), partial=self.partial)

    @cached_property
    def encoding(self) -> Encoding:
        """Both conventions, if it stands before the first neuron; else as run."""
        return Encoding(
            per_step=Counts(**self.sums("per_step"), partial=self.partial),
            cached=Counts(**self.sums("cached"), partial=self.partial),
        )

    @cached_property
    def explicit(self) -> Counts:
        """As if average pooling were not composed with the layer after it."""
        return Counts(**self.sums("explicit"), partial=self.partial)

    @property
    def leaks(self) -> bool:
        """Whether its membranes decay, the one product that a neuron's step may need."""
        return bool(self.neurons and self.sums().get("neuron_mul"))

    def tables(self, reading: Reading | None = None, /) -> Tables:
        """Return the tables of a reading; None is as run."""
        return self.tally if reading is None else self.readings.get(reading, self.tally)

    def sums(self, reading: Reading | None = None, /) -> Mapping[str, int]:
        """Return the sum of each category that occurs."""
        return self.every_sum[reading if reading in self.readings else None]

    def per_sample(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category that occurs, ``[samples]``.

        Raises:
            SpecError: If samples were summed.
        """
        _refuse_summed(self)
        return {category: table.sum(axis=1) for category, table in self.tally.items()}

    def per_step(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category that occurs, ``[steps]``."""
        return {category: table.sum(axis=0) for category, table in self.tally.items()}

    @property
    def updates(self) -> int:
        """Steps of its neurons that ran: fewer than all where some samples found them known."""
        return self.sums().get("compare") or self.neurons * self.steps * self.samples

    def rate(self) -> float:
        """Return spikes a neuron and step, of those that ran."""
        if not self.neurons:
            raise SpecError(f"layer {self.name!r} is a {self.kind} and has no firing rate")
        return self.total.spikes / self.updates

    @property
    def is_summed(self) -> bool:
        """Whether samples are no longer told apart."""
        tables = next((tables for tables in (self.tally, *self.readings.values()) if tables), {})
        return self.samples > 1 and any(len(table) == 1 for table in tables.values())

    def summed(self) -> Layer:
        """Return it with all samples in one row, and without what did not occur."""
        return replace(
            self,
            tally=_summed(self.tally),
            readings={reading: _summed(tables) for reading, tables in self.readings.items()},
        )

    @cached_property
    def every_sum(self) -> Sums:
        """Likewise, by reading."""
        every = ((None, self.tally), *self.readings.items())
        return {reading: _sums_of(tables) for reading, tables in every}


_BUT_COUNTS = attrgetter(
    "name", "kind", "operand", "steps", "neurons", "folded", "shape", "partial"
)


@value
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
    calls: PositiveInt
    remedy: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Ledger:
    """What a metered run cost. A pydantic model may have it as a field.

    Attributes:
        layers: By name, in the order they first ran.
        samples: How many ran.
        steps: Steps a sample, as its neurons saw them; 1 without neurons.
        policy: Which operation each operand class was charged.
        coverage: Share of the arithmetic operator calls that are counted.
        uncounted: The others; empty unless a partial result was allowed.
        not_counted: Categories that nobody counted, which is not 0. The meter counts all.
    """

    layers: Mapping[str, Layer]
    samples: int
    steps: int
    policy: Policy = field(default_factory=Policy)
    coverage: float = 1.0
    uncounted: tuple[Uncounted, ...] = ()
    not_counted: tuple[Category, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.layers, _ToldLayers):
            self.layers.refuse_misshapen(self.samples, self.steps)
            return
        for name, layer in self.layers.items():
            _refuse_longer((name, layer.steps, layer.samples), (self.steps, self.samples))
            _refuse_misshapen(layer, self.steps)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ledger):
            return NotImplemented
        mine, theirs = ({**each.to_plain(), "order": None} for each in (self, other))
        if self.is_summed != other.is_summed or mine != theirs:
            return False
        return (
            self.samples == 1
            or self.is_summed
            or all(
                _agree(mine.tables(reading), other.layers[name].tables(reading))
                for name, mine in self.layers.items()
                for reading in (None, *mine.readings)
            )
        )

    def __hash__(self) -> int:
        return hash((self.samples, self.steps, tuple(self.layers), self.total))

    @cached_property
    def total(self) -> Counts:
        """All layers together, as run."""
        return self._counts(None)

    @cached_property
    def encoding(self) -> Encoding:
        """All layers together, under both conventions for the first layers."""
        return Encoding(per_step=self._counts("per_step"), cached=self._counts("cached"))

    @cached_property
    def explicit(self) -> Counts:
        """All layers together, with average pooling computed by itself."""
        return self._counts("explicit")

    @property
    def is_summed(self) -> bool:
        """Whether samples are no longer told apart."""
        return any(layer.is_summed for layer in self.layers.values())

    @property
    def spikes_per_sample(self) -> float:
        """Spikes of all neurons."""
        return self.total.spikes / self.samples

    @property
    def firing_rate(self) -> float | None:
        """Spikes a neuron and step, of those that ran; None without neurons."""
        updates = [layer.updates for layer in self.layers.values() if layer.neurons]
        return self.total.spikes / sum(updates) if updates else None

    @property
    def macs_per_sample(self) -> float:
        """Multiply-accumulates, as run."""
        return self.total.mac / self.samples

    @property
    def acs_per_sample(self) -> float:
        """Accumulates, as run."""
        return self.total.ac / self.samples

    @property
    def and_acs_per_sample(self) -> float:
        """Products of two spikes, as run."""
        return self.total.and_ac / self.samples

    @cached_property
    def dense_macs(self) -> float | None:
        """The artificial network's multiply-accumulates for one frame, borders apart."""
        if not self.layers or "dense_valid" in self.not_counted:
            return None
        layers = self.layers.values()
        frames = (layer.sums().get("dense_valid", 0) / layer.steps for layer in layers)
        return sum(frames) / self.samples

    def described(self) -> Iterator[tuple[Hashable, Sums]]:
        """Yield of each layer all but its counts, and by reading the sums that are not 0.

        Of a ledger from JSON no layer is made for that.
        """
        if isinstance(self.layers, _ToldLayers):
            yield from self.layers.described()
            return
        for layer in self.layers.values():
            yield (
                _BUT_COUNTS(layer),
                {
                    reading: {category: count for category, count in sums.items() if count}
                    for reading, sums in layer.every_sum.items()
                },
            )

    def mean(self, category: str, /, *, encode: Encode = "per_step") -> float | None:
        """Return a sample's share of a category; None if nobody counted it."""
        if not self.layers or category in self.not_counted:
            return None
        return self._sums[encode][category] / self.samples

    def tally(self, reading: Reading | None = None, /) -> dict[Category, NDArray[np.int64]]:
        """Return each category, ``[samples, steps]``; what ran once stands at step 0.

        Args:
            reading: A convention for encoding, or averages by themselves; None is as run.

        Raises:
            SpecError: If samples were summed.
        """
        _refuse_summed(self)
        return self._tally(reading)

    def per_sample(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category over all layers, ``[samples]``.

        Raises:
            SpecError: If samples were summed.
        """
        return {category: table.sum(axis=1) for category, table in self.tally().items()}

    def per_step(self) -> dict[Category, NDArray[np.int64]]:
        """Return each category over all layers, ``[steps]``."""
        return {category: table.sum(axis=0) for category, table in self._tally(None).items()}

    def to_frame(self) -> pd.DataFrame:
        """Return one row a layer, with a column each category."""
        import pandas as pd

        described = ["kind", "operand", "steps", "neurons"]
        columns = [entry.name for entry in fields(Counts)]
        rows = [
            {name: getattr(layer, name) for name in described} | vars(layer.total)
            for layer in self.layers.values()
        ]
        index = pd.Index(list(self.layers), name="layer")
        return pd.DataFrame(rows, columns=described + columns, index=index)

    def summed(self) -> Ledger:
        """Return it with all samples in one row; how many they were is kept."""
        return replace(self, layers={name: each.summed() for name, each in self.layers.items()})

    def to_plain(self) -> dict[str, Any]:
        """Return it summed, as JSON has it: integers by layer, category and step.

        What is 0, a default, or as run is left out; ``docs/metering.md`` has the format.
        """
        plain: dict[str, Any] = {"samples": self.samples, "steps": self.steps}
        plain["layers"] = {name: _plain_layer(layer) for name, layer in self.layers.items()}
        if (order := [*self.layers]) != sorted(order):  # files have their keys sorted
            plain["order"] = order
        if policy := _told(self.policy):
            plain["policy"] = policy
        if self.coverage != 1:
            plain["coverage"] = self.coverage
        if self.uncounted:
            plain["uncounted"] = [_told(gap) for gap in self.uncounted]
        if self.not_counted:
            plain["not_counted"] = list(self.not_counted)
        return plain

    @staticmethod
    def from_plain(plain: Mapping[str, Any], /) -> Ledger:
        """Return the ledger that ``to_plain`` told.

        Raises:
            SpecError: Names what is missing, unknown or wrong, and the layer.
        """
        try:
            return _LEDGER.validate_json(json.dumps(plain))
        except ValidationError as error:
            raise SpecError(in_words("Ledger", error)) from None

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return how pydantic reads and writes a field of this type."""
        from pydantic_core import core_schema

        return core_schema.json_or_python_schema(
            core_schema.no_info_after_validator_function(
                _ledger, handler.generate_schema(_PlainLedger)
            ),
            core_schema.is_instance_schema(Ledger),
            serialization=core_schema.plain_serializer_function_ser_schema(Ledger.to_plain),
        )

    def _tally(self, reading: Reading | None) -> dict[Category, NDArray[np.int64]]:
        rows = 1 if self.is_summed else self.samples
        tables = {category: np.zeros((rows, self.steps), np.int64) for category in CATEGORIES}
        for layer in self.layers.values():
            for category, table in layer.tables(reading).items():
                tables[category][:, : table.shape[1]] += table
        return tables

    def _counts(self, reading: Reading | None) -> Counts:
        return Counts(**self._sums[reading], partial=bool(self.uncounted))

    @cached_property
    def _sums(self) -> Mapping[Reading | None, Mapping[str, int]]:
        found: dict[Reading | None, Counter[str]] = {
            reading: Counter(dict.fromkeys(CATEGORIES, 0)) for reading in (None, *get_args(Reading))
        }
        for reading, counts in found.items():
            for layer in self.layers.values():
                for category, count in layer.sums(reading).items():  # faster than an update
                    counts[category] += count
        return found


Numbers = dict[Category, list[Annotated[int, Field(ge=0, lt=2**63)]]]  # by step
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@with_config(_STRICT)
class _PlainLayer(TypedDict):
    """A layer as JSON has it."""

    kind: str
    operand: OperandClass | None
    steps: PositiveInt
    counts: Numbers
    neurons: NotRequired[NonNegativeInt]
    folded: NotRequired[bool]
    shape: NotRequired[Shape]
    per_step: NotRequired[Numbers]
    cached: NotRequired[Numbers]
    explicit: NotRequired[Numbers]


@with_config(_STRICT)
class _PlainLedger(TypedDict):
    """A ledger as JSON has it."""

    samples: PositiveInt
    steps: PositiveInt
    layers: dict[str, _PlainLayer]
    order: NotRequired[tuple[str, ...]]
    policy: NotRequired[Policy]
    coverage: NotRequired[Annotated[float, Field(ge=0, le=1)]]
    uncounted: NotRequired[tuple[Uncounted, ...]]
    not_counted: NotRequired[tuple[Category, ...]]


class _Told(Mapping[Category, "NDArray[np.int64]"]):
    """Tables as JSON has them, ``[1, steps]``: most are only added up, and none is an array yet."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers

    def __getitem__(self, category: Category) -> NDArray[np.int64]:
        return np.array([self.numbers[category]], np.int64)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


_TOLD: tuple[tuple[Reading | None, str], ...] = (
    (None, "counts"),
    *((reading, reading) for reading in _READINGS),
)


class _ToldLayers(Mapping[str, Layer]):
    """Layers as JSON has them: they are made when one is asked for, and then kept."""

    def __init__(self, plain: dict[str, dict[str, Any]], samples: int, *, partial: bool) -> None:
        self.plain, self.samples, self.partial = plain, samples, partial

    @cached_property
    def made(self) -> dict[str, Layer]:
        return {
            name: _layer(name, layer, self.samples, partial=self.partial)
            for name, layer in self.plain.items()
        }

    def __getitem__(self, name: str) -> Layer:
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.plain)

    def __len__(self) -> int:
        return len(self.plain)

    # Those of Mapping ask for one key after the other.
    def values(self) -> ValuesView[Layer]:
        return self.made.values()

    def items(self) -> ItemsView[str, Layer]:
        return self.made.items()

    def described(self) -> Iterator[tuple[Hashable, Sums]]:
        """Yield what making the layers would give, and make none."""
        for name, told in self.plain.items():
            kept = told["kind"], told["operand"], told["steps"], told.get("neurons", 0)
            rest = told.get("folded", False), told.get("shape"), self.partial
            yield (
                (name, *kept, *rest),
                {
                    reading: {c: count for c, steps in told[key].items() if (count := sum(steps))}
                    for reading, key in _TOLD
                    if key in told
                },
            )

    def refuse_misshapen(self, samples: int, steps: int) -> None:
        """Refuse now what making them would refuse later."""
        for name, layer in self.plain.items():
            _refuse_longer((name, layer["steps"], self.samples), (steps, samples))
            _refuse_unclassed(name, layer["operand"], layer.get("shape"))
            for reading, length in _lengths(layer["steps"], steps):
                told = layer.get(reading or "counts")
                if told and {*map(len, told.values())} != {length}:
                    wrong = next(each for each, row in told.items() if len(row) != length)
                    raise _misshapen(name, wrong, samples, length, [1, len(told[wrong])])


def _ledger(plain: dict[str, Any]) -> Ledger:
    partial = bool(plain.get("uncounted"))
    told, order = plain["layers"], plain.pop("order", None)
    if order is not None:
        if sorted(order) != sorted(told):
            raise SpecError(f"Ledger.order must name every layer once, got {[*order]}")
        told = {name: told[name] for name in order}
    layers = _ToldLayers(told, plain["samples"], partial=partial)
    return Ledger(**plain | {"layers": layers})


def _layer(name: str, plain: dict[str, Any], samples: int, *, partial: bool) -> Layer:
    readings = {reading: _Told(plain[reading]) for reading in _READINGS if reading in plain}
    rest = {key: part for key, part in plain.items() if key not in ("counts", *readings)}
    return Layer(
        name=name,
        samples=samples,
        tally=_Told(plain["counts"]),
        readings=readings,
        partial=partial,
        **rest,
    )


_LEDGER = TypeAdapter(Ledger)


def _sums_of(tables: Tables) -> Mapping[str, int]:
    if isinstance(tables, _Told):
        return {category: sum(steps) for category, steps in tables.numbers.items()}
    return {category: int(table.sum()) for category, table in tables.items()}


def _summed(tables: Tables) -> Tables:
    sums = {category: table.sum(axis=0, keepdims=True) for category, table in tables.items()}
    return {category: table for category, table in sums.items() if table.any()}


def _agree(mine: Tables, theirs: Tables) -> bool:
    """Return whether two tables of the same sums tell samples apart alike."""
    return all(
        np.array_equal(table, theirs[category]) for category, table in mine.items() if table.any()
    )


def _told(part: Shape | Policy | Uncounted) -> dict[str, Any]:
    """Return the fields that are no defaults."""
    kind: Any = type(part)
    told: dict[str, Any] = kind.__pydantic_serializer__.to_python(
        part, mode="json", exclude_defaults=True
    )
    return told


def _plain_layer(layer: Layer) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "kind": layer.kind,
        "operand": layer.operand,
        "steps": layer.steps,
        "counts": _plain_tables(layer.tally),
    }
    if layer.neurons:
        plain["neurons"] = layer.neurons
    if layer.folded:
        plain["folded"] = True
    if layer.shape is not None:
        plain["shape"] = _told(layer.shape)
    for reading, tables in layer.readings.items():
        plain[reading] = _plain_tables(tables)
    return plain


def _plain_tables(tables: Tables) -> dict[Category, list[int]]:
    if isinstance(tables, _Told):
        return {category: [*steps] for category, steps in tables.numbers.items() if any(steps)}
    return {category: table[0].tolist() for category, table in _summed(tables).items()}


def _lengths(layer_steps: int, steps: int) -> tuple[tuple[Reading | None, int], ...]:
    """Return how many steps a table of each reading has; None is as run."""
    return (
        (None, layer_steps),
        ("explicit", layer_steps),
        ("per_step", steps),
        ("cached", steps),
    )


def _refuse_longer(layer: tuple[str, int, int], network: tuple[int, int]) -> None:
    name, *ran = layer
    if ran[1] != network[1] or ran[0] > network[0]:
        raise SpecError(
            f"layer {name!r} ran {ran[0]} steps of {ran[1]} samples, "
            f"and the network {network[0]} of {network[1]}"
        )


def _refuse_unclassed(name: str, operand: OperandClass | None, shape: Shape | None) -> None:
    if operand is None and shape is not None:
        raise SpecError(f"layer {name!r} has weights, and no class of operand")


def _refuse_misshapen(layer: Layer, steps: int) -> None:
    for reading, length in _lengths(layer.steps, steps):
        tables = layer.tally if reading is None else layer.readings.get(reading, {})
        for category, table in tables.items():
            if table.shape not in ((1, length), (layer.samples, length)):
                raise _misshapen(layer.name, category, layer.samples, length, [*table.shape])


def _misshapen(
    name: str, category: Category, samples: int, length: int, found: list[int]
) -> SpecError:
    return SpecError(
        f"layer {name!r}: {category} must be [{samples}, {length}], "
        f"or one row for all samples, got {found}"
    )


def _refuse_summed(counted: Layer | Ledger) -> None:
    if counted.is_summed:
        raise SpecError(
            f"samples were summed, all {counted.samples} of them; ask the ledger that measure "
            "returned, before summed() or a row"
        )
