"""What counted operations cost: one file an energy model, prices as data with sources.

A model's name is ``file:variant``, such as ``horowitz_45nm_fp32:cached``: variants are
conventions and conflicting citations, and which one is taken can decide who wins. So
there is no default, and ``panel`` shows all of them. A new file with ``MODELS`` is
listed at once; nothing here imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from harness.contracts.errors import UnknownPluginError
from harness.contracts.ledger import Encode, Layer, Ledger, Tables
from harness.energy._bill import Bill, EnergyModel
from harness.energy._operations import Prices, one_of_each, prices
from harness.energy._panel import BREAK_EVENS, BreakEven, Panel, PanelLine, build
from harness.energy._together import together

__all__ = [
    "BREAK_EVENS",
    "Bill",
    "BreakEven",
    "EnergyModel",
    "Panel",
    "PanelLine",
    "bill",
    "described",
    "model_names",
    "operations_pj",
    "panel",
    "together",
    "unpriced",
]


def model_names() -> tuple[str, ...]:
    """Return every ``file:variant``, sorted."""
    return tuple(_models())


def described(model_name: str, /) -> dict[str, Any]:
    """Return what a model says of itself: ``source``, ``assumptions``, ``pj_an_operation``.

    The last is by convention for encoding and category, what is free left out; None if the
    model prices more than operations.

    Raises:
        UnknownPluginError: As ``bill`` does.
    """
    said = bill(one_of_each("cached"), model_name)
    known = _prices(model_name)
    return {
        "source": said.source,
        "assumptions": said.assumptions,
        "pj_an_operation": known and {encode: of for encode, of in known.items() if of},
    }


def bill(ledger: Ledger, model_name: str, /) -> Bill:
    """Return what one sample costs under one model, ``file:variant``.

    Raises:
        UnknownPluginError: Names the nearest known ones, or the variants of a file.
    """
    return _model(model_name).bill(ledger, name=model_name)


def unpriced(ledger: Ledger, model_name: str, /) -> tuple[str, ...]:
    """Return what one model has no price for and in which layers, as ``mac in conv1``.

    It is empty where the bill has a total. What is in no layer is said as the bill says it.

    Raises:
        UnknownPluginError: As ``bill`` does.
    """
    if not bill(ledger, model_name).unpriced:
        return ()
    in_none = bill(_alone(ledger, None, None), model_name).unpriced
    found: dict[str, list[str]] = {}
    for name, layer in ledger.layers.items():
        for category in dict.fromkeys(item for sums in layer.every_sum.values() for item in sums):
            if bill(_alone(ledger, name, category), model_name).unpriced != in_none:
                found.setdefault(category, []).append(name)
    return (*(f"{item} in {_few(layers)}" for item, layers in found.items()), *in_none)


def panel(ledger: Ledger, /, *, artificial: Ledger | None = None) -> Panel:
    """Return all models' bills, and their ratios to three artificial baselines.

    Args:
        ledger: Of the spiking network.
        artificial: The same topology with ReLU, run once; without it nothing is known
            of the ``effective`` baseline.
    """
    return build(ledger, _models(), artificial=artificial)


def operations_pj(counts: Mapping[Encode, Mapping[str, int]], model_name: str, /) -> float | None:
    """Return what operations cost, such as those of all samples until their early exits.

    Args:
        counts: By convention for encoding and category.
        model_name: ``file:variant``.

    Returns:
        Picojoules of all of them, or None if the model prices more than operations.

    Raises:
        UnknownPluginError: As ``bill`` does.
    """
    known = _prices(model_name)
    if known is None:
        return None
    each = [
        price * count
        for encode, operations in counts.items()
        if (of := known[encode])
        for category, count in operations.items()
        if (price := of.get(category))
    ]
    return sum(each, start=0.0)


def _alone(ledger: Ledger, name: str | None, category: str | None) -> Ledger:
    """Return ``ledger`` as if nothing had been counted but one category in one layer."""

    def kept(layer: Layer, tables: Tables) -> Tables:
        is_it = layer.name == name
        return {item: table for item, table in tables.items() if is_it and item == category}

    layers = {
        path: replace(
            layer,
            tally=kept(layer, layer.tally),
            readings={reading: kept(layer, of) for reading, of in layer.readings.items()},
        )
        for path, layer in ledger.layers.items()
    }
    return replace(ledger, layers=layers)


def _few(layers: list[str]) -> str:
    """Return the first of ``layers``, and how many others there are."""
    first, *others = layers
    return f"{first} and {len(others)} more layer{'s' * (len(others) > 1)}" if others else first


@cache
def _prices(model_name: str) -> Prices | None:
    """Return what is not free."""
    known = prices(_model(model_name), model_name)
    return known and {
        encode: {category: price for category, price in of.items() if price}
        for encode, of in known.items()
    }


@cache
def _models() -> Mapping[str, EnergyModel]:
    """Return every model by name, sorted."""
    files = (found.name for found in iter_modules(__path__) if not found.name.startswith("_"))
    return {
        f"{file}:{variant}": model
        for file in sorted(files)
        for variant, model in sorted(import_module(f"{__name__}.{file}").MODELS.items())
    }


def _model(name: str) -> EnergyModel:
    known = _models()
    if name in known:
        return known[name]
    variants = [full for full in known if full.partition(":")[0] == name]
    near = variants or difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
    raise UnknownPluginError(f"no energy model {name!r}; {hint}")
