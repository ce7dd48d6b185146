"""Results on disk: one atomic JSON a cell, so that nothing is lost or half-written.

``<runs>/<suite>/<cell_id>/`` holds ``row.json``, ``predictions.npz``,
``student.safetensors`` and the logs; ``<runs>/teachers/<teacher_id>/`` the teachers.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.record import Cell, Row


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], /) -> None:
    """Let ``write`` fill ``path`` so that a reader sees the old file or the whole new one.

    Raises:
        StoreError: If the disk refuses; the old file stands and no half is left.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  the atomic one, by its own name
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another --out"
        ) from error


def write_text(path: Path, text: str, /) -> None:
    """Write ``text`` atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: Mapping[str, Any], /) -> None:
    """Write ``value`` atomically, keys sorted, one line."""
    write_text(path, json.dumps(value, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, /) -> dict[str, Any] | None:
    """Return what ``write_json`` wrote, or None if there is no such file.

    Raises:
        StoreError: If the file is no JSON object; names it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}); delete it to run its cell again") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} holds no JSON object; delete it to run its cell again")
    return value


@dataclass(frozen=True)
class Store:
    """The rows under one folder.

    Attributes:
        root: ``--out``; made when first written to.
    """

    root: Path

    def folder(self, cell: Cell, /) -> Path:
        """Return where everything of ``cell`` lies."""
        return self.root / cell.suite / cell.cell_id

    def teacher_folder(self, teacher_id: str, /) -> Path:
        """Return where everything of one teacher lies."""
        return self.root / "teachers" / teacher_id

    def save(self, cell: Cell, row: Row, /) -> None:
        """Write the one row of ``cell``."""
        write_json(self.folder(cell) / "row.json", json.loads(row.to_json()))

    def load(self, cell: Cell, /) -> Row | None:
        """Return the row of ``cell``, or None if it never ended."""
        return self._row(self.folder(cell) / "row.json")

    def rows(self, suite: str, /) -> Iterator[Row]:
        """Yield every row of ``suite``, in the order of cell identities."""
        for path in sorted((self.root / suite).glob("*/row.json")):
            row = self._row(path)
            if row is not None:
                yield row

    @staticmethod
    def _row(path: Path) -> Row | None:
        value = read_json(path)
        if value is None:
            return None
        try:
            return Row.from_json(json.dumps(value))
        except SpecError as error:
            raise StoreError(f"{path}: {error}") from error
