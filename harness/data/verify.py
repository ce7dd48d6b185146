"""Holding what lies in the data root against what was published."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from harness.contracts.dataset import Finding, Verifiable
from harness.contracts.errors import DataError
from harness.data.catalogue import load


def verify(name: str, root: Path | None, /) -> Iterator[Finding]:
    """Yield what was expected and found, file by file, reading every byte.

    A data set that cannot tell its files apart is loaded as a whole.

    Raises:
        DataError: If it is not there at all.
    """
    dataset = load(name)
    if isinstance(dataset, Verifiable):
        yield from dataset.findings(root)
        return
    known = dataset.provenance(root)
    expected = f"fingerprint {known.fingerprint}"
    try:
        dataset.load(root)
    except DataError as error:
        yield Finding(path=name, expected=expected, found=str(error), ok=False)
        return
    notes = f"; {' '.join(known.notes)}" if known.notes else ""
    yield Finding(path=name, expected=expected, found=f"loaded as expected{notes}", ok=True)


class Tally:
    """How many of the files of one kind in one folder are as expected."""

    def __init__(self, root: Path | None) -> None:
        """Call files by their place in ``root``."""
        self.root = root
        self.files: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def add(self, finding: Finding) -> None:
        """Count one more."""
        kind = self._kind(finding.path)
        self.files[kind] += 1
        self.wrong[kind] += not finding.ok

    def lines(self) -> Iterator[str]:
        """Yield one line a kind."""
        for kind, files in self.files.items():
            wrong = f", {self.wrong[kind]:,} WRONG" if self.wrong[kind] else ""
            ok = files - self.wrong[kind]
            yield f"{kind}: {files:,} file{'s' if files > 1 else ''}: {ok:,} ok{wrong}"

    def _kind(self, path: str) -> str:
        """Return the outermost folder and the ending, as ``Train/*.bin``."""
        place = PurePath(path)
        if self.root is not None and place.is_relative_to(self.root):
            place = place.relative_to(self.root)
        if len(place.parts) < 2 or place.is_absolute():
            return str(place)
        return f"{place.parts[0]}/*{place.suffix}"
