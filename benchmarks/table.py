"""What ``asv run`` measured last at a commit, as a table that says which direction is good.

    python -m benchmarks.table COMMIT

Exit codes: 0 all were measured, 1 some failed, 3 there is nothing.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks._processes import ROOT
from benchmarks._timing import LESS

RESULTS = ROOT / ".asv" / "results"
DONE, SOME_FAILED, NOTHING = 0, 1, 3
_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (0.0, "ns"))


@dataclass(frozen=True, kw_only=True)
class Line:
    """One benchmark at one choice of its parameters.

    Attributes:
        name: Of the benchmark, with its parameters.
        value: None if it failed; NaN if it was left out.
        unit: And which direction is good.
    """

    name: str
    value: float | None
    unit: str

    def cells(self) -> tuple[str, str, str]:
        """Return the columns of the table."""
        if self.value is None:
            return self.name, "failed", self.unit
        if self.unit != "seconds":
            return self.name, f"{self.value:.3g}", self.unit
        scale, unit = next(each for each in _SCALES if self.value >= each[0])
        return self.name, f"{self.value / (scale or 1e-9):.3g}", f"{unit}, {LESS}"


def lines(results: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Line]:
    """Yield what asv's file of one commit holds; ``known`` is asv's list of benchmarks."""
    place = {name: number for number, name in enumerate(results["result_columns"])}
    for name, columns in sorted(results["results"].items()):
        if name not in known:  # measured before it was renamed or deleted
            continue
        values, params = columns[place["result"]], columns[place["params"]]
        choices = list(product(*params))
        for choice, value in zip(choices, values or [None] * len(choices), strict=True):
            if value is None or not math.isnan(value):
                told = f"({', '.join(choice)})" if choice else ""
                yield Line(name=f"{name}{told}", value=value, unit=known[name]["unit"])


def found(folder: Path, commit: str) -> list[Line]:
    """Return every line that asv noted under ``folder`` for ``commit``, on any machine."""
    listed = folder / "benchmarks.json"
    if not listed.exists():
        return []
    known = json.loads(listed.read_text(encoding="utf-8"))
    files = sorted(folder.glob(f"*/{commit[:8]}-*.json"))
    stored = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return [line for results in stored for line in lines(results, known)]


def columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows with their columns under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("commit")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    rows = found(asked.results, asked.commit)
    if not rows:
        print(f"asv has measured nothing at {asked.commit[:8]}; its files are in {asked.results}")
        return NOTHING
    head = ("benchmark", "value", "unit, and which direction is good")
    print("\n".join(columns([head, *(row.cells() for row in rows)])))
    failed = sum(row.value is None for row in rows)
    print(f"\n{len(rows)} values at {asked.commit[:8]}, {failed} failed")
    return SOME_FAILED if failed else DONE


if __name__ == "__main__":
    sys.exit(main())
