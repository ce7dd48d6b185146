"""Counts on their way to a ledger: calls, joined into layers, batch by batch."""

from collections import Counter, deque
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.errors import CountingError
from harness.contracts.ledger import (
    CATEGORIES,
    Category,
    Layer,
    OperandClass,
    Policy,
    Reading,
    Shape,
    Tables,
)
from harness.meter.operands import SPIKES, Operand

# Of a layer with weights: products with values that are not zero, and the same weighted
# by |value|. Which of them is meant is known only when the class is, at the end.
Candidate = Literal["events", "units", "pooled_events", "scalings"]
Column = Category | Candidate
Table = NDArray[np.int64]  # [samples, steps]


@dataclass
class Call:
    """One operation on one batch.

    Attributes:
        steps: How many it did at once.
        fixed: Operations a sample and step, the same for all.
        varying: ``[steps, samples]`` each.
        clock: Steps that neurons had made before.
        repeated: ``[steps, samples]``, whether it read at each what it did at the one before;
            None if that is not known.
        read: Of one step, ``[samples]``: which call first read the same, of late.
        neurons: A sample; 0 if these are not neurons.
    """

    steps: int
    clock: int = 0
    fixed: dict[Column, int] = field(default_factory=dict)
    varying: dict[Column, Tensor] = field(default_factory=dict)
    repeated: Tensor | None = None
    read: Tensor | None = None
    neurons: int = 0

    def signature(self) -> tuple[object, ...]:
        """Return what must be the same in every batch."""
        return (self.steps, tuple(sorted(self.fixed.items())))


@dataclass(eq=False)
class Entry:
    """One layer while the run lasts.

    Attributes:
        name: As the ledger will have it.
        kind: Likewise.
        after_neurons: Whether a neuron stands before it.
        operand: What it read: of pooled spikes, the spikes.
        partner: The second operand of a product of two activations.
        pooled: What it read of an average pooling, itself.
        is_pool: Whether it averages, and its additions vanish if every reader composes.
        readers: Entries that read this pooling, and None for any that cannot compose.
        neurons: A sample, all those of a step; 0 if it is not a neuron layer.
        folded: Whether the layer before it absorbed it.
        shape: Of a layer with weights.
        differs: Whether what it computes is another thing in every step.
        apart: Whether a batch may do without it, as its result is remembered from before.
        samples: Of each batch so far.
        calls: Those of this batch.
        last_read: By the last calls of one step, each with its version, and ``read`` of them.
        clocked: Steps in this batch, of neurons by how many they are.
        length: Steps, known when a batch is closed.
    """

    name: str
    kind: str
    after_neurons: bool = False
    operand: Operand = field(default_factory=Operand)
    partner: Operand | None = None
    pooled: Operand | None = None
    is_pool: bool = False
    readers: set["Entry | None"] = field(default_factory=set)
    neurons: int = 0
    folded: bool = False
    shape: Shape | None = None
    differs: bool = False
    apart: bool = False
    samples: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    last_read: deque[tuple[list[tuple[Tensor, int | None]], Tensor]] = field(
        default_factory=lambda: deque(maxlen=4)
    )
    clocked: Counter[int] = field(default_factory=Counter)
    length: int = 1
    _signature: tuple[object, ...] = ()
    _fixed: dict[Column, Table] = field(default_factory=dict)
    _varying: dict[Column, list[Table]] = field(default_factory=dict)
    _repeated: list[NDArray[np.bool_]] = field(default_factory=list)

    def close(self, samples: int, steps: int, *, first: bool, static: bool) -> None:
        """File the calls of one batch of ``samples``, in a network of ``steps``.

        Raises:
            CountingError: If they are not those of the first batch, or if it cannot be told
                which steps of a ``static`` stimulus they are.
        """
        if self.apart and not self.calls and not first:
            self._rest(samples)
            return
        signature = tuple(call.signature() for call in self.calls)
        if first:
            self._signature = signature
        elif signature != self._signature:
            raise CountingError(
                f"layer {self.name!r} ran differently in this batch: {_told(signature)}, at "
                f"first {_told(self._signature)}; measure inputs of one shape at a time"
            )
        early = static and steps > 1 and not self.after_neurons
        once = early and self._ran_once(steps)
        places, length = _places([call.steps for call in self.calls], 1 if once else steps)
        self.neurons = sum(call.neurons * call.steps for call in self.calls) // length
        fixed: dict[Column, Table] = {}
        varying: dict[Column, Table] = {}
        for call, place in zip(self.calls, places, strict=True):
            for column, number in call.fixed.items():
                table = fixed.setdefault(column, np.zeros((1, length), np.int64))
                for step in place:
                    table[:, step] += number
            for column, counts in self._by_sample(call, samples).items():
                table = varying.setdefault(column, np.zeros((samples, length), np.int64))
                by_step = counts.round().to(torch.int64).cpu().numpy()
                for step, row in zip(place, by_step, strict=True):
                    table[:, step] += row
        self._fixed, self.length = {} if self.apart else fixed, length
        for column, table in varying.items():
            self._varying.setdefault(column, []).append(table)
        self.samples.append(samples)
        self._repeated.append(_repeats(self.calls, places, (samples, length)))
        self.calls.clear()
        self.last_read.clear()
        self.clocked.clear()

    def _ran_once(self, steps: int) -> bool:
        """Return whether calls before all neurons are those of one step, and no loop over time.

        Raises:
            CountingError: If they may be either.
        """
        if any(0 < call.clock < steps for call in self.calls):
            return False
        at_once = max(call.steps for call in self.calls)
        many = at_once if at_once > 1 else len(self.calls)
        if many % steps:
            return True
        if at_once > 1 or self.differs or self._reads_one_thing():
            return False
        uses, kinds = many // steps, [call.signature() for call in self.calls]
        if kinds[uses:] != kinds[:-uses]:
            return True
        raise CountingError(
            f"layer {self.name!r} ran {many} times before the neurons, which saw {steps} steps, "
            "once in each of these or every time in one; state time_axis of the stimulus, call "
            "the layer and the neurons in one loop, or measure another number of steps"
        )

    def _reads_one_thing(self) -> bool:
        reads = [call.read for call in self.calls]
        return all(
            now is not None and then is not None and torch.equal(now, then)
            for now, then in pairwise(reads)
        )

    def _by_sample(self, call: Call, samples: int) -> dict[Column, Tensor]:
        """Return what varies with the samples: of a layer that may rest, everything."""
        if not self.apart:
            return call.varying
        shape = call.steps, samples
        fixed = {
            column: torch.full(shape, number, dtype=torch.float64)
            for column, number in call.fixed.items()
        }
        return {**fixed, **call.varying}

    def _rest(self, samples: int) -> None:
        """File a batch that did without."""
        for tables in self._varying.values():
            tables.append(np.zeros((samples, self.length), np.int64))
        self.samples.append(samples)
        self._repeated.append(np.zeros((samples, self.length), np.bool_))

    def table(self, column: Column) -> Table | None:
        """Return ``[samples, steps]`` of a column, or None if it does not occur."""
        parts: list[Table] = []
        if column in self._varying:
            parts.append(np.concatenate(self._varying[column]))
        if column in self._fixed:
            fixed = self._fixed[column]
            parts.append(np.broadcast_to(fixed, (sum(self.samples), fixed.shape[1])))
        return reduce(add, parts) if parts else None

    def repeats(self) -> NDArray[np.bool_]:
        """Return ``[samples, steps]``, whether each had the input of the step before."""
        return np.concatenate(self._repeated)


