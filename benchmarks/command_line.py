"""How long a user waits for the command line."""

from collections.abc import Callable
from functools import lru_cache

from benchmarks import _gate_work
from benchmarks._processes import ROOT


class CommandLine:
    """Importing what every verb imports, in a fresh interpreter."""

    version = "1"
    timeout = 60
    number = 1
    repeat = (5, 10, 20.0)

    def timeraw_import(self) -> str:
        return "import harness.cli"

    def timeraw_plan(self) -> str:
        return f"""
        from pathlib import Path
        root = Path({str(ROOT)!r})
        from harness.engine import freshness, grid, proofs
        from harness.results import published
        from harness.store import Store
        known, store = published("digits", results=root / "results"), Store(root / "none")
        cells = grid.cells("digits", grid.Axes(), store, known)
        noted = proofs.read(root / "results")
        freshness.standings(cells, store, known, noted, data_root=None)
        """


class Fingerprints:
    """Reading and hashing, in an interpreter that has read nothing, all code of a digits plan."""

    version = "1"
    timeout = 60
    number = 1
    repeat = (5, 10, 20.0)

    def timeraw_closure(self) -> tuple[str, str]:
        code = "fingerprint.closure(roots)"
        setup = """
        from harness import discovery, fingerprint
        kinds = ("methods", "backends")
        roots = [discovery.module_of(k, name) for k in kinds for name in discovery.names(k)]
        roots += ["harness.engine.cell", "suites.models.digits_convnet", "suites.datasets.digits"]
        """
        return code, setup


@lru_cache
def _cell() -> Callable[[], object]:
    """Return what runs a cell, its teacher trained; asv calls ``setup`` before every timing."""
    run = _gate_work.cell()
    run()
    return run


class Cell:
    """A digits cell of ``direct`` by ``harness run``, from the start of its process to its row."""

    version = "1"
    timeout = 300
    number = 1
    repeat = (3, 5, 60.0)

    def setup(self) -> None:
        self.run = _cell()

    def time_cell(self) -> None:
        self.run()
