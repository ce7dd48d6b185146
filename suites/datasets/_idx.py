"""The idx layout of MNIST and its successors.

Two zero bytes, the element type (8: unsigned bytes), the number of dimensions, each
dimension as a big-endian 32-bit number, then the elements.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import DatasetCard, DatasetProvenance, Finding, Samples, Splits
from harness.contracts.errors import DataError
from harness.data import checksums
from suites.datasets._splits import divided, labelled


@dataclass(frozen=True, kw_only=True)
class IdxImages:
    """A data set of grey images in four idx files.

    Attributes:
        card: Its files are training images, training labels, test images, test labels.
        folders: Where the files may lie, relative to the data root.
    """

    card: DatasetCard
    folders: tuple[str, ...]

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which bytes are expected under ``root``; looks at names and sizes only."""
        return checksums.find(root, self.card, folders=self.folders).provenance()

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield what was published and what was found, file by file."""
        return checksums.find(root, self.card, folders=self.folders).findings()

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  static
        """Read and verify every file."""
        place = checksums.find(root, self.card, folders=self.folders)
        arrays = [decoded(place.read(file), file.path) for file in self.card.files]
        train, validation = divided(self._paired(*arrays[:2]))
        return Splits(train=train, validation=validation, test=self._paired(*arrays[2:]))

    def _paired(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Samples:
        """Return samples; the check can only fail for a declared variant."""
        side = self.card.image.shape[1:]
        if labels.ndim != 1 or images.shape != (len(labels), *side):
            raise DataError(
                f"{self.card.title}: images {images.shape} and labels {labels.shape} do not "
                f"belong together; expected [N, {side[0]}, {side[1]}] and [N]"
            )
        return labelled(images[:, None], labels, card=self.card, path=self.card.title)


def decoded(content: bytes, path: str, /) -> NDArray[np.uint8]:
    """Return the array of one idx file, read-only.

    Raises:
        DataError: If header and length do not agree. Only a declared variant can be such.
    """
    dimensions = content[3] if content.startswith(b"\0\0\x08") and len(content) > 3 else 0
    header_bytes = 4 + 4 * dimensions
    header = content[4:header_bytes]
    shape = [int.from_bytes(header[i : i + 4], "big") for i in range(0, len(header), 4)]
    if not dimensions or len(content) != header_bytes + prod(shape):
        raise DataError(
            f"{path}: no idx file of unsigned bytes: it starts with {content[:4].hex()}, and its "
            f"{len(content)} bytes are no array of shape {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)
