"""The binary layout that both CIFAR sets share.

A file is a sequence of records: one byte a label, then the pixels as three planes, red,
green and blue, each row by row.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from harness import checksums
from harness.contracts.dataset import DatasetCard, Provenance, Samples, Splits
from harness.contracts.errors import DataError
from suites.datasets._splits import divided, labelled


@dataclass(frozen=True, kw_only=True)
class CifarBinary:
    """A data set in CIFAR's binary layout.

    Attributes:
        card: The last of its files is the test part, the others are the training part.
        folders: Where the files may lie, relative to the data root.
        label_bytes: Bytes before the pixels; the last of them is the label.
    """

    card: DatasetCard
    folders: tuple[str, ...]
    label_bytes: int = 1

    def provenance(self, root: Path | None, /) -> Provenance:
        """Return which bytes are expected under ``root``; looks at names and sizes only."""
        return checksums.find(root, self.card, folders=self.folders).provenance()

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  static
        """Read and verify every file."""
        place = checksums.find(root, self.card, folders=self.folders)
        parts = [self._decoded(place.read(file), file.path) for file in self.card.files]
        train, validation = divided(
            Samples(
                inputs=np.concatenate([part.inputs for part in parts[:-1]]),
                labels=np.concatenate([part.labels for part in parts[:-1]]),
            )
        )
        return Splits(train=train, validation=validation, test=parts[-1])

    def _decoded(self, content: bytes, path: str) -> Samples:
        """Return the records of one file."""
        record_bytes = self.label_bytes + prod(self.card.shape)
        if len(content) % record_bytes:
            raise DataError(
                f"{path}: {len(content)} bytes are no whole number of records of "
                f"{record_bytes} bytes"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, record_bytes)
        return labelled(
            records[:, self.label_bytes :].reshape(-1, *self.card.shape),
            records[:, self.label_bytes - 1],
            card=self.card,
            path=path,
        )
