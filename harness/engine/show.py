"""What ``show`` tells of a cell or of a plug-in."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import discovery
from harness.contracts.errors import UnknownPluginError
from harness.engine import grid
from harness.store import Store


def about(name: str, /, *, runs: Path) -> dict[str, Any]:
    """Return everything known of ``name``, by column.

    Raises:
        UnknownPluginError: If neither a cell nor a plug-in is called so.
    """
    for folder in sorted(runs.glob(f"*/{name}")):
        for row in Store(runs).rows(folder.parent.name):
            if row.cell.cell_id == name:
                return {**row.columns(), "folder": str(folder)}
    kinds = [kind for kind in discovery.KINDS if name in discovery.names(kind)]
    if not kinds:
        everything = ", ".join(name for kind in discovery.KINDS for name in discovery.names(kind))
        raise UnknownPluginError(f"no cell under {runs} and no plug-in {name!r}: {everything}")
    told: dict[str, Any] = {"name": name}
    for kind in kinds:
        told |= {kind.removesuffix("s"): _described(kind, name)}
    return told


def _described(kind: discovery.Kind, name: str) -> dict[str, Any]:
    if kind == "methods":
        card = discovery.method_card(name)
        said = asdict(card) if card else {}
        return {**said, "params": discovery.method_parameters(name)}
    if kind == "suites":
        return asdict(grid.load_suite(name))
    if kind == "datasets":
        return asdict(grid.load_dataset(name).card)
    return {"file": discovery.module_of(kind, name)}
