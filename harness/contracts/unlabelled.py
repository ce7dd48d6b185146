"""Text that is read without labels, by methods that learn something before the task."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

from harness.contracts.errors import SpecError
from harness.contracts.values import value


@value
class UnlabelledText:
    """Where the sentences are from.

    Attributes:
        datasets: Files under ``suites/datasets/``: the sentences of their training parts.
        file: One sentence a line, in UTF-8, relative to the data root; None if there is none.
        sha256: Of that file.
    """

    datasets: tuple[str, ...] = ()
    file: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    def __post_init__(self) -> None:
        if not self.datasets and self.file is None:
            raise SpecError("UnlabelledText names neither datasets nor a file")
        if (self.file is None) != (self.sha256 is None):
            raise SpecError("UnlabelledText.file and its sha256 come together or not at all")
        path = PurePosixPath(self.file or "")
        if path.is_absolute() or ".." in path.parts:
            raise SpecError(f"UnlabelledText.file is relative to the data root, got {self.file!r}")

    def __str__(self) -> str:
        """Name it in a few words."""
        return ", ".join([*self.datasets, *([self.file] if self.file else [])])
