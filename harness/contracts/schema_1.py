"""Rows of the first schema: flat columns, energies priced when the cell ran.

What they say of energy is left behind, since it follows from their counts; of these they
keep totals, not steps. Nothing else is lost and no cell changes its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from harness.contracts.errors import SpecError
from harness.contracts.ledger import CATEGORIES
from harness.contracts.row import Metrics, Provenance, Row
from harness.contracts.schema_2 import FIRST, renamed
from harness.contracts.values import from_json

_NAMED = ("suite", "protocol", "method", "params", "dataset", "split", "model", "teacher")
_CELL = (*_NAMED, "backend", "timesteps", "seed", "neuron", "encoder")
# Columns that another column of the row, or a price, gives.
_DERIVED = {
    *("energy_pj", "energy_ratio_ann", "energy_ratio_effective", "energy_ratio_twin"),
    *("energy_assumptions", "layers", "coverage", "dense_macs", "firing_rate"),
    *("spikes_per_sample", "macs_per_sample", "acs_per_sample"),
    *("code_fp", "env_fp", "hw_fp", "cpu", "python", "torch", "precision", "recipe"),
}
# Of the metrics, by the names of then.
_COLUMNS = tuple(FIRST.get(item.name, item.name) for item in fields(Metrics))
_MOST_STEPS = 2**16  # far more than any had: counts are spread over so many entries
_NO_ROW = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def migrated(text: str | bytes, /) -> Row:
    """Return the row of one line of the first schema.

    Raises:
        SpecError: If it is none, or says another ``cell_id`` than its columns give.
    """
    try:
        columns = json.loads(text)
        plain = _nested(columns)
    except _NO_ROW as error:
        raise SpecError(f"no row of the first schema: {error!r}; run its cell again") from error
    return from_json(Row, json.dumps(plain))


def _nested(columns: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"schema_version", "cell_id", "status", "error", *_CELL, *_DERIVED}
    kept |= {*_COLUMNS, *(item.name for item in fields(Provenance))}
    if unknown := sorted(columns.keys() - kept):
        raise SpecError(f"row {columns['cell_id']} has unknown columns {', '.join(unknown)}")
    ok = columns["status"] == "ok"
    return {
        "cell_id": columns["cell_id"],
        "cell": _cell(columns),
        "status": columns["status"],
        "error": columns["error"],
        "metrics": _metrics(columns) if ok else None,
        "ledger": _ledger(columns) if ok else None,
        "provenance": _provenance(columns),
    }


def _cell(columns: Mapping[str, Any]) -> dict[str, Any]:
    recipe = dict(columns["recipe"])
    name = recipe.pop("name")
    return {key: columns.get(key) for key in _CELL} | {"recipe_name": name, "recipe": recipe}


def _metrics(columns: Mapping[str, Any]) -> dict[str, Any]:
    found = renamed({name: columns[name] for name in _COLUMNS if name in columns})
    samples = columns["n_test"]
    found["early_exit"] = {
        rule: {drop: _exit(point, samples) for drop, point in drops.items()}
        for rule, drops in columns["early_exit"].items()
    }
    return found


def _exit(point: Mapping[str, float], samples: int) -> dict[str, Any]:
    """Return an exit's whole numbers; what ran until then was not kept."""
    return {
        "threshold": point["threshold"],
        "correct": round(point["accuracy"] * samples),
        "samples": samples,
        "steps": round(point["mean_steps"] * samples),
    }


def _ledger(columns: Mapping[str, Any]) -> dict[str, Any]:
    samples, steps = columns["n_test"], columns["timesteps"]
    return {
        "samples": samples,
        "steps": steps,
        "layers": {
            name: _layer(layer, samples, steps) for name, layer in columns["layers"].items()
        },
        "coverage": columns["coverage"],
    }


def _layer(layer: Mapping[str, Any], samples: int, steps: int) -> dict[str, Any]:
    """Return a layer's totals, all at its first step: when they ran was not kept."""
    totals = {name: round(layer[name] * samples) for name in CATEGORIES if name in layer}
    ran = layer["steps"]
    if not 1 <= ran <= steps <= _MOST_STEPS:
        raise SpecError(f"a layer ran {ran!r} of {steps!r} steps")
    plain = {
        "kind": layer["kind"],
        "operand": layer["operand"],
        "steps": ran,
        "counts": {name: [total, *[0] * (ran - 1)] for name, total in totals.items()},
    }
    if ran < steps and layer["kind"] != "norm":  # before the first neuron, run once for all
        plain["per_step"] = {name: [total] * steps for name, total in totals.items()}
    if layer["kind"] == "neuron":
        plain["neurons"] = round(layer["compare"] / ran)
    return plain


def _provenance(columns: Mapping[str, Any]) -> dict[str, Any]:
    names = [item.name for item in fields(Provenance) if item.name in columns]
    versions = {name: columns[name] for name in ("python", "torch") if columns[name]}
    return {name: columns[name] for name in names} | {
        "versions": versions,
        "processor": {"processor": columns["cpu"], "instructions": _instructions(columns)},
    }


def _instructions(columns: Mapping[str, Any]) -> str:
    """Return the widest, which is all that was kept."""
    return str(columns["hw_fp"]).partition("-")[2]
