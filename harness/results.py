"""Published rows: what ``results/`` holds, for the engine and for notebooks.

>>> from harness import results
>>> rows = results.load("digits")  # doctest: +SKIP
>>> rows.groupby(["method", "timesteps"])["score"].mean()  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.contracts.tuning import Tuning
from harness.contracts.values import from_json, to_plain, value
from harness.store import PLAIN_NAME, read_bytes, read_row, write_bytes, write_text

if TYPE_CHECKING:
    import pandas as pd

Kind = TypeVar("Kind")
RESULTS = Path("results")
# How far a row is to be believed, the least first; ``harness.engine.trust`` decides.
Trust = Literal["claimed", "verified", "here", "published"]
TRUSTS: tuple[Trust, ...] = get_args(Trust)
Code = Mapping[str, Mapping[str, str]]  # by fingerprint, modules with their hashes
_TEACHERS = "teachers.jsonl"
_CODE = "code.json"
TUNING = "tuning.jsonl"
FILE_BYTES = 2**28  # of one method: a hundred times what the largest here has
_COUNTED = (
    *("spikes_per_sample", "firing_rate", "acs_per_sample", "and_acs_per_sample"),
    *("macs_per_sample", "dense_macs"),
)


@dataclass(frozen=True, kw_only=True)
class DamagedLine:
    """A line that is no row, or a second one of its cell.

    Attributes:
        path: Of the file.
        number: From 1.
        text: As it lies there.
        why: What is wrong, by field.
    """

    path: Path
    number: int
    text: bytes
    why: str

    def __str__(self) -> str:
        """Say where it is and what is wrong."""
        return f"{self.path} line {self.number}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is published of one suite.

    Attributes:
        rows: By ``cell_id``.
        teachers: Likewise, of the teachers that these rows name.
        code: By fingerprint, the modules it is of with their hashes.
        tunings: What was chosen by trials, one a method, model and recipe.
        damaged: Lines that cannot be read as rows.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    teachers: Mapping[str, Row] = field(default_factory=dict)
    code: Code = field(default_factory=dict)
    tunings: tuple[Tuning, ...] = ()
    damaged: tuple[DamagedLine, ...] = ()


def published(
    suite: str, /, *, results: Path = RESULTS, strict: bool = True, saying: str = ""
) -> Published:
    """Return what ``results`` holds of ``suite``; nothing if it holds nothing.

    Args:
        suite: Its name.
        results: The folder.
        strict: Whether a damaged row is an error, and not one of ``damaged``.
        saying: Only rows are read in whose lines this stands, such as a part of an identity;
            all teachers are.

    Raises:
        StoreError: If a file is damaged; names it and the line.
    """
    folder = results / suite
    others = {_TEACHERS, TUNING}
    files = [path for path in sorted(folder.glob("*.jsonl")) if path.name not in others]
    damaged: list[DamagedLine] = []
    rows = _by_id(files, damaged, saying.encode())
    teachers = _by_id([folder / _TEACHERS], damaged)
    if damaged and strict:
        raise StoreError(str(damaged[0]))
    return Published(
        rows=rows,
        teachers=teachers,
        damaged=tuple(damaged),
        code=_code(folder / _CODE),
        tunings=tunings(suite, results=results),
    )


def tunings(suite: str, /, *, results: Path = RESULTS) -> tuple[Tuning, ...]:
    """Return what was chosen for ``suite`` by trials.

    Raises:
        StoreError: If the file is damaged; names the line.
    """
    return tuple(_lines(results / suite / TUNING, partial(from_json, Tuning)))


def freeze(suite: str, tunings: Iterable[Tuning], /, *, results: Path = RESULTS) -> Path:
    """Write what was chosen; return the path."""
    path = results / suite / TUNING
    lines = (json.dumps(to_plain(one), sort_keys=True) for one in tunings)
    write_text(path, "".join(f"{line}\n" for line in lines))
    return path


def write(
    folder: Path, before: Published, rows: Iterable[Row], teachers: Iterable[Row], code: Code, /
) -> list[Path]:
    """Write rows, a file each method, with their teachers and code; return the paths.

    A file of just those rows that ``before`` holds of its method is left as it is. Damaged
    lines stay at the end of theirs.
    """
    damaged: dict[str, list[bytes]] = {}
    for line in before.damaged:
        damaged.setdefault(line.path.name, []).append(line.text)
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
        lines = [*(row.to_json().encode() for row in ours), *damaged.get(name, ())]
        write_bytes(folder / name, b"".join(line + b"\n" for line in lines))
    write_text(folder / _CODE, code_text(code))
    return [folder / name for name in (*by_name, _CODE)]


def load(suite: str, /, *, results: Path = RESULTS) -> pd.DataFrame:
    """Return the published rows of ``suite``, one a cell, as flat columns.

    Columns are the fields of cell, metrics and provenance under their own names, the recipe's
    and neuron's as ``recipe.epochs``, and what follows from the counts: ``spikes_per_sample``,
    ``acs_per_sample``, ``and_acs_per_sample``, ``macs_per_sample``, ``firing_rate``.

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


