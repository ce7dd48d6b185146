"""A folder of runs as evidence: rows, what bears them out, and the code that made them.

Nothing in it is believed: what cannot be read, or contradicts itself, is refused by name, and
no link leads out of it. Imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from harness import fingerprint
from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import StoreError
from harness.contracts.row import Row
from harness.engine import scoring
from harness.engine.packed import Arrays
from harness.engine.teachers import WEIGHTS, cell_of
from harness.results import Code
from harness.store import PLAIN_NAME, PREDICTIONS, Store, read_bytes, row_at

WEIGHTS_BYTES = 2**33


class Evidence(Protocol):
    """Rows from somewhere with all that speaks for them."""

    @property
    def name(self) -> str:
        """Where they are from, for people."""
        ...

    @property
    def rows(self) -> Mapping[str, Row]:
        """The rows by cell, teachers among them."""
        ...

    @property
    def code(self) -> Code:
        """By fingerprint, the modules it is of with their hashes."""
        ...

    @property
    def refused(self) -> tuple[str, ...]:
        """What was left out, each with its file and what is wrong with it."""
        ...

    def arrays(self, row: Row, /) -> Arrays | None:
        """Return predictions and labels of ``row``; None if they are not there.

        Raises:
            StoreError: If they cannot be read; names them.
        """
        ...

    def has_weights(self, row: Row, /) -> bool:
        """Return whether there is a file of weights of ``row``."""
        ...

    def weights(self, row: Row, /) -> bytes | None:
        """Return the file of weights that ``row`` is about; None if it is not there.

        Raises:
            StoreError: If it is another; names it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that runs wrote, and maybe somebody else edited; see ``Evidence``."""

    root: Path
    rows: Mapping[str, Row]
    code: Code
    refused: tuple[str, ...]
    _inside: Path = field(repr=False)

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.root)

    def arrays(self, row: Row, /) -> Arrays | None:
        """Return predictions and labels of ``row``; None if they are not there."""
        path = _kept_in(self._inside, Store(self.root).folder(row.cell) / PREDICTIONS)
        return scoring.arrays_in(path, row) if row.metrics else None

    def has_weights(self, row: Row, /) -> bool:
        """Return whether there is a file of weights of ``row``."""
        return bool(row.metrics) and (Store(self.root).folder(row.cell) / WEIGHTS).is_file()

    def weights(self, row: Row, /) -> bytes | None:
        """Return the file of weights that ``row`` is about; None if it is not there."""
        path = _kept_in(self._inside, Store(self.root).folder(row.cell) / WEIGHTS)
        try:
            content = read_bytes(path, WEIGHTS_BYTES) if row.metrics else None
        except FileNotFoundError:
            return None
        told = row.provenance.weights_sha256
        if content is not None and hashlib.sha256(content).hexdigest() != told:
            raise StoreError(
                f"{path} holds other weights than its row is about (SHA-256 {told}); delete "
                f"{path.parent} and run its cell again"
            )
        return content


def read_folder(root: Path, /, *, suite: str | None = None) -> Folder:
    """Return the evidence in a folder of runs, of one suite and its teachers or of all.

    Raises:
        StoreError: If it is no folder, or one of published rows.
    """
    if not root.is_dir():
        raise StoreError(f"{root} is no folder of runs; name one, or the file of a bundle")
    if _is_published(root):
        raise StoreError(
            f"{root} holds published rows, which travel by git; `reverify` and `reproduce` check "
            "them; here a folder of runs is wanted"
        )
    store, refused = Store(root), list[str]()
    names = _suites(root) if suite is None else (suite, TEACHERS)
    rows = {row.cell_id: row for name in names for row in _rows(store, name, refused)}
    if suite is not None:
        named = {cell_of(row.cell.teacher).cell_id for row in rows.values() if row.cell.teacher}
        rows = {key: row for key, row in rows.items() if row.cell.suite == suite or key in named}
    code = dict(_code(store, rows.values(), refused))
    return Folder(root=root, rows=rows, code=code, refused=tuple(refused), _inside=root.resolve())


class Teachers:
    """Teachers from one place with their predictions, each read once."""

    def __init__(
        self, row_of: Callable[[Cell], Row | None], arrays_of: Callable[[Row], Arrays | None], /
    ) -> None:
        """Take what finds the row of a teacher, and the predictions beside it."""
        self._row_of = cache(lambda identity: row_of(cell_of(identity)))
        self._arrays_of = cache(
            lambda identity: arrays_of(row) if (row := self._row_of(identity)) else None
        )

    @staticmethod
    def of(evidence: Evidence, /) -> Teachers:
        """Return those that came with ``evidence``."""
        return Teachers(lambda cell: evidence.rows.get(cell.cell_id), evidence.arrays)

    def contradiction(self, row: Row, arrays: Arrays, /) -> str | None:
        """Return how predictions contradict ``row``, by themselves or beside its teacher's.

        Raises:
            StoreError: If the teacher's predictions cannot be read.
        """
        if wrong := scoring.contradiction(row, arrays):
            return wrong
        identity = row.cell.teacher
        teacher = identity and self._row_of(identity)
        if not teacher or teacher.provenance.weights_sha256 != row.provenance.teacher_sha256:
            return None
        reference = self._arrays_of(identity)
        return None if reference is None else scoring.disagreement(row, arrays, teacher, reference)


def contradicted(evidence: Evidence, row: Row, teachers: Teachers, /) -> str | None:
    """Return how what lies beside ``row``, or beside one of its ``teachers``, contradicts it.

    Raises:
        StoreError: If that cannot be read.
    """
    if row.metrics is None or row.cell.judged != "test":
        return None
    arrays = evidence.arrays(row)
    return None if arrays is None else teachers.contradiction(row, arrays)


def of_other_code(fp: str, modules: Mapping[str, object], /) -> bool:
    """Return whether ``modules`` are not those that a fingerprint is of."""
    plain = {name: digest for name, digest in modules.items() if isinstance(digest, str)}
    return len(plain) != len(modules) or fingerprint.of_closure(plain) != fp


def _suites(root: Path) -> Iterator[str]:
    """Yield the suites that have rows; teachers are one."""
    for folder in sorted(root.iterdir()):
        if PLAIN_NAME.fullmatch(folder.name) and any(folder.glob("*/row.json")):
            yield folder.name


def _is_published(root: Path) -> bool:
    """Return whether rows stand in ``root`` as ``publish`` writes them, and none as runs do."""
    published = (root / "code.json").exists() or any(root.glob("*/code.json"))
    return published and not any(_suites(root))


def _rows(store: Store, suite: str, refused: list[str]) -> Iterator[Row]:
    inside = store.root.resolve()
    for path in sorted((store.root / suite).glob("*/row.json")):
        try:
            _kept_in(inside, path)
            row = row_at(path)
        except StoreError as error:
            refused.append(str(error))
            continue
        if row is None or row.status == "machine":
            continue
        if row.cell.suite != suite:
            refused.append(
                f"{path} is a row of suite {row.cell.suite[:100]!r}, not of {suite}; delete it"
            )
            continue
        yield row


def _kept_in(inside: Path, path: Path) -> Path:
    """Return ``path`` unless a link on it leads out of the folder.

    Raises:
        StoreError: If one does.
    """
    if not path.resolve().is_relative_to(inside):
        raise StoreError(f"{path} leads out of {inside}, and links are not followed; copy the file")
    return path


def _code(
    store: Store, rows: Iterable[Row], refused: list[str]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the modules of each fingerprint that ``rows`` carry, where they are known."""
    made = [row.provenance for row in rows]
    for fp in sorted({fp for one in made for fp in (one.train_fp, one.measure_fp) if fp}):
        try:
            modules = store.code(fp)
        except StoreError as error:
            refused.append(str(error))
            continue
        if modules is not None and of_other_code(fp, modules):
            refused.append(f"{store.root}: the modules noted of code {fp} are others; delete them")
        elif modules is not None:
            yield fp, modules
