"""Splits of recordings that are kept as files under ``splits/``."""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from harness.contracts.errors import DataError


def split(name: str, /) -> dict[str, Any]:
    """Return the split that ``splits/<name>.json`` holds.

    Raises:
        DataError: If the installation lacks it.
    """
    place = files("suites.datasets.splits") / f"{name}.json"
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{place} cannot be read: {error}; install the project again") from error
    return found


def drawn(names: Sequence[str], /, *, seed: int) -> list[str]:
    """Return ``names`` in the order of the SHA-256 of ``"<seed>/<name>"``.

    It asks no random generator, whose stream a new release may change.
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
