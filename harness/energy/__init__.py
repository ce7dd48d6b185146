"""What counted operations cost: one file an energy model, prices as data with sources.

A model's name is ``file:variant``, such as ``horowitz_45nm_fp32:cached``: variants are
conventions and conflicting citations, and which one is taken can decide who wins. So
there is no default, and ``panel`` shows all of them. A new file with ``MODELS`` is
listed at once; nothing here imports torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from harness.contracts.errors import SpecError, UnknownPluginError
from harness.contracts.ledger import Measurement
from harness.energy._bill import Bill, EnergyModel, Price
from harness.energy._ledger import Entry, Ledger, Neurons, Synapses, twin_bits
from harness.energy._panel import BREAK_EVENS, BreakEven, Panel, PanelLine
from harness.energy._panel import build as _build

__all__ = [
    "BREAK_EVENS",
    "Bill",
    "BreakEven",
    "EnergyModel",
    "Entry",
    "Ledger",
    "Neurons",
    "Panel",
    "PanelLine",
    "Price",
    "Synapses",
    "bill",
    "model_names",
    "panel",
    "twin_bits",
]

Countable = Ledger | Measurement | Mapping[str, Any]


def model_names() -> tuple[str, ...]:
    """Return every ``file:variant``, sorted."""
    return tuple(_models())


def bill(counted: Countable, model_name: str, /) -> Bill:
    """Return what one sample costs under one model.

    Args:
        counted: A ledger, a measurement, or a plain summary as ``Ledger.from_mapping`` takes.
        model_name: ``file:variant``.

    Raises:
        UnknownPluginError: Names the nearest known ones, or the variants of a file.
        SpecError: If ``counted`` is no ledger.
    """
    return _model(model_name).bill(_ledger(counted), name=model_name)


def panel(
    counted: Countable,
    /,
    *,
    artificial: Countable | None = None,
    delegated: Mapping[str, Bill] | None = None,
) -> Panel:
    """Return all models' bills, their ratios to three artificial baselines, and sigma.

    Args:
        counted: As in ``bill``.
        artificial: The same topology with ReLU, run once; without it nothing is known
            of the ``effective`` baseline.
        delegated: Bills that need the running network, by model name.
    """
    return _build(
        _ledger(counted),
        _models(),
        artificial=None if artificial is None else _ledger(artificial),
        delegated=delegated or {},
    )


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


def _ledger(counted: Countable) -> Ledger:
    if isinstance(counted, Ledger):
        return counted
    if isinstance(counted, Measurement):
        return Ledger.from_measurement(counted)
    if isinstance(counted, Mapping):
        return Ledger.from_mapping(counted)
    raise SpecError(f"a bill needs a ledger, a measurement or a summary, got {counted!r}")
