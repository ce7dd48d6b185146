"""How long a user waits for the command line."""

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
