"""Rows of the second schema: every score was an accuracy and named so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.contracts.errors import SpecError
from harness.contracts.row import Row
from harness.contracts.values import from_json

# Today's names by those of then.
RENAMED = {
    "test_accuracy": "score",
    "accuracy_low": "score_low",
    "accuracy_high": "score_high",
    "accuracy_by_step": "score_by_step",
    "accuracy_by_step_low": "score_by_step_low",
    "accuracy_by_step_high": "score_by_step_high",
    "accuracy_area": "score_area",
    "teacher_accuracy": "teacher_score",
    "ann_accuracy": "ann_score",
}
FIRST = {new: old for old, new in RENAMED.items()}
_NO_ROW = (AttributeError, RecursionError, ValueError)


def migrated(text: str | bytes, /) -> Row:
    """Return the row of one line of the second schema.

    Raises:
        SpecError: If it is none.
    """
    try:
        plain = json.loads(text)
        if plain.get("metrics"):
            plain["metrics"] = renamed(plain["metrics"])
        line = json.dumps(plain | {"schema_version": 3})
    except _NO_ROW as error:
        raise SpecError(f"no row of the second schema: {error!r}; run its cell again") from error
    return from_json(Row, line)


def renamed(metrics: Mapping[str, Any], /) -> dict[str, Any]:
    """Return metrics by today's names."""
    told = {RENAMED.get(name, name): item for name, item in metrics.items()}
    if others := told.get("cross_backend"):
        told["cross_backend"] = {
            name: {RENAMED.get(key, key): item for key, item in other.items()}
            for name, other in others.items()
        }
    return told
