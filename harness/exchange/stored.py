"""The trained student of a cell, from the weights its run left."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from harness.contracts.cell import Cell
from harness.contracts.errors import StoreError
from harness.contracts.row import Row
from harness.engine.resolve import Resolved, resolve
from harness.engine.show import known
from harness.engine.teachers import WEIGHTS
from harness.store import Store
from harness.training.lesson import computing
from harness.training.student import Student


def student_of(cell_id: str, /, *, runs: Path, published: Path) -> tuple[Resolved, Row, Student]:
    """Return the cell, its row and its student, in the cell's precision, on the processor.

    Raises:
        StoreError: If no row, several that begin so, or no weights of it are here, or they are
            others than the row's.
        UnsupportedError: If its simulator is not installed.
    """
    row = known(cell_id, runs=runs, published=published)
    path = Store(runs).folder(row.cell) / WEIGHTS
    if not path.exists():
        raise StoreError(
            f"no weights of {row.cell.label} under {runs}: rows are published without them; "
            f"make them: {command_for(row.cell, runs)}"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != row.provenance.weights_sha256:
        raise StoreError(f"{path} holds other weights than its row is about; run its cell again")
    found = resolve(row.cell)
    with computing(row.cell.recipe.precision):
        student = found.student(torch.device("cpu"))
    student.network.load_state_dict(load_file(path))
    student.network.eval()
    return found, row, student


def shown_to(found: Resolved, /) -> dict[str, Any]:
    """Return for a file's metadata how the student of ``found`` is shown its samples.

    ``timesteps`` that it was trained for, and ``inputs`` in words, which are about the other keys:
    ``encoder`` and the seed of what it draws, or ``mean`` and ``std`` by channel.
    """
    steps = {"timesteps": found.cell.timesteps}
    if found.cell.encoder is not None:
        words = "spikes of encoder, of pixels in [0, 1]"
        seed = found.cell.seed
        return {**steps, "inputs": words, "encoder": found.cell.encoder, "encoder_seed": seed}
    shown = found.presentation()
    values = "events / 256" if takes_frames(found) else "pixels in [0, 1]"
    words = f"({values} - mean) / std by channel"
    return {**steps, "inputs": words, "mean": [*shown.mean], "std": [*shown.std]}


def takes_frames(found: Resolved, /) -> bool:
    """Return whether the student of ``found`` is given ``[T, N, C, H, W]``, and not a still."""
    return found.encoder is not None or not found.card.encoding.startswith("direct")


def command_for(cell: Cell, runs: Path, /) -> str:
    """Return what runs ``cell``; which constants are chosen by trials, a cell does not know."""
    backend = f" --backends {cell.backend}" if cell.backend else ""
    return (
        f"python -m harness run {cell.suite} --methods {cell.method} --timesteps {cell.timesteps} "
        f"--seeds {cell.seed}{backend} --models {cell.model} --recipe {cell.recipe_name} --again "
        f"--out {runs} (and --untuned, if it has its authors' constants)"
    )
