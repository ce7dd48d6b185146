"""What a cell's own process is told. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from harness.contracts.cell import Cell

CHECKPOINT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How cells are run, wherever they come from.

    Attributes:
        runs: The store's root.
        data_root: Where data sets lie, or None.
        device: A torch device; the first, where a cell has several.
        devices: That share each batch of a cell.
        threads: For one process alone.
        deterministic: Whether torch must refuse kernels that vary from run to run.
        checkpoint_s: Seconds of training between two checkpoints.
        command: What the user typed, for the rows.
    """

    runs: Path
    data_root: Path | None
    device: str = "cpu"
    devices: int = 1
    threads: int = 1
    deterministic: bool = True
    checkpoint_s: float = CHECKPOINT_S
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One cell to run, a teacher among them.

    Attributes:
        cell: What.
        conditions: How.
        log_path: Where this attempt's output goes; its name tells attempts apart.
    """

    cell: Cell
    conditions: Conditions
    log_path: Path
