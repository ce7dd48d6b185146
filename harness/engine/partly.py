"""How far cells are that were cut off, by their checkpoints. Imports no torch."""

import json
from pathlib import Path

from harness.contracts.cell import Cell
from harness.contracts.method import Progress
from harness.store import CHECKPOINT, Store

_HEADER_BYTES = 2**26  # no state has so many tensors


def progress_of(store: Store, cell: Cell, /) -> Progress | None:
    """Return how far ``cell`` is by its checkpoint; None if it has none that can be read."""
    return _progress(store.folder(cell) / CHECKPOINT)


def fraction(progress: Progress | None, /) -> float:
    """Return which part of its budget a training has spent."""
    return progress.samples / max(1, progress.budget) if progress else 0.0


def _progress(path: Path) -> Progress | None:
    """Read it from the header of a safetensors file: a length in 8 bytes, then JSON."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _HEADER_BYTES:
                return None
            told = json.loads(json.loads(file.read(length))["__metadata__"]["progress"])
        samples, budget = int(told["samples"]), int(told["budget"])
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    return Progress(samples=max(0, min(samples, budget)), budget=budget, loss=0.0)
