"""Published rows: what ``results/`` holds, for the engine and for notebooks.

>>> from harness import results
>>> rows = results.load("digits")  # doctest: +SKIP
>>> rows.groupby(["method", "timesteps"])["test_accuracy"].mean()  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.tuning import Tuning
from harness.contracts.values import from_json, to_plain
from harness.store import read_json, write_text

if TYPE_CHECKING:
    import pandas as pd

Kind = TypeVar("Kind")
RESULTS = Path("results")
Code = Mapping[str, Mapping[str, str]]  # by fingerprint, modules with their hashes
_TEACHERS = "teachers.jsonl"
_CODE = "code.json"
_TUNING = "tuning.jsonl"
_COUNTED = ("spikes_per_sample", "firing_rate", "acs_per_sample", "macs_per_sample", "dense_macs")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is published of one suite.

    Attributes:
        rows: By ``cell_id``.
        teachers: Likewise, of the teachers that these rows name.
        code: By fingerprint, the modules it is of with their hashes.
        tunings: What was chosen by trials, one a method, model and recipe.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    teachers: Mapping[str, Row] = field(default_factory=dict)
    code: Code = field(default_factory=dict)
    tunings: tuple[Tuning, ...] = ()


def published(suite: str, /, *, results: Path = RESULTS) -> Published:
    """Return what ``results`` holds of ``suite``; nothing if it holds nothing.

    Raises:
        StoreError: If a file is damaged; names it and the line.
    """
    folder = results / suite
    others = {_TEACHERS, _TUNING}
    files = [path for path in sorted(folder.glob("*.jsonl")) if path.name not in others]
    return Published(
        rows=_by_id(files),
        teachers=_by_id([folder / _TEACHERS]),
        code=_code(folder / _CODE),
        tunings=tuple(_lines(folder / _TUNING, partial(from_json, Tuning))),
    )


def freeze(suite: str, tunings: Iterable[Tuning], /, *, results: Path = RESULTS) -> Path:
    """Write what was chosen; return the path."""
    path = results / suite / _TUNING
    lines = (json.dumps(to_plain(one), sort_keys=True) for one in tunings)
    write_text(path, "".join(f"{line}\n" for line in lines))
    return path


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
    rows = (row for path in files for row in _lines(path, Row.from_json))
    return {row.cell_id: row for row in rows}


def _lines(path: Path, read: Callable[[bytes], Kind], /) -> Iterator[Kind]:
    """Yield what ``read`` makes of each line; nothing if there is no such file."""
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
        try:
            yield read(line)
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
