"""Whether a row still says what its cell would say today. Imports no torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import discovery, fingerprint
from harness.contracts.errors import HarnessError
from harness.contracts.record import Cell, Row
from harness.engine.grid import load_dataset
from harness.store import Store

State = Literal["fresh", "missing", "stale", "failed", "skipped"]
# Versions and processors differ between users; they are told, not overruled.
_ONLY_WARN = ("env_fp", "hw_fp")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a cell stands.

    Attributes:
        cell: Which.
        state: Whether there is anything to do.
        why: Which part of the fingerprint moved, or why the cell failed; may be empty.
    """

    cell: Cell
    state: State
    why: str = ""

    @property
    def is_due(self) -> bool:
        """Whether a run has to run it."""
        return self.state in {"missing", "stale"}

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt gave no numbers, though it should have."""
        return self.state == "failed"


def standings(cells: Iterable[Cell], store: Store, *, data_root: Path | None) -> list[Standing]:
    """Return how every cell stands."""
    return [_standing(cell, store.load(cell), data_root) for cell in cells]


def fingerprints(cell: Cell, data_root: Path | None) -> dict[str, str | None]:
    """Return the fingerprint that a row of ``cell`` made now would carry."""
    return {
        "code_fp": _code(cell),
        "data_fp": _data(cell.dataset, data_root),
        "env_fp": fingerprint.of_environment(discovery.packages_of_backend(cell.backend)),
        "hw_fp": fingerprint.of_processor(),
    }


def _standing(cell: Cell, row: Row | None, data_root: Path | None) -> Standing:
    if row is None:
        return Standing(cell=cell, state="missing")
    now = fingerprints(cell, data_root)
    moved = [part for part, value in now.items() if getattr(row.provenance, part) != value]
    if stale := [_WORDS[part] for part in moved if part not in _ONLY_WARN]:
        return Standing(cell=cell, state="stale", why=f"{' and '.join(stale)} changed")
    if row.status == "skipped":
        return Standing(cell=cell, state="skipped", why=str(row.error))
    if row.status != "ok":
        return Standing(cell=cell, state="failed", why=f"{row.status}: {row.error}")
    why = ", ".join(f"made with another {_WORDS[part]}" for part in moved)
    return Standing(cell=cell, state="fresh", why=why)


_WORDS: Mapping[str, str] = {
    "code_fp": "code",
    "data_fp": "data",
    "env_fp": "set of library versions",
    "hw_fp": "kind of processor",
}


def _code(cell: Cell) -> str:
    teacher = cell.teacher["model"] if cell.teacher else cell.model
    encoder = [discovery.module_of("encoders", cell.encoder)] if cell.encoder else []
    return fingerprint.of_code(
        [
            "harness.engine.cell",
            discovery.module_of("methods", cell.method),
            discovery.module_of("models", cell.model),
            discovery.module_of("models", str(teacher)),
            discovery.module_of("datasets", cell.dataset),
            discovery.module_of("backends", cell.backend),
            *encoder,
        ]
    )


def _data(dataset: str, data_root: Path | None) -> str | None:
    """Return the data's fingerprint; None where there is none, which a run will explain."""
    try:
        return load_dataset(dataset).provenance(data_root).fingerprint
    except HarnessError:
        return None
