"""How long a user waits for the command line."""


class CommandLine:
    """Importing what every verb imports, in a fresh interpreter."""

    version = "1"
    timeout = 60
    number = 1
    repeat = (5, 10, 20.0)

    def timeraw_import(self) -> str:
        return "import harness.cli"

    def timeraw_plan(self) -> str:
        return """
        from pathlib import Path
        from harness.engine import freshness, grid
        from harness.store import Store
        cells = grid.cells("digits", grid.Axes(), runs=Path("runs"))
        freshness.standings(cells, Store(Path("runs")), data_root=None)
        """
