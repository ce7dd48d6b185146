"""What ``show`` tells of a cell or of a plug-in."""

import difflib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import discovery, energy, results
from harness.contracts.errors import UnknownPluginError
from harness.contracts.row import Row
from harness.data import catalogue
from harness.engine import grid
from harness.store import row_at


def about(name: str, /, *, runs: Path, published: Path) -> dict[str, Any]:
    """Return everything known of ``name``, by column.

    Raises:
        UnknownPluginError: If no cell, plug-in or energy model is called so.
    """
    found = find(name, runs=runs, published=published)
    if found is not None:
        return dict(json.loads(found.to_json()))
    told: dict[str, Any] = {"name": name}
    if name in energy.model_names():
        return told | {"energy": energy.described(name)}
    kinds = [kind for kind in discovery.KINDS if name in discovery.names(kind)]
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


def find(cell_id: str, /, *, runs: Path, published: Path) -> Row | None:
    """Return the row of that name, made here or else published, or None."""
    for folder in sorted(runs.glob("*/*")):
        if folder.name == cell_id and (row := row_at(folder / "row.json")):
            return row
    for suite in discovery.names("suites"):
        there = results.published(suite, results=published, strict=False)
        if found := there.rows.get(cell_id) or there.teachers.get(cell_id):
            return found
    return None


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