def _repeats(
    calls: list[Call], places: list[NDArray[np.intp]], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return ``[samples, steps]``, whether all that ``calls`` read was there a step before."""
    repeated = np.ones(shape, np.bool_)
    uses = max(len(calls) // shape[1], 1)  # in a step, of a loop over time
    for index, (call, place) in enumerate(zip(calls, places, strict=True)):
        same = call.repeated
        if call.read is not None and index >= uses:
            before = calls[index - uses].read
            same = None if before is None else (call.read == before)[None]
        if same is None:
            repeated[:, place] = False
            continue
        for step, row in zip(place, same.cpu().numpy(), strict=True):
            repeated[:, step] &= row
    return repeated


def _told(signature: tuple[object, ...]) -> str:
    return f"{len(signature)} calls {signature!r}"


def _places(calls: list[int], steps: int) -> tuple[list[NDArray[np.intp]], int]:
    """Return where each call's steps go, and how many there are, at most ``steps``.

    A call of many steps has them all. Calls of one step are a loop over time, in order;
    with more of them than steps, each step has its share.
    """
    if len(calls) > 1 and max(calls) == 1:
        length = min(len(calls), steps)
        spread = np.arange(len(calls)) * length // len(calls)
        return [spread[index : index + 1] for index in range(len(calls))], length
    length = min(max(calls), steps)
    return [np.arange(many) * min(many, length) // many for many in calls], length


def steps_of(entries: list[Entry]) -> int | None:
    """Return how many steps the neurons saw in this batch, as most of them did."""
    # A neuron for several populations has all steps for each.
    seen = Counter(max(*entry.clocked.values(), 1) for entry in entries if entry.clocked)
    return max(seen, key=lambda steps: (seen[steps], steps)) if seen else None


def layers(entries: list[Entry], policy: Policy, *, steps: int, partial: bool) -> dict[str, Layer]:
    """Return the layers, now that every operand class is known."""
    return {entry.name: _layer(entry, policy, steps=steps, partial=partial) for entry in entries}


def _layer(entry: Entry, policy: Policy, *, steps: int, partial: bool) -> Layer:
    composed = _composes(entry)
    tally = _tally(entry, policy, composed=composed)
    operand = _class(entry, _read(entry, composed=composed))
    explicit = _tally(entry, policy, composed=False) if composed else tally
    readings: dict[Reading, Tables] = {
        "explicit": explicit,
        **_encoding(entry, tally, steps=steps),
    }
    return Layer(
        name=entry.name,
        kind=entry.kind,
        operand=operand,
        samples=sum(entry.samples),
        steps=entry.length,
        neurons=entry.neurons,
        tally=tally,
        readings={name: tables for name, tables in readings.items() if tables is not tally},
        folded=entry.folded,
        shape=entry.shape if operand is not None else None,  # never read: its samples were lost
        partial=partial,
    )


def _read(entry: Entry, *, composed: bool) -> Operand:
    """Return what ``entry`` read: averages of spikes, or the spikes if it averages itself."""
    return entry.pooled if entry.pooled is not None and not composed else entry.operand


def _class(entry: Entry, operand: Operand) -> OperandClass | None:
    """Return the class of ``operand``; spikes by contract that never came are silence."""
    seen = entry.table("spikes") if entry.neurons else entry.table("inputs_nonzero")
    if seen is None:
        return None
    return operand.operand() if operand.seen or seen.any() else "silent"


def _composes(entry: Entry | None) -> bool:
    """Return whether an entry is done in one with the pooling of spikes before or in it."""
    if entry is None:
        return False
    if entry.is_pool:
        return bool(entry.readers) and all(_composes(reader) for reader in entry.readers)
    return entry.pooled is not None and entry.operand.operand() in {*SPIKES, "integer"}


def _tally(entry: Entry, policy: Policy, *, composed: bool) -> Tables:
    tables: dict[Category, Table] = {
        name: table for name in CATEGORIES if (table := entry.table(name)) is not None
    }
    if entry.is_pool and composed:
        del tables["pool_add"]
    category, column = _charge(entry, policy, composed=composed)
    if (events := entry.table(column)) is not None:
        tables[category] = tables[category] + events if category in tables else events
        if category == "ac" and _read(entry, composed=composed).timed:
            tables["neuron_mul"] = events  # by the time left; see harness/meter/neurons.py
    scalings = entry.table("scalings")
    if scalings is not None and entry.operand.operand() not in SPIKES:
        tables["mac"] = scalings
    return tables


def _charge(entry: Entry, policy: Policy, *, composed: bool) -> tuple[Category, Candidate]:
    """Return what the products of ``entry`` are, and which count of them is meant."""
    if entry.pooled is not None and not composed:
        return policy.operation(entry.pooled.operand()), "pooled_events"
    operand = entry.operand.operand()
    if entry.partner is not None and (entry.operand.timed or entry.partner.timed):
        return "mac", "events"
    if entry.partner is not None:
        return _product(operand, entry.partner.operand()), "events"
    if operand == "integer" and policy.integer == "ac":
        return "ac", "units"
    return policy.operation(operand), "events"


def _product(left: OperandClass, right: OperandClass) -> Category:
    """Return what a product of two activations costs where both are not zero."""
    if {left, right} <= {"silent", "binary"}:
        return "and_ac"
    return "ac" if left in SPIKES or right in SPIKES else "mac"


def _encoding(entry: Entry, tally: Tables, *, steps: int) -> dict[Reading, Tables]:
    """Return both conventions, over all ``steps`` of the network, where they are not as run."""
    if entry.length not in (1, steps):
        once = {name: _at_first_step(table.sum(1), steps) for name, table in tally.items()}
        return {"per_step": once, "cached": once}
    if entry.after_neurons or entry.differs or steps == 1:
        return {}
    if entry.length == 1:
        return {"per_step": {name: table.repeat(steps, 1) for name, table in tally.items()}}
    fresh = ~entry.repeats()
    if fresh.all():
        return {}
    return {"cached": {name: table * fresh for name, table in tally.items()}}


def _at_first_step(
    counts: NDArray[np.int64],  # [samples]
    steps: int,
) -> Table:
    table = np.zeros((len(counts), steps), np.int64)
    table[:, 0] = counts
    return table