def _by_id(
    files: Iterable[Path], damaged: list[DamagedLine], saying: bytes = b""
) -> dict[str, Row]:
    """Return the rows of ``files`` that say so; lines that are none go to ``damaged``."""
    rows: dict[str, Row] = {}
    for path in files:
        for number, line in _numbered(path):
            if saying not in line:
                continue
            try:
                row = read_row(line)
            except SpecError as error:
                why = str(error)
            else:
                if not _names_a_file(row.cell.method):
                    why = f"no file can be called after the method {row.cell.method[:100]!r}"
                elif rows.setdefault(row.cell_id, row) is row:
                    continue
                else:
                    why = f"cell {row.cell_id} has a row already; delete one of the lines"
            damaged.append(DamagedLine(path=path, number=number, text=line, why=why))
    return rows


@lru_cache(maxsize=1024)
def _names_a_file(method: str) -> bool:
    """Return whether the rows of a method can have a file of their own in the folder."""
    taken = {_TEACHERS, TUNING}
    return bool(PLAIN_NAME.fullmatch(method)) and f"{method}.jsonl" not in taken


def _numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        return enumerate(read_bytes(path, FILE_BYTES).splitlines(), start=1)
    except FileNotFoundError:
        return iter(())


def _lines(path: Path, read: Callable[[bytes], Kind], /) -> Iterator[Kind]:
    """Yield what ``read`` makes of each line; nothing if there is no such file."""
    for number, line in _numbered(path):
        try:
            yield read(line)
        except SpecError as error:
            raise StoreError(f"{path} line {number}: {error}") from error


@value
class _CodeFile:
    """What ``code.json`` holds: each module's hash once, and fingerprints as places therein."""

    modules: tuple[str, ...]
    fingerprints: dict[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        if odd := [text for text in self.modules if text.count(" ") != 1]:
            raise SpecError(f"a module and its hash are two words, got {odd[0][:80]!r}")
        known = range(len(self.modules))
        for name, places in self.fingerprints.items():
            if odd_places := [place for place in places if place not in known]:
                raise SpecError(f"{name} names module {odd_places[0]} of {len(self.modules)}")


def code_text(code: Code, /) -> str:
    """Return fingerprints with their modules as one line, which ``code_of`` reads."""
    known = sorted(
        {f"{name} {digest}" for modules in code.values() for name, digest in modules.items()}
    )
    places = {text: place for place, text in enumerate(known)}
    lists = {
        fp: [places[f"{name} {digest}"] for name, digest in modules.items()]
        for fp, modules in sorted(code.items())
    }
    return json.dumps({"modules": known, "fingerprints": lists}, separators=(",", ":")) + "\n"


def code_of(text: bytes, /) -> dict[str, dict[str, str]]:
    """Return what ``code_text`` told.

    Raises:
        SpecError: If it is no such line.
    """
    found = from_json(_CodeFile, text)
    known = [text.split(" ") for text in found.modules]
    return {
        fp: {known[place][0]: known[place][1] for place in places}
        for fp, places in found.fingerprints.items()
    }


def _code(path: Path) -> dict[str, dict[str, str]]:
    try:
        return code_of(read_bytes(path, FILE_BYTES))
    except FileNotFoundError:
        return {}
    except SpecError as error:
        raise StoreError(f"{path}: {error}; delete it, and what moved has no name") from error
