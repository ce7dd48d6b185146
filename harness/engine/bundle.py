"""One file with the rows of a suite and all that speaks for them, to be sent to others.

A bundle is a plain zip: ``manifest.json``, ``rows.jsonl``, ``teachers.jsonl``, ``code.json``
(which modules a fingerprint is of), ``environment.json``, and what rows are held to:
``arrays/SHA256.npy`` and, if asked for, ``weights/SHA256.safetensors``, called after their
contents. Equal evidence gives equal bytes. Nothing in it is executed or unpickled, and no name
or length in it is believed. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

import harness
from harness import discovery, fingerprint
from harness.contracts.cell import TEACHERS
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.values import from_json, to_plain, value
from harness.engine import packed
from harness.engine.folder import (
    WEIGHTS_BYTES,
    Evidence,
    Folder,
    Teachers,
    contradicted,
    of_other_code,
    read_folder,
)
from harness.engine.packed import Arrays
from harness.engine.scoring import most_bytes
from harness.results import Code, code_of, code_text
from harness.store import ROW_BYTES, read_row, write_atomically

FORMAT: Final = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Plain = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,40}$")]
Number = Literal[
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]
_MANIFEST, _ROWS, _TEACHERS = "manifest.json", "rows.jsonl", "teachers.jsonl"
_CODE, _ENVIRONMENT = "code.json", "environment.json"
_TEXTS = (_ROWS, _TEACHERS, _CODE, _ENVIRONMENT)
_TEXT_BYTES = 2**28  # 25,000 of the rows that are here
_ARRAY_BYTES = 2**28
_TOGETHER_BYTES = 2**30
_WHOLE = np.dtype(np.int64)
_FORMAT = re.compile(rb'"format": ?([0-9]{1,9})\b')
_ADDRESSED = re.compile(r"arrays/[0-9a-f]{64}\.npy|weights/[0-9a-f]{64}\.safetensors")
_AGAIN = "ask whoever sent it for another"


@value
class Kept:
    """One array of a cell.

    Attributes:
        sha256: Of the member that holds it.
        dtype: That it had; the member has the smallest that is wide enough.
        minus: The array of the same cell that was subtracted from the last step, and each step
            from the one before, if one was: decisions hardly change, and end nearly as labels.
    """

    sha256: Sha256
    dtype: Number
    minus: Plain | None = None


@value
class Manifest:
    """What a bundle holds.

    Attributes:
        format: Of this layout.
        suite: Whose rows these are.
        texts: The SHA-256 of each member that is text.
        arrays: By cell and name.
        weights: The SHA-256 of each file of weights.
    """

    format: Literal[1]
    suite: str
    texts: dict[str, Sha256]
    arrays: dict[str, dict[Plain, Kept]]
    weights: tuple[Sha256, ...]

    def __post_init__(self) -> None:
        if odd := self.texts.keys() ^ set(_TEXTS):
            raise SpecError(f"Manifest.texts must be {', '.join(_TEXTS)}; wrong: {min(odd)[:100]}")


@value
class Environment:
    """Where a bundle was made; where its rows were made they say themselves.

    Attributes:
        harness: Its version.
        git_sha: Of the checkout.
        git_dirty: Whether it had changes.
        lock_sha: Of the lock file.
        os: Name and release.
        versions: Of Python and of the libraries whose arithmetic was used.
        processor: Its model and instruction sets.
    """

    harness: str
    git_sha: str | None = None
    git_dirty: bool | None = None
    lock_sha: str | None = None
    os: str
    versions: dict[str, str]
    processor: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that is open; see ``Evidence``.

    Attributes:
        path: Of the file.
        manifest: What it holds.
        environment: Where it was made.
    """

    path: Path
    manifest: Manifest
    environment: Environment
    rows: Mapping[str, Row]
    code: Code
    refused: tuple[str, ...] = ()
    _archive: zipfile.ZipFile = field(repr=False)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    def arrays(self, row: Row, /) -> Arrays | None:
        """Return predictions and labels of ``row``; None if they are not there."""
        kept = self.manifest.arrays.get(row.cell_id)
        if kept is None or row.metrics is None:
            return None
        try:
            return self._restored(row, kept)
        except SpecError as error:
            raise StoreError(
                f"{self.path}: predictions of cell {row.cell_id}: {error}; {_AGAIN}"
            ) from error

    def has_weights(self, row: Row, /) -> bool:
        """Return whether there is a file of weights of ``row``."""
        return row.provenance.weights_sha256 in self.manifest.weights

    def weights(self, row: Row, /) -> bytes | None:
        """Return the file of weights that ``row`` is about; None if it is not there."""
        sha256 = row.provenance.weights_sha256
        if sha256 is None or not self.has_weights(row):
            return None
        return _read(self.path, self._archive, _weights(sha256), sha256)

    def _restored(self, row: Row, kept: Mapping[str, Kept]) -> dict[str, NDArray[Any]]:
        """Return arrays as they were, the labels before what they were subtracted from."""
        found: dict[str, NDArray[Any]] = {}
        for name in sorted(kept, key=lambda name: kept[name].minus is not None):
            one, dtype = kept[name], np.dtype(kept[name].dtype)
            member = _array(one.sha256)
            array = packed.from_npy(_read(self.path, self._archive, member, one.sha256))
            if array.dtype.kind != dtype.kind:
                raise SpecError(f"{name} is to be {dtype}, and {member} has {array.dtype}")
            if array.size * dtype.itemsize > most_bytes(row):
                raise SpecError(f"{name} has {array.size} numbers, more than its row is about")
            found[name] = array.astype(dtype)
            if one.minus is not None:
                base = found.get(one.minus)
                if (
                    base is None
                    or base.shape != array.shape[1:]
                    or (dtype, base.dtype) != (_WHOLE,) * 2
                ):
                    raise SpecError(f"{name} has no {one.minus} of its shape beside it")
                found[name] = np.cumsum(found[name][::-1], axis=0)[::-1] + base
        return found


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was bundled.

    Attributes:
        path: Of the file.
        rows: Of the suite.
        teachers: That these name, and that were here.
        file_bytes: Of the file.
        refused: What was left out, and why.
    """

    path: Path
    rows: int
    teachers: int
    file_bytes: int
    refused: tuple[str, ...]


def write(suite: str, runs: Path, path: Path, /, *, weights: bool = False) -> Written:
    """Write the rows of ``suite`` under ``runs``, with what speaks for them, as one file.

    A row that cannot be read, or that its predictions contradict, is left out by name.

    Raises:
        StoreError: If there is no row, or the disk refuses.
    """
    if not runs.exists():
        raise StoreError(f"there is no folder {runs}, so no rows of {suite}; run it first")
    folder = read_folder(runs, suite=suite)
    refused, guides = list(folder.refused), Teachers.of(folder)
    rows = [
        row
        for row in folder.rows.values()
        if _is_sound(folder, row, guides, refused)
        and (not weights or _has_its_own(folder, row, refused))
    ]
    if not any(row.cell.suite == suite for row in rows):
        words = "; ".join(refused[:1]) or "run it first"
        raise StoreError(f"{runs} holds no rows of {suite} to be bundled; {words}")
    write_atomically(
        path, lambda file: _fill(zipfile.ZipFile(file, "w"), suite, folder, rows, weights=weights)
    )
    teachers = sum(row.cell.suite == TEACHERS for row in rows)
    return Written(
        path=path,
        rows=len(rows) - teachers,
        teachers=teachers,
        file_bytes=path.stat().st_size,
        refused=tuple(refused),
    )


def _is_sound(folder: Folder, row: Row, teachers: Teachers, refused: list[str]) -> bool:
    try:
        wrong = contradicted(folder, row, teachers)
    except StoreError as error:
        refused.append(str(error))
        return False
    if wrong:
        refused.append(f"{folder.root}: cell {row.cell_id}: {wrong}; run it again")
    return not wrong


def _has_its_own(folder: Folder, row: Row, refused: list[str]) -> bool:
    """Return whether the weights beside a row, if there are any, are those it is about."""
    try:
        folder.weights(row)
    except StoreError as error:
        refused.append(str(error))
        return False
    return True


def _fill(
    archive: zipfile.ZipFile, suite: str, folder: Folder, rows: list[Row], *, weights: bool
) -> None:
    rows = sorted(rows, key=lambda row: row.cell_id)
    members: dict[str, bytes] = {}
    arrays = {row.cell_id: kept for row in rows if (kept := _keep(folder, row, members))}
    held = [row for row in rows if weights and folder.has_weights(row)]
    texts = {
        _ROWS: _lines(row for row in rows if row.cell.suite != TEACHERS),
        _TEACHERS: _lines(row for row in rows if row.cell.suite == TEACHERS),
        _CODE: code_text(folder.code),
        _ENVIRONMENT: _json(_environment(rows)),
    }
    manifest = Manifest(
        format=FORMAT,
        suite=suite,
        texts={name: _sha256(text.encode()) for name, text in texts.items()},
        arrays=arrays,
        weights=tuple(sorted({str(row.provenance.weights_sha256) for row in held})),
    )
    with archive:
        packed.add(archive, _MANIFEST, _json(manifest).encode())
        for name, text in texts.items():
            packed.add(archive, name, text.encode())
        for name, content in sorted(members.items()):
            packed.add(archive, name, content)
        by_hash = {str(row.provenance.weights_sha256): row for row in held}
        for sha256, row in sorted(by_hash.items()):
            packed.add(archive, _weights(sha256), folder.weights(row) or b"", small=False)


def _keep(folder: Folder, row: Row, members: dict[str, bytes]) -> dict[str, Kept]:
    """Put the arrays of ``row`` among ``members``; return which they are."""
    arrays = folder.arrays(row) or {}
    kept = {}
    for name, array in arrays.items():
        minus = _base(name, arrays)
        content = packed.to_npy(_narrow(array if minus is None else _less(array, arrays[minus])))
        sha256 = _sha256(content)
        members[_array(sha256)] = content
        kept[name] = Kept(sha256=sha256, dtype=array.dtype.name, minus=minus)  # type: ignore[arg-type]  # checked when made
    return kept


def _base(name: str, arrays: Arrays) -> str | None:
    """Return what is subtracted from an array, so that it is mostly 0."""
    if name != "predictions" or "labels" not in arrays:
        return None
    ours, labels = arrays[name], arrays["labels"]
    alike = ours.dtype == labels.dtype == _WHOLE
    return "labels" if alike and ours.shape[1:] == labels.shape else None


def _less(steps: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return of every step what it is more than the next one, of which ``last`` is the last."""
    return -np.diff(steps, axis=0, append=last[None])


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest type that holds them."""
    if array.dtype.kind != "i" or not array.size:
        return array
    low, high = array.min(), array.max()
    kinds = [np.dtype(name) for name in ("int8", "int16", "int32", "int64")]
    fits = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return array.astype(next(fits))


def _environment(rows: list[Row]) -> Environment:
    simulators = sorted({row.cell.backend for row in rows if row.cell.backend})
    known = set(discovery.names("backends"))
    packages = [name for one in simulators if one in known for name in discovery.packages_of(one)]
    commit, dirty = fingerprint.git_state()
    return Environment(
        harness=harness.__version__,
        git_sha=commit,
        git_dirty=dirty,
        lock_sha=fingerprint.of_lock(),
        os=platform.platform(),
        versions=dict(fingerprint.versions(packages)),
        processor=dict(fingerprint.processor()),
    )


@contextmanager
def opened(path: Path, /) -> Iterator[Evidence]:
    """Open a bundle or a folder of runs.

    Raises:
        StoreError: If it is neither, or a bundle with anything wrong in it; names that.
    """
    if path.is_dir():
        yield read_folder(path)
        return
    if not path.exists():
        raise StoreError(f"there is no {path}; name a bundle's file or a folder of runs")
    try:
        archive = zipfile.ZipFile(path)
    except packed.UNREADABLE as error:
        raise StoreError(
            f"{path} is no bundle and no folder of runs: {packed.one_line(error)}; {_AGAIN}"
        ) from error
    with archive:
        yield _bundle(path, archive)


def _bundle(path: Path, archive: zipfile.ZipFile) -> Bundle:
    try:
        return _read_all(path, archive)
    except SpecError as error:
        raise StoreError(f"{path}: {error}; {_AGAIN}") from error


def _read_all(path: Path, archive: zipfile.ZipFile) -> Bundle:
    """Return what an archive holds.

    Raises:
        SpecError: Names what is wrong.
    """
    present = set(packed.members(archive, _most, together=_TOGETHER_BYTES))
    manifest = _manifest(path, archive)
    named = {_MANIFEST, *_TEXTS, *map(_weights, manifest.weights)}
    kept = [one for arrays in manifest.arrays.values() for one in arrays.values()]
    named |= {_array(one.sha256) for one in kept}
    if odd := sorted(named ^ present):
        raise SpecError(f"{odd[0]} {'is missing' if odd[0] in named else 'is not in its manifest'}")
    text = {name: _read(path, archive, name, manifest.texts[name]) for name in _TEXTS}
    rows = _rows(text[_ROWS], _ROWS, manifest.suite)
    rows |= _rows(text[_TEACHERS], _TEACHERS, TEACHERS)
    if unknown := sorted(manifest.arrays.keys() - rows.keys()):
        raise SpecError(f"{_MANIFEST} has predictions of {unknown[0][:100]!r}, which has no row")
    code = code_of(text[_CODE])
    if wrong := [fp for fp, modules in code.items() if of_other_code(fp, modules)]:
        raise SpecError(f"{_CODE}: the modules noted of code {wrong[0][:100]!r} are others")
    return Bundle(
        path=path,
        manifest=manifest,
        environment=from_json(Environment, text[_ENVIRONMENT]),
        rows=rows,
        code=code,
        _archive=archive,
    )


def _most(name: str) -> int:
    if name == _MANIFEST or name in _TEXTS:
        return _TEXT_BYTES
    if not _ADDRESSED.fullmatch(name):
        return 0
    return _ARRAY_BYTES if name.startswith("arrays/") else WEIGHTS_BYTES


def _manifest(path: Path, archive: zipfile.ZipFile) -> Manifest:
    if _MANIFEST not in archive.namelist():
        raise SpecError(f"it has no {_MANIFEST}, so it is no bundle")
    text = _read(path, archive, _MANIFEST, None)
    try:
        return from_json(Manifest, text)
    except SpecError:
        if (later := max(map(int, _FORMAT.findall(text)), default=0)) > FORMAT:
            raise SpecError(
                f"it is of format {later}, and this version reads {FORMAT}; update the harness"
            ) from None
        raise


def _read(path: Path, archive: zipfile.ZipFile, name: str, sha256: str | None) -> bytes:
    """Return a member, if it is the one that its hash says.

    Raises:
        StoreError: If it is not, or is damaged.
    """
    try:
        content = archive.read(name)
    except packed.UNREADABLE as error:
        raise StoreError(
            f"{path}: {name} is damaged: {packed.one_line(error)}; {_AGAIN}"
        ) from error
    if sha256 is not None and _sha256(content) != sha256:
        raise StoreError(f"{path}: {name} is not what its hash says; {_AGAIN}")
    return content


def _rows(text: bytes, name: str, suite: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > ROW_BYTES:
            raise SpecError(f"{name} line {number} has {len(line)} bytes, and no row has so many")
        try:
            row = read_row(line)
        except SpecError as error:
            raise SpecError(f"{name} line {number}: {error}") from None
        if row.cell.suite != suite:
            raise SpecError(f"{name} line {number} is of suite {row.cell.suite[:100]!r}")
        if found.setdefault(row.cell_id, row) is not row:
            raise SpecError(f"{name} line {number}: cell {row.cell_id} has a row already")
    return found


def _lines(rows: Any) -> str:
    return "".join(f"{row.to_json()}\n" for row in rows)


def _json(made: Any) -> str:
    plain: JsonValue = to_plain(made)
    return json.dumps(plain, sort_keys=True, allow_nan=False) + "\n"


def _array(sha256: str) -> str:
    return f"arrays/{sha256}.npy"


def _weights(sha256: str) -> str:
    return f"weights/{sha256}.safetensors"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
