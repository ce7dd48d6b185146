"""Whether other processors decide alike: digits cells, each under several limits.

A limit forbids instructions that an older processor lacks, or changes who adds up what.
Every cell, its teacher included, is run under each of them; its decisions, accuracies,
spikes and operations must be equal. Matrix units for float16 and bfloat16 apart, the limits
stand for other processors.

    python -m benchmarks.portability [--all] [--methods NAME ...] [--suite NAME]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from harness import discovery
from harness.contracts.cell import Cell
from harness.contracts.row import Row
from harness.engine import compare, grid, teachers
from harness.engine.grid import Axes
from harness.engine.jobs import Conditions
from harness.engine.scheduler import conduct
from harness.results import published
from harness.store import PREDICTIONS, Store

AS_IT_IS = "as it is"
LIMITS: Mapping[str, tuple[int, Mapping[str, str]]] = {  # threads, environment
    AS_IT_IS: (1, {}),
    "no AVX": (1, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
    "AVX2": (1, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "MKL as on any": (1, {"MKL_CBWR": "COMPATIBLE"}),
    "two threads": (2, {}),
}


def every_cell(suite: str, methods: Sequence[str] | None = None) -> list[Cell]:
    """Return the suite's cells of the first seed."""
    first = grid.load_suite(suite).seeds[:1]
    axes = Axes(methods=tuple(methods) if methods else None, seeds=first)
    return grid.cells(suite, axes, Store(Path("nowhere")), published(suite))


def sample(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Yield a cell a method that means any; every T and simulator that it means has its turn."""
    known = published(cells[0].suite).rows.values()
    refused = {row.cell_id for row in known if row.status == "skipped"}
    methods = sorted({cell.method for cell in cells})
    for turn, method in enumerate(methods):
        own = [cell for cell in cells if cell.method == method and cell.cell_id not in refused]
        if own:
            yield own[turn % len(own)]


def under(limit: str, cells: Sequence[Cell], out: Path) -> None:
    """Run ``cells`` into ``out``, in a process under ``limit``."""
    threads, environment = LIMITS[limit]
    asked = out / "asked.txt"
    asked.parent.mkdir(parents=True)
    asked.write_text("\n".join(cell.cell_id for cell in cells), encoding="utf-8")
    suite = cells[0].suite
    command = [sys.executable, "-m", __spec__.name, "--suite", suite, "--work", str(out)]
    subprocess.run(  # noqa: S603  this very file
        [*command, "--threads", str(threads)], env={**os.environ, **environment}, check=True
    )


def work(suite: str, out: Path, threads: int) -> None:
    """Run the cells that ``under`` asks for, after their teacher."""
    asked = set((out / "asked.txt").read_text(encoding="utf-8").split())
    cells = [cell for cell in every_cell(suite) if cell.cell_id in asked]
    identities = {cell.teacher for cell in cells if cell.teacher}
    conditions = Conditions(runs=out, data_root=None, threads=threads)
    both = [*map(teachers.cell_of, identities), *cells]
    for _ in conduct(both, conditions, slots=1, timeout_s=600):
        pass


def differences(one: Row, other: Row, first: Path, second: Path) -> list[str]:
    """Return in words what differs and must not."""
    words = compare.unlike(one, other)
    if one.metrics and other.metrics:
        decisions = [np.load(folder / PREDICTIONS)["predictions"] for folder in (first, second)]
        flips = int((decisions[0] != decisions[1]).sum())
        words += [f"{flips} of {decisions[0].size} decisions"] if flips else []
    return words


def apart(first: Path, second: Path) -> float:
    """Return the largest difference of two files of weights, over each array's largest number."""
    one, other = (load_file(folder / teachers.WEIGHTS) for folder in (first, second))
    return max(
        float(np.abs(value - other[name]).max() / max(np.abs(value).max(), 1e-300))
        for name, value in one.items()
        if value.dtype.kind == "f"
    )


def hold(cells: Sequence[Cell], folders: Mapping[str, Path]) -> bool:
    """Print a line a cell and the margin; return whether all decide alike."""
    print(f"\n{'cell':56}{'accuracy':>9}{'weights apart':>15}")
    drifts, alike = [], True
    for cell in cells:
        here = Store(folders[AS_IT_IS])
        row = here.load(cell)
        assert row is not None
        words, drift = {}, 0.0
        for limit, folder in folders.items():
            there = Store(folder)
            other = there.load(cell)
            assert other is not None
            words[limit] = differences(row, other, here.folder(cell), there.folder(cell))
            if row.metrics and other.metrics:
                drift = max(drift, apart(here.folder(cell), there.folder(cell)))
        told = row.status if row.metrics is None else f"{row.metrics.score:.4f}"
        print(f"{cell.label:56}{told:>9}{drift:15.1e}")
        drifts.append(drift)
        for limit, differing in words.items():
            alike &= not differing
            if differing:
                print(f"    DIFFERS under {limit!r}: {', '.join(differing)}")
    print(
        f"\n{len(cells)} cells under {len(folders)} limits. Margin: trained weights differ by "
        f"{np.median(drifts):.1e} in the median and {max(drifts):.1e} at most, relative to the "
        "largest of their layer."
    )
    print("All decisions and counts are equal." if alike else "Some differ: see above.")
    return alike


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--suite", default="digits", choices=discovery.names("suites"))
    parser.add_argument("--all", action="store_true", help="every T and simulator, not a sample")
    parser.add_argument("--methods", nargs="+", help="these alone, at every T and simulator")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.suite, asked.work, asked.threads)
        return 0
    cells = every_cell(asked.suite, asked.methods)
    if not asked.all and not asked.methods:
        cells = list(sample(cells))
    with tempfile.TemporaryDirectory(prefix="portability-") as scratch:
        folders = {limit: Path(scratch, limit.replace(" ", "-")) for limit in LIMITS}

        def timed(limit: str) -> None:
            begun = time.perf_counter()
            under(limit, cells, folders[limit])
            print(f"{limit}: {time.perf_counter() - begun:.0f} s", flush=True)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(timed, LIMITS))
        return 0 if hold(cells, folders) else 1


if __name__ == "__main__":
    sys.exit(main())
