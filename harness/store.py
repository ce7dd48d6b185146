"""Results on disk: one atomic JSON a cell, so that nothing is lost or half-written.

``<runs>/<suite>/<cell_id>/`` holds ``row.json``, ``predictions.npz``, ``weights.safetensors``
and the logs, and while it trains its checkpoint; a teacher is a cell of the suite ``teachers``.
``<runs>/code/`` says which modules a fingerprint is of.
"""

import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row

PREDICTIONS, CHECKPOINT = "predictions.npz", "checkpoint.safetensors"
ROW_BYTES = 2**24  # a hundred times what the longest row here has
_JSON_BYTES = 2**28
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # of a file, and of no other folder


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], /) -> None:
    """Let ``write`` fill ``path`` so that a reader sees the old file or the whole new one.

    Raises:
        StoreError: If the disk refuses; the old file stands and no half is left.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.fchmod(handle, 0o644)  # mkstemp makes it private
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  the atomic one, by its own name
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise _refused(path, error) from error
    _sync_names(path.parent)


def _sync_names(folder: Path) -> None:
    """Let a new name outlast a loss of power, where a file system can be asked to."""
    with suppress(OSError):  # what was written stands, synced or not
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refused(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; make room or choose another folder"
    )


@contextmanager
def changing(folder: Path, /) -> Iterator[None]:
    """Read and write in ``folder`` as nobody else does: who wants to as well waits.

    On a file system without locks nobody waits.

    Raises:
        StoreError: If the disk refuses.
    """
    with _lock(folder / ".lock") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(path: Path) -> IO[bytes]:
    """Return a file that can be locked, made if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise _refused(path, error) from error


def write_text(path: Path, text: str, /) -> None:
    """Write ``text`` atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, /) -> None:
    """Write ``content`` atomically."""
    write_atomically(path, lambda file: file.write(content))


def write_json(path: Path, value: Mapping[str, Any], /) -> None:
    """Write ``value`` atomically, keys sorted, one line."""
    write_text(path, json.dumps(value, sort_keys=True, allow_nan=False) + "\n")


def read_bytes(path: Path, most: int, /) -> bytes:
    """Return what a file holds, if it is one and not longer than ``most`` bytes.

    Nothing else is waited for: a pipe is refused, not read.

    Raises:
        FileNotFoundError: If there is none.
        StoreError: If it is longer, no file, or cannot be read; names it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            _refuse_odd(path, os.fstat(handle), most)
            return file.read(most)
    except (FileNotFoundError, StoreError):
        raise
    except OSError as error:
        words = error.strerror or str(error)
        raise StoreError(f"cannot read {path}: {words}; choose another folder") from error


