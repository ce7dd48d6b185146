"""Which moved code was proved to mean the same: one line a stage and fingerprint.

A line says that code with this fingerprint gave the canaries listed, each named after what
the row itself holds. So no chain of proofs can drift away from a row. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row, Stage
from harness.contracts.values import from_json, to_plain, value
from harness.store import read_bytes, write_text

Kind = TypeVar("Kind")
FILE = "verified.jsonl"
_MOST_BYTES = 2**28
PARTS: Mapping[Stage, tuple[str, ...]] = {
    "train": ("losses", "weights"),
    "measure": ("logits", "elsewhere", "counts", "metrics"),
}


@value
class Proof:
    """One computation that came out the same.

    Attributes:
        stage: Of which the canaries were compared.
        fingerprint: Of the code that ran.
        versions: Of the libraries that it ran on.
        canaries: Names of what rows hold, and the code gave again.
    """

    stage: Stage
    fingerprint: str
    versions: dict[str, str | None]
    canaries: tuple[str, ...]


@dataclass(frozen=True)
class Verified:
    """All proofs there are."""

    proofs: tuple[Proof, ...] = ()

    def holds(self, row: Row, stage: Stage, fingerprint: str) -> bool:
        """Return whether code with ``fingerprint`` was proved to mean what made ``row``."""
        proved = self._by_code.get((stage, fingerprint))
        return proved is not None and key_of(row, stage) in proved

    def covers(self, row: Row, versions: Mapping[str, str | None]) -> bool:
        """Return whether every stage of ``row`` was proved on libraries of ``versions``."""
        ran = frozenset(versions.items())
        return all(key_of(row, stage) in self._by_versions.get((stage, ran), ()) for stage in PARTS)

    @cached_property
    def _by_code(self) -> Mapping[tuple[Stage, str], set[str]]:
        """The canaries by what is asked of thousands of rows."""
        return _canaries((one.stage, one.fingerprint, one) for one in self.proofs)

    @cached_property
    def _by_versions(self) -> Mapping[tuple[Stage, frozenset[Any]], set[str]]:
        return _canaries((one.stage, frozenset(one.versions.items()), one) for one in self.proofs)


def _canaries(
    proofs: Iterable[tuple[Stage, Kind, Proof]], /
) -> Mapping[tuple[Stage, Kind], set[str]]:
    found: dict[tuple[Stage, Kind], set[str]] = {}
    for stage, ran, proof in proofs:
        found.setdefault((stage, ran), set()).update(proof.canaries)
    return found


def key_of(row: Row, stage: Stage, /) -> str:
    """Return the name of what the canary of ``row`` holds of ``stage``, or of why it has none."""
    parts = [getattr(row.canary, name, row.error) for name in PARTS[stage]]
    plain = [sorted(part.items()) if isinstance(part, dict) else part for part in parts]
    return hashlib.sha256(repr((row.cell_id, plain)).encode()).hexdigest()[:12]


def read(*folders: Path) -> Verified:
    """Return the proofs noted in ``folders``.

    Raises:
        StoreError: If a file is damaged; names it and the line.
    """
    return Verified(tuple(proof for folder in folders for proof in _proofs(folder / FILE)))


def write(folder: Path, proofs: Iterable[Proof], /) -> Path:
    """Note ``proofs``, those of one computation together on one line; return the file."""
    together: dict[str, set[str]] = {}
    for proof in proofs:
        ran = to_plain(proof) | {"canaries": []}
        together.setdefault(json.dumps(ran, sort_keys=True), set()).update(proof.canaries)
    lines = (
        json.dumps(json.loads(ran) | {"canaries": sorted(keys)}, sort_keys=True)
        for ran, keys in sorted(together.items())
    )
    write_text(folder / FILE, "".join(f"{line}\n" for line in lines))
    return folder / FILE


def renewed(before: Iterable[Proof], now: Sequence[Proof], /) -> Iterator[Proof]:
    """Yield ``now``, and of ``before`` what it does not prove of later code anew.

    Fresh is what today's code was proved to mean; what an older one meant on the same libraries
    tells nothing more.
    """
    again = {_on(proof, canary) for proof in now for canary in proof.canaries}
    for proof in before:
        if kept := tuple(canary for canary in proof.canaries if _on(proof, canary) not in again):
            yield replace(proof, canaries=kept)
    yield from now


def _on(proof: Proof, canary: str) -> tuple[Stage, frozenset[Any], str]:
    return proof.stage, frozenset(proof.versions.items()), canary


def _proofs(path: Path) -> Iterable[Proof]:
    try:
        lines = read_bytes(path, _MOST_BYTES).splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        try:
            yield from_json(Proof, line)
        except SpecError as error:
            raise StoreError(f"{path} line {number}: {error}; delete the line") from error
