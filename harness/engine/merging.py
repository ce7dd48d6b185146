"""Rows of other machines, brought into a folder of runs. Imports no torch.

What is brought in depends on what there is, not on its order: of rows of one cell that say the
same the one of this folder stands, else one with weights, else the earliest. Rows that say
other numbers are a conflict: then nothing is brought in. A cell's row is written last, so that
a merge which is cut off has whole cells, and the same command goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.contracts.cell import TEACHERS, Cell
from harness.contracts.errors import StoreError
from harness.contracts.row import Row
from harness.contracts.values import to_plain
from harness.engine import packed, trust
from harness.engine.compare import unlike
from harness.engine.folder import Evidence, Teachers, contradicted
from harness.engine.teachers import WEIGHTS
from harness.report._words import visible
from harness.store import CHECKPOINT, PREDICTIONS, Store, write_bytes

_FIGURES = 3  # of those that differ, so many are shown


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A row of a cell, from somewhere.

    Attributes:
        row: What it says.
        place: Where it is, for people.
        source: What it is from; None if it stands in the folder that is merged into.
        own: Whether a run of that folder made it.
        weights: Whether the weights that it is about are there.
    """

    row: Row
    place: str
    source: Evidence | None
    own: bool
    weights: bool

    def rank(self) -> tuple[object, ...]:
        """Return what says which of rows with the same numbers stands: the least."""
        made = self.row.provenance.ended_at or "~"
        return not self.own, not self.weights, made, self.row.to_json(), self.source is not None


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two rows of one cell that say other numbers."""

    first: Candidate
    second: Candidate

    def lines(self) -> Iterator[str]:
        """Yield both, a line each, and what to do."""
        ours, theirs = self.first.row, self.second.row
        yield visible(f"conflict: cell {ours.cell_id} {ours.cell.label}")
        names = differing(ours, theirs)
        for one in (self.first, self.second):
            said, made = _said(one.row, names), one.row.provenance
            yield visible(
                f"  {said}: {one.place}, made {made.ended_at or 'at an unknown time'} "
                f"on {made.gpu or made.cpu or 'an unknown machine'} "
                f"(code {made.train_fp or 'unknown'})"
            )


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What came of a merge.

    Attributes:
        added: Rows that were brought in.
        replaced: Likewise, in the place of one without numbers, or of an equal one.
        same: Rows of the folder that stand, since the others say the same or nothing.
        conflicts: If there are any, nothing was brought in.
        busy: Rows that were left, since a run has their cell or changed it meanwhile.
        refused: What was left out, with what is wrong with it.
    """

    added: list[Row] = field(default_factory=list)
    replaced: list[Row] = field(default_factory=list)
    same: list[Row] = field(default_factory=list)
    conflicts: tuple[Conflict, ...] = ()
    busy: list[Row] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def merge(sources: Sequence[Evidence], runs: Path, /) -> Merged:
    """Bring the rows of ``sources``, with what speaks for them, into ``runs``.

    Raises:
        StoreError: If the disk refuses.
    """
    store, merged = Store(runs), Merged()
    found = _found(sources, store, merged.refused)
    rivals = {cell_id: _ranked(each) for cell_id, each in found.items()}
    conflicts = [one for each in rivals.values() if (one := _conflict(each))]
    if conflicts:
        return replace(merged, conflicts=tuple(conflicts))
    for source in sources:
        for fingerprint, modules in source.code.items():
            store.keep_code(fingerprint, modules)
    for cell_id, each in rivals.items():
        here = next((one for one in found[cell_id] if one.source is None), None)
        _settle(store, each[0], here, each, merged)
    return merged


def differing(ours: Row, theirs: Row, /) -> list[str]:
    """Return the names of what two rows of a cell say differently, times apart.

    Teachers of other weights are other teachers, whatever their numbers.
    """
    names = unlike(ours, theirs)
    weights = {ours.provenance.weights_sha256, theirs.provenance.weights_sha256}
    return [*names, "weights_sha256"] if ours.cell.suite == TEACHERS and len(weights) > 1 else names


def _found(
    sources: Sequence[Evidence], store: Store, refused: list[str]
) -> dict[str, list[Candidate]]:
    """Return, by cell of any source, all rows of it; the order of cells is always the same."""
    found: dict[str, list[Candidate]] = {}
    for source in sources:
        refused += source.refused
        teachers = Teachers.of(source)
        for row in source.rows.values():
            if (one := _candidate(source, row, teachers, store, refused)) is not None:
                found.setdefault(row.cell_id, []).append(one)
    for cell_id in sorted(found):
        try:
            here = _here(store, found[cell_id][0].row)
        except StoreError as error:
            refused.append(str(error))
            del found[cell_id]
            continue
        found[cell_id] += [] if here is None else [here]
    return dict(sorted(found.items()))


