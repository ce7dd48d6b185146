"""Ledgers that differ in nothing but counts, as one whose counts are arrays: priced at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from harness.contracts.ledger import Layer, Ledger, Reading
from harness.energy._bill import occurs

_MADE = attrgetter("name", "kind", "operand", "steps", "neurons", "folded", "shape", "partial")


def together(ledgers: Iterable[Ledger], /) -> Iterator[tuple[Ledger, list[int]]]:
    """Yield ledgers of one make as one, with the places that theirs have in ``ledgers``.

    Its counts are ``[ledger]``, floats, which hold integers to 2^53, and 0 in all or in none.
    """
    found: dict[Hashable, list[tuple[int, Ledger]]] = {}
    for place, ledger in enumerate(ledgers):
        found.setdefault(_make(ledger), []).append((place, ledger))
    for alike in found.values():
        yield _stacked([ledger for _, ledger in alike]), [place for place, _ in alike]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stacked(Layer):
    """A layer of several ledgers.

    Attributes:
        counted: What ``sums`` returns, by reading.
    """

    counted: Mapping[Reading | None, Mapping[str, NDArray[np.float64]]]

    @property
    def leaks(self) -> bool:
        """Whether membranes decay, in all ledgers or in none."""
        return bool(self.neurons) and occurs(self.sums().get("neuron_mul"))

    @cached_property
    def _sums(self) -> Mapping[Reading | None, Mapping[str, NDArray[np.float64]]]:  # type: ignore[override]  # arrays, for all the arithmetic upon them
        return self.counted


def _make(ledger: Ledger) -> Hashable:
    """Return all of a ledger but its counts, and which of these are 0."""
    layers = [
        (
            _MADE(one),
            *(
                (reading, *(category for category, count in one.sums(reading).items() if count))
                for reading in _readings(one)
            ),
        )
        for one in ledger.layers.values()
    ]
    told = ledger.samples, ledger.steps, ledger.policy, ledger.coverage
    return (*told, ledger.uncounted, ledger.not_counted, *layers)


def _readings(layer: Layer) -> tuple[Reading | None, ...]:
    return (None, *layer.readings)


def _stacked(ledgers: Sequence[Ledger]) -> Ledger:
    first = ledgers[0]
    layers = {
        name: _Stacked(
            **{item.name: getattr(layer, item.name) for item in fields(Layer)}
            | {"tally": {}, "readings": {reading: {} for reading in layer.readings}},
            counted={
                reading: _columns([one.layers[name].sums(reading) for one in ledgers])
                for reading in _readings(layer)
            },
        )
        for name, layer in first.layers.items()
    }
    return replace(first, layers=layers)


def _columns(sums: Sequence[Mapping[str, int]]) -> dict[str, NDArray[np.float64]]:
    """Return what occurs in the first, and so in all, ``[ledger]``."""
    occurring = [category for category, count in sums[0].items() if count]
    return {
        category: np.array([one[category] for one in sums], np.float64) for category in occurring
    }
