"""How far cells are that were cut off, by their checkpoints. Imports no torch."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from harness.contracts.cell import Cell
from harness.contracts.method import Progress
from harness.store import CHECKPOINT, Store

_NO_PROGRESS = (
    *(SafetensorError, OSError, ValueError, LookupError),
    *(TypeError, OverflowError, RecursionError),
)


def progress_of(store: Store, cell: Cell, /) -> Progress | None:
    """Return how far ``cell`` is by its checkpoint; None if it has none that can be read."""
    return _progress(store.folder(cell) / CHECKPOINT)


def fraction(progress: Progress | None, /) -> float:
    """Return which part of its budget a training has spent."""
    return progress.samples / max(1, progress.budget) if progress else 0.0


def _progress(path: Path) -> Progress | None:
    try:
        with safe_open(path, framework="numpy") as file:
            told = json.loads(file.metadata()["progress"])
        samples, budget = int(told["samples"]), int(told["budget"])
    except _NO_PROGRESS:
        return None
    return Progress(samples=max(0, min(samples, budget)), budget=budget, loss=0.0)
