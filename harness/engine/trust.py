"""How far a row is to be believed. The harness decides that, never the row. Imports no torch.

``here``: a run of this folder made it. ``published``: it stands under ``results/``, where people
looked at it. ``claimed``: it was merged from elsewhere. ``verified``: likewise, and this harness
held it to its predictions and computed some of these again from its weights, by code that means
the same (``harness.engine.verification``). What was merged says so in ``origin.json`` beside it,
which is about one row and no other: a run that makes the cell again makes it its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.values import from_json, to_plain, value
from harness.results import Trust
from harness.store import ROW_BYTES, Store, read_bytes, write_json

_ORIGIN = "origin.json"
_CHECKED, _REFUSED = "checked", "refused"
_TOLD = 300  # characters of why


@value
class Origin:
    """Where rows in a cell's folder were merged from.

    Attributes:
        sources: By the hash of a row's line, the folders and bundles that had it.
    """

    sources: dict[str, tuple[str, ...]]


def sha256_of(row: Row, /) -> str:
    """Return the hash of a row's line."""
    return hashlib.sha256(row.to_json().encode()).hexdigest()


def trust_of(store: Store, row: Row, /) -> Trust:
    """Return how far ``row``, which stands in ``store``, is to be believed."""
    try:
        if not sources_of(store, row):
            return "here"
    except StoreError:  # it is from somewhere
        return "claimed"
    return "verified" if _note(store, sha256_of(row)).exists() else "claimed"


def sources_of(store: Store, row: Row, /) -> tuple[str, ...]:
    """Return what ``row`` was merged from; nothing if a run of this folder made it.

    Raises:
        StoreError: If the note of it is damaged; names it.
    """
    known = _origin(store, row)
    return known.sources.get(sha256_of(row), ()) if known.sources else ()


def note_sources(
    store: Store, row: Row, sources: Iterable[str], /, *, beside: Row | None = None
) -> None:
    """Note what ``row`` is from, before it is saved itself and once more when it stands.

    As long as ``beside`` stands, what is known of that one is kept: whoever looks in between
    must not take it for one made here.
    """
    known = _origin(store, row).sources
    mine = sha256_of(row)
    told = {mine: tuple(sorted({*known.get(mine, ()), *sources}))}
    if beside is not None and (other := sha256_of(beside)) in known:
        told[other] = known[other]
    if told != known:
        write_json(store.folder(row.cell) / _ORIGIN, to_plain(Origin(sources=told)))


def _origin(store: Store, row: Row) -> Origin:
    path = store.folder(row.cell) / _ORIGIN
    try:
        return from_json(Origin, read_bytes(path, ROW_BYTES))
    except FileNotFoundError:
        return Origin(sources={})
    except SpecError as error:
        raise StoreError(f"{path}: {error}; delete {path.parent} and merge again") from error


def note_checked(store: Store, row: Row, samples: int, /) -> None:
    """Note that ``row`` was verified, on so many samples, whether it is in ``store`` yet or not."""
    sha256 = sha256_of(row)
    write_json(_note(store, sha256), {"cell_id": row.cell_id, "samples": samples})
    _note(store, sha256, _REFUSED).unlink(missing_ok=True)


def note_refused(store: Store, row: Row, why: str, /) -> None:
    """Note that what came with ``row`` contradicts it, whether it is in ``store`` yet or not."""
    sha256 = sha256_of(row)
    write_json(_note(store, sha256, _REFUSED), {"cell_id": row.cell_id, "why": why[:_TOLD]})
    _note(store, sha256).unlink(missing_ok=True)


def why_refused(store: Store, row: Row, /) -> str:
    """Return how ``verify`` found ``row`` contradicted; empty if it did not."""
    folder = store.root / _REFUSED
    if not folder.is_dir():  # a hash a row costs more than nothing
        return ""
    path = _note(store, sha256_of(row), _REFUSED)
    try:
        return f"`verify` refused it: {json.loads(read_bytes(path, ROW_BYTES))['why']}"
    except FileNotFoundError:
        return ""
    except (ValueError, LookupError, TypeError):
        return f"`verify` refused it, and {path} no longer says why"


def _note(store: Store, sha256: str, kind: str = _CHECKED) -> Path:
    return store.root / kind / f"{sha256}.json"