def _candidate(
    source: Evidence, row: Row, teachers: Teachers, store: Store, refused: list[str]
) -> Candidate | None:
    if row.status == "machine":  # says nothing of its cell
        return None
    try:
        wrong = contradicted(source, row, teachers) or trust.why_refused(store, row)
        weights = source.has_weights(row)
    except StoreError as error:
        refused.append(str(error))
        return None
    if wrong:
        refused.append(f"{source.name}: cell {row.cell_id} {row.cell.label}: {wrong}; leave it out")
        return None
    return Candidate(row=row, place=source.name, source=source, own=False, weights=weights)


def _here(store: Store, of: Row) -> Candidate | None:
    row = _standing(store, of.cell)
    if row is None:
        return None
    return Candidate(
        row=row,
        place=str(store.root),
        source=None,
        own=not trust.sources_of(store, row),
        weights=(store.folder(row.cell) / WEIGHTS).exists(),
    )


def _ranked(candidates: list[Candidate]) -> list[Candidate]:
    """Return those with numbers, if there is one, else all; the one that stands first."""
    scored = [one for one in candidates if one.row.metrics] or candidates
    return scored if len(scored) == 1 else sorted(scored, key=Candidate.rank)


def _conflict(ranked: list[Candidate]) -> Conflict | None:
    first, *others = ranked
    if first.row.metrics is None:
        return None
    wrong = (one for one in others if differing(first.row, one.row))
    return next((Conflict(first=first, second=one) for one in wrong), None)


def _settle(
    store: Store, best: Candidate, here: Candidate | None, rivals: list[Candidate], merged: Merged
) -> None:
    """Let the best of ``rivals`` stand in ``store``, and tell ``merged`` what came of it."""
    if best.source is None and best.own:
        merged.same.append(best.row)
        return
    before = None if here is None else here.row
    places = {one.place for one in rivals if one.source is not None and one.row == best.row}
    with _held(store, best.row.cell) as held:
        if not held or _standing(store, best.row.cell) != before:
            merged.busy.append(best.row)
        elif best.source is None:
            trust.note_sources(store, best.row, places)
            merged.same.append(best.row)
        elif wrong := _bring_in(store, best.row, best.source, places, before):
            merged.refused.append(wrong)
        else:
            came = merged.added if before is None else merged.replaced
            (merged.same if before == best.row else came).append(best.row)


@contextmanager
def _held(store: Store, cell: Cell) -> Iterator[bool]:
    """Keep runs from ``cell``; yield whether that was possible."""
    lock = store.claim(cell)
    if lock is None:
        yield False
        return
    with lock:
        yield True


def _standing(store: Store, cell: Cell) -> Row | None:
    row = store.load(cell)
    return None if row is None or row.status == "machine" else row


def _bring_in(
    store: Store, row: Row, source: Evidence, places: set[str], before: Row | None
) -> str | None:
    """Write ``row`` and what speaks for it, itself last; return what is wrong, if anything is."""
    try:
        arrays, weights = source.arrays(row), source.weights(row)
    except StoreError as error:
        return str(error)
    folder = store.folder(row.cell)
    _write(folder / PREDICTIONS, None if arrays is None else packed.to_npz(arrays))
    _write(folder / WEIGHTS, weights)
    trust.note_sources(store, row, places, beside=before)
    store.save(row)
    trust.note_sources(store, row, places)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return None


def _write(path: Path, content: bytes | None) -> None:
    """Let a file have this content, or not be there: it is of another row."""
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, content)


def _said(row: Row, names: Sequence[str]) -> str:
    """Return what a row says of ``names``, the first few."""
    plain = to_plain(row)
    metrics = plain["metrics"] or {}
    told = [f"{name} {_short(row, metrics, name)}" for name in names[:_FIGURES]]
    more = len(names) - _FIGURES
    return ", ".join([*told, *([f"and {more} more"] if more > 0 else [])])


def _short(row: Row, metrics: Mapping[str, Any], name: str) -> str:
    if name == "ledger":
        return "without counts" if row.ledger is None else f"{row.ledger.total.spikes} spikes"
    if name == "weights_sha256":
        return str(row.provenance.weights_sha256)[:12]
    return str(metrics.get(name))[:60]
