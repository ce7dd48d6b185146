"""What ``show`` tells machines of a cell or of a plug-in, and where it finds them."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import discovery, energy, results
from harness.contracts.errors import StoreError, UnknownPluginError
from harness.contracts.row import Row
from harness.data import catalogue
from harness.engine import grid
from harness.store import row_at


def about(name: str, /, *, runs: Path, published: Path) -> dict[str, Any]:
    """Return everything known of ``name``, by column: of a cell, how its identity begins is enough.

    Raises:
        UnknownPluginError: If no cell, plug-in or energy model is called so.
        StoreError: If several cells begin so.
    """
    found = meant(name, runs=runs, published=published)
    if found is not None:
        return dict(json.loads(found.to_json()))
    return named(name, runs=runs, published=published)


def meant(name: str, /, *, runs: Path, published: Path) -> Row | None:
    """Return the row of the cell that ``name`` means; None if something else is called so.

    Raises:
        StoreError: If several cells begin so.
    """
    if _kinds(name) or name in energy.model_names():
        return None
    return find(name, runs=runs, published=published)


def named(name: str, /, *, runs: Path, published: Path) -> dict[str, Any]:
    """Return what the plug-ins, or the energy model, of that name say of themselves, by kind.

    Raises:
        UnknownPluginError: If nothing is called so, nor a cell under ``runs`` or ``published``.
    """
    told: dict[str, Any] = {"name": name}
    if name in energy.model_names():
        return told | {"energy": energy.described(name)}
    kinds = _kinds(name)
    if not kinds:
        plugins = {name for kind in discovery.KINDS for name in discovery.names(kind)}
        near = difflib.get_close_matches(name, sorted(plugins.union(energy.model_names())), n=3)
        raise UnknownPluginError(
            f"no cell under {runs} or {published} and no plug-in or energy model {name!r}; "
            + (f"did you mean {' or '.join(near)}?" if near else "`list` has their names")
        )
    for kind in kinds:
        told |= {kind.removesuffix("s"): _described(kind, name)}
    return told


def _kinds(name: str) -> list[discovery.Kind]:
    return [kind for kind in discovery.KINDS if name in discovery.names(kind)]


def known(name: str, /, *, runs: Path, published: Path) -> Row:
    """Return the row of the cell ``name``, or of the only one whose identity begins so.

    Raises:
        StoreError: If there is none, or several begin so.
    """
    row = find(name, runs=runs, published=published)
    if row is None:
        raise StoreError(f"no row {name!r} under {runs} or {published}; `plan` lists them")
    return row


def find(name: str, /, *, runs: Path, published: Path) -> Row | None:
    """Return what ``known`` does, made here or else published; None if there is no such row.

    Raises:
        StoreError: If several cells begin so, or the row cannot be read.
    """
    made = {path.parent.name: path for path in sorted(runs.glob("*/*/row.json"), reverse=True)}
    if name in made:
        return row_at(made[name])
    begun: dict[str, Row] = {}
    for suite in discovery.names("suites"):
        there = results.published(suite, results=published, strict=False, saying=name)
        rows = {**there.teachers, **there.rows}
        if name in rows:
            return rows[name]
        begun |= {identity: row for identity, row in rows.items() if identity.startswith(name)}
    identity = beginning(name, made.keys() | begun.keys())
    if identity in made:
        return row_at(made[identity])
    return None if identity is None else begun[identity]


def beginning(start: str, identities: Iterable[str], /) -> str | None:
    """Return the one of ``identities`` that begins with ``start``; None if none does.

    Raises:
        StoreError: If several do; names two.
    """
    found = sorted({one for one in identities if start and one.startswith(start)})
    if len(found) > 1:
        raise StoreError(
            f"{len(found)} cells begin with {start!r}, {found[0]} and {found[1]} among them; "
            "write more of it"
        )
    return found[0] if found else None


def _described(kind: discovery.Kind, name: str) -> dict[str, Any]:
    if kind == "methods":
        card = discovery.method_card(name)
        said = asdict(card) if card else {}
        return {**said, "params": discovery.method_parameters(name)}
    if kind == "suites":
        return asdict(grid.load_suite(name))
    if kind == "datasets":
        return asdict(catalogue.load(name).card)
    return {"file": discovery.module_of(kind, name)}