def _refuse_odd(path: Path, about: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise StoreError(f"{path} is no file; move it away")
    if about.st_size > most:
        raise StoreError(
            f"{path} has {about.st_size} bytes, and at most {most} are read; move it away"
        )


def read_json(path: Path, /) -> dict[str, Any] | None:
    """Return what ``write_json`` wrote, or None if there is no such file.

    Raises:
        StoreError: If the file is no JSON object, or cannot be read; names it.
    """
    try:
        value = json.loads(read_bytes(path, _JSON_BYTES).decode())
    except FileNotFoundError:
        return None
    except StoreError:
        raise
    except (ValueError, RecursionError) as error:
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
        """Return where everything of ``cell`` lies.

        Raises:
            StoreError: If its suite is called so that this would be elsewhere.
        """
        if not PLAIN_NAME.fullmatch(cell.suite):
            raise StoreError(
                f"no folder can be called after the suite {cell.suite[:100]!r} of cell "
                f"{cell.cell_id}; name suites by letters, digits, '_', '.' and '-'"
            )
        return self.root / cell.suite / cell.cell_id

    def claim(self, cell: Cell, /) -> IO[bytes] | None:
        """Return what keeps other runs from ``cell`` until it is closed; None if one has it.

        The system closes it with its process, however that ends.

        Raises:
            StoreError: If the disk refuses.
        """
        path = self.folder(cell) / "lock"
        file = _lock(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if isinstance(error, BlockingIOError):
                return None
            raise _refused(path, error) from error
        with suppress(OSError):
            for torn in path.parent.glob(".*.????????"):  # by writers that were killed
                torn.unlink(missing_ok=True)
        return file

    def version(self, cell: Cell, /) -> tuple[int, int] | None:
        """Return what changes whenever a row of ``cell`` is written; None without one."""
        try:
            file = (self.folder(cell) / "row.json").stat()
        except OSError:
            return None
        return file.st_ino, file.st_mtime_ns

    def save(self, row: Row, /) -> None:
        """Write the one row of a cell."""
        write_text(self.folder(row.cell) / "row.json", row.to_json() + "\n")

    def known(self, cell: Cell, /) -> Row | None:
        """Return the row of ``cell``; None if there is none that can be read."""
        try:
            return self.load(cell)
        except StoreError:
            return None

    def load(self, cell: Cell, /) -> Row | None:
        """Return the row of ``cell``, or None if it never ended."""
        return row_at(self.folder(cell) / "row.json")

    def begun(self, suite: str, /) -> frozenset[str]:
        """Return the identities of cells that have a folder, maybe with a row in it.

        Raises:
            StoreError: If the disk refuses.
        """
        path = self.root / suite
        try:
            return frozenset(os.listdir(path))  # noqa: PTH208  names alone
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError as error:
            words = error.strerror or str(error)
            raise StoreError(f"cannot read {path}: {words}; choose another folder") from error

    def rows(self, suite: str, /, *, damaged: list[StoreError] | None = None) -> Iterator[Row]:
        """Yield every row of ``suite``, in the order of cell identities.

        Args:
            suite: Its name.
            damaged: Takes the errors of rows that cannot be read, which are raised otherwise.
        """
        for path in sorted((self.root / suite).glob("*/row.json")):
            try:
                row = row_at(path)
            except StoreError as error:
                if damaged is None:
                    raise
                damaged.append(error)
                continue
            if row is not None:
                yield row

    def keep_code(self, fingerprint: str, modules: Mapping[str, str], /) -> None:
        """Remember which modules, with which hashes, a fingerprint is of."""
        path = self._code_path(fingerprint)
        if not path.exists():
            write_json(path, dict(modules))

    def code(self, fingerprint: str, /) -> Mapping[str, str] | None:
        """Return what ``keep_code`` remembers, or None."""
        if not PLAIN_NAME.fullmatch(fingerprint):  # from a row that somebody edited
            return None
        return read_json(self._code_path(fingerprint))

    def _code_path(self, fingerprint: str) -> Path:
        return self.root / "code" / f"{fingerprint}.json"

    def point_to_teacher(self, dataset: str, model: str, weights_sha256: str, /) -> None:
        """Make this the imported teacher of ``dataset`` with topology ``model``."""
        write_json(self._pointer(dataset, model), {"weights_sha256": weights_sha256})

    def imported_teacher(self, dataset: str, model: str, /) -> str | None:
        """Return the hash of the weights of the teacher last imported, or None."""
        path = self._pointer(dataset, model)
        found = read_json(path)
        if found is not None and not isinstance(found.get("weights_sha256"), str):
            raise StoreError(f"{path} names no weights_sha256; delete it and import the teacher")
        return None if found is None else str(found["weights_sha256"])

    def _pointer(self, dataset: str, model: str) -> Path:
        return self.root / TEACHERS / f"imported-{dataset}-{model}.json"


def read_row(text: bytes, /) -> Row:
    """Return the row of one line.

    Raises:
        SpecError: If it is none; of a later schema, it says that alone.
    """
    try:
        row = Row.from_json(text)
    except SpecError:
        versions = [int(found) for found in _SCHEMA.findall(text)]
        if versions and versions[-1] > Row.schema_version:
            raise SpecError(
                f"a row of schema {versions[-1]}, and this version reads up to "
                f"{Row.schema_version}; update the harness"
            ) from None
        raise
    teacher = row.cell.teacher
    for seed in (row.cell.seed, None if teacher is None else teacher.seed):
        if seed is not None and not 0 <= seed < 2**32:
            raise SpecError(f"a seed must be in [0, 2**32), got {seed}")
    return row


_SCHEMA = re.compile(rb'"schema_version": ?([0-9]{1,9})\b')


def row_at(path: Path, /) -> Row | None:
    """Return the row in a file, or None if there is none.

    Raises:
        StoreError: If it holds none, or that of another cell than its folder is called after.
    """
    try:
        row = read_row(read_bytes(path, ROW_BYTES))
    except FileNotFoundError:
        return None
    except SpecError as error:
        raise StoreError(f"{path}: {error}; delete it to run its cell again") from error
    if row.cell_id != path.parent.name:
        raise StoreError(
            f"{path} is the row of another cell, {row.cell_id}; delete it to run this one again"
        )
    return row
