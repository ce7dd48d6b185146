"""A file of events, before anyone has read it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from harness.contracts.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One file of events, which gives one sample or several.

    Attributes:
        name: Relative to the data set, with forward slashes: its identity.
        path: Where it lies; None if it is made from ``content``.
        content: What stands for a file where there is none.
        cuts: ``(start, stop)`` in microseconds of every sample; none means the whole.
    """

    name: str
    path: Path | None = None
    content: bytes = b""
    cuts: tuple[tuple[int, int], ...] = ()

    @property
    def samples(self) -> int:
        """How many samples it gives."""
        return len(self.cuts) or 1

    @property
    def where(self) -> str:
        """What to call it in an error."""
        return self.name if self.path is None else str(self.path)

    @property
    def identity(self) -> str:
        """Name, cuts and size, without reading it.

        Raises:
            DataError: If it is not there.
        """
        return self._identity(self._status())

    @property
    def listing(self) -> str:
        """``identity`` and the time of the last change, without reading it.

        Raises:
            DataError: If it is not there.
        """
        status = self._status()
        return f"{self._identity(status)} {status.st_mtime_ns if status else 0}"

    def read(self) -> bytes:
        """Return its bytes.

        Raises:
            DataError: If they cannot be read.
        """
        if self.path is None:
            return self.content
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}; get it again") from error

    def _identity(self, status: os.stat_result | None) -> str:
        if status is None:
            return f"{self.name} {hashlib.sha256(self.content).hexdigest()}"
        return f"{self.name} {self.cuts} {status.st_size}"

    def _status(self) -> os.stat_result | None:
        """Return what the file system says; None if there is no file."""
        if self.path is None:
            return None
        try:
            return self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}; get it again") from error
