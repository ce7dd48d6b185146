"""Published rows: what ``results/`` holds, for the engine and for notebooks.

>>> from harness import results
>>> rows = results.load("digits")  # doctest: +SKIP
>>> rows.groupby(["method", "timesteps"])["test_accuracy"].mean()  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.values import to_plain
from harness.store import read_json, write_text

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path("results")
Code = Mapping[str, Mapping[str, str]]  # by fingerprint, modules with their hashes
_TEACHERS = "teachers.jsonl"
_CODE = "code.json"
_COUNTED = ("spikes_per_sample", "firing_rate", "acs_per_sample", "macs_per_sample", "dense_macs")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is published of one suite.

    Attributes:
        rows: By ``cell_id``.
        teachers: Likewise, of the teachers that these rows name.
        code: By fingerprint, the modules it is of with their hashes.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    teachers: Mapping[str, Row] = field(default_factory=dict)
    code: Code = field(default_factory=dict)


def published(suite: str, /, *, results: Path = RESULTS) -> Published:
    """Return what ``results`` holds of ``suite``; nothing if it holds nothing.

    Raises:
        StoreError: If a file is damaged; names it and the line.
    """
    folder = results / suite
    files = [path for path in sorted(folder.glob("*.jsonl")) if path.name != _TEACHERS]
    return Published(
        rows=_by_id(files), teachers=_by_id([folder / _TEACHERS]), code=_code(folder / _CODE)
    )


def write(
    folder: Path, before: Published, rows: Iterable[Row], teachers: Iterable[Row], code: Code, /
) -> list[Path]:
    """Write rows, a file each method, with their teachers and code; return the paths.

    A file of just those rows that ``before`` holds of its method is left as it is.
    """
    standing: dict[str, set[int]] = {}
    for row in before.rows.values():
        standing.setdefault(f"{row.cell.method}.jsonl", set()).add(id(row))
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(f"{row.cell.method}.jsonl", []).append(row)
    by_name[_TEACHERS] = list(teachers)
    for name, ours in by_name.items():
        if (folder / name).exists() and {*map(id, ours)} == standing.get(name):
            continue
        write_text(folder / name, "".join(f"{row.to_json()}\n" for row in ours))
    write_text(folder / _CODE, _code_text(code))
    return [folder / name for name in (*by_name, _CODE)]


def load(suite: str, /, *, results: Path = RESULTS) -> pd.DataFrame:
    """Return the published rows of ``suite``, one a cell, as flat columns.

    Columns are the fields of cell, metrics and provenance under their own names, the recipe's
    and neuron's as ``recipe.epochs``, and what follows from the counts: ``spikes_per_sample``,
    ``acs_per_sample``, ``macs_per_sample``, ``firing_rate``.

    Raises:
        SpecError: If nothing is published of it.
    """
    import pandas as pd

    found = published(suite, results=results).rows
    if not found:
        raise SpecError(f"nothing is published of {suite!r} in {results}")
    return pd.DataFrame([_flat(row) for row in found.values()])


def _flat(row: Row) -> dict[str, Any]:
    plain = to_plain(row)
    cell, metrics, made = plain["cell"], plain["metrics"] or {}, plain["provenance"]
    nested = {
        f"{part}.{name}": value
        for part in ("recipe", "neuron", "teacher")
        for name, value in (cell.pop(part) or {}).items()
    }
    head = {"cell_id": row.cell_id, "status": row.status, "error": row.error}
    counted = {} if row.ledger is None else {name: getattr(row.ledger, name) for name in _COUNTED}
    columns: dict[str, Any] = head | cell | nested | metrics | counted | made
    return columns


def _by_id(files: Iterable[Path]) -> dict[str, Row]:
    rows = (row for path in files if path.exists() for row in _rows(path))
    return {row.cell_id: row for row in rows}


def _rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            yield Row.from_json(line)
        except SpecError as error:
            raise StoreError(f"{path} line {number}: {error}") from error


def _code_text(code: Code) -> str:
    """Return each module's hash once, and each fingerprint as places in that list."""
    known = sorted(
        {f"{name} {digest}" for modules in code.values() for name, digest in modules.items()}
    )
    places = {text: place for place, text in enumerate(known)}
    lists = {
        fp: [places[f"{name} {digest}"] for name, digest in modules.items()]
        for fp, modules in sorted(code.items())
    }
    return json.dumps({"modules": known, "fingerprints": lists}, separators=(",", ":")) + "\n"


def _code(path: Path) -> dict[str, dict[str, str]]:
    found = read_json(path) or {"modules": [], "fingerprints": {}}
    known = [tuple(text.split(" ")) for text in found["modules"]]
    return {
        fp: dict(known[place] for place in places) for fp, places in found["fingerprints"].items()
    }
