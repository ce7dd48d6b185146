"""Ledgers that differ in nothing but counts, as one whose counts are arrays: priced at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.contracts.ledger import Layer, Ledger, Reading
from harness.energy._bill import occurs

Counted = Mapping[Reading | None, Mapping[str, NDArray[np.float64]]]


def together(ledgers: Iterable[Ledger], /) -> Iterator[tuple[Ledger, list[int]]]:
    """Yield ledgers of one make as one, with the places that theirs have in ``ledgers``.

    Its counts are ``[ledger]``, floats, which hold integers to 2^53, and 0 in all or in none.
    """
    found: dict[Hashable, tuple[Ledger, list[list[int]], list[int]]] = {}
    for place, ledger in enumerate(ledgers):
        make, counts = _make_and_counts(ledger)
        _, every, places = found.setdefault(make, (ledger, [], []))
        every.append(counts)
        places.append(place)
    for first, every, places in found.values():
        yield _stacked(first, every), places


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stacked(Layer):
    """A layer of several ledgers.

    Attributes:
        counted: What ``sums`` returns, by reading.
    """

    counted: Counted

    @property
    def leaks(self) -> bool:
        """Whether membranes decay, in all ledgers or in none."""
        return bool(self.neurons) and occurs(self.sums().get("neuron_mul"))

    @property
    def updates(self) -> NDArray[np.float64] | int:  # type: ignore[override]  # likewise
        """Steps of its neurons that ran."""
        compared = self.counted[None].get("compare")
        if compared is None or not compared.any():
            return self.neurons * self.steps * self.samples
        return compared

    @cached_property
    def every_sum(self) -> Counted:  # type: ignore[override]  # arrays, for all the arithmetic upon them
        return self.counted


def _make_and_counts(ledger: Ledger) -> tuple[Hashable, list[int]]:
    """Return all of a ledger but its counts, with which of these are not 0; and those."""
    make: list[Hashable] = [ledger.samples, ledger.steps, ledger.policy, ledger.coverage]
    make += [ledger.uncounted, ledger.not_counted]
    counts: list[int] = []
    for layer, sums in ledger.described():
        make.append(layer)
        for reading, counted in sums.items():
            make.append((reading, *counted))
            counts += counted.values()
    return tuple(make), counts


def _stacked(first: Ledger, counts: Sequence[Sequence[int]]) -> Ledger:
    """Return ``first`` with the counts of all ledgers of its make."""
    columns = iter(np.array(counts, np.float64).T)
    counted = [
        {
            reading: {category: next(columns) for category in occurring}
            for reading, occurring in sums.items()
        }
        for _, sums in first.described()
    ]
    layers = {
        name: _Stacked(
            **{item.name: getattr(layer, item.name) for item in fields(Layer)}
            | {"tally": {}, "readings": {reading: {} for reading in layer.readings}},
            counted=each,
        )
        for (name, layer), each in zip(first.layers.items(), counted, strict=True)
    }
    return replace(first, layers=layers)
