"""The two layouts that both CIFAR sets are shipped in: binary, and pickled for Python.

A binary file is a sequence of records: one byte a label, then the pixels as three planes,
red, green and blue, each row by row. A pickled one holds a dictionary with the same pixels
in the same order, and the labels as a list.
"""

import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.dataset import (
    DatasetCard,
    DatasetProvenance,
    Finding,
    PublishedFile,
    Samples,
    Splits,
)
from harness.contracts.errors import DataError
from harness.data import checksums
from harness.data.checksums import Place
from suites.datasets._splits import divided, labelled

# All that an array needs. Python 2 wrote the module's old name, which newer NumPy warns of.
_ARRAY_PARTS = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
}
# What may be wrong with bytes that claim to be a pickled dictionary of arrays.
_NO_BATCH = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class PythonBatches:
    """The pickled layout.

    Attributes:
        files: In the order of the binary ones.
        folders: Where the files may lie, relative to the data root.
        label_key: Where a file's dictionary has the labels.
    """

    files: tuple[PublishedFile, ...]
    folders: tuple[str, ...]
    label_key: bytes


@dataclass(frozen=True, kw_only=True)
class CifarBinary:
    """A data set in CIFAR's binary layout, or pickled if that is what lies there.

    Attributes:
        card: The last of its files is the test part, the others are the training part.
        folders: Where the files may lie, relative to the data root.
        label_bytes: Bytes before the pixels; the last of them is the label.
        python: The pickled layout.
    """

    card: DatasetCard
    folders: tuple[str, ...]
    label_bytes: int = 1
    python: PythonBatches | None = None

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which bytes are expected under ``root``; looks at names and sizes only."""
        return self._found(root)[0].provenance()

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield what was published and what was found, file by file."""
        return self._found(root)[0].findings()

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  static
        """Read and verify every file."""
        place, decoded = self._found(root)
        # read() has compared the checksum before anything is unpickled.
        parts = [decoded(place.read(file), file.path) for file in place.card.files]
        train, validation = divided(
            Samples(
                inputs=np.concatenate([part.inputs for part in parts[:-1]]),
                labels=np.concatenate([part.labels for part in parts[:-1]]),
            )
        )
        return Splits(train=train, validation=validation, test=parts[-1])

    def _found(self, root: Path | None) -> tuple[Place, Callable[[bytes, str], Samples]]:
        """Return where the files lie, binary rather than pickled, and how to decode them."""
        try:
            return checksums.find(root, self.card, folders=self.folders), self._decoded
        except DataError:
            if self.python is None or root is None:
                raise
            pickled = replace(self.card, files=self.python.files)
            try:
                place = checksums.find(root, pickled, folders=self.python.folders)
            except DataError:
                place = None
            if place is None:
                raise
        return place, self._unpickled

    def _decoded(self, content: bytes, path: str) -> Samples:
        """Return the records of one binary file."""
        record_bytes = self.label_bytes + prod(self.card.image.shape)
        if len(content) % record_bytes:
            raise DataError(
                f"{path}: {len(content)} bytes are no whole number of records of "
                f"{record_bytes} bytes"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, record_bytes)
        return labelled(
            records[:, self.label_bytes :].reshape(-1, *self.card.image.shape),
            records[:, self.label_bytes - 1],
            card=self.card,
            path=path,
        )

    def _unpickled(self, content: bytes, path: str) -> Samples:
        """Return the samples of one pickled file."""
        key = self.python.label_key if self.python else b"labels"
        try:
            batch: Any = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
            pixels = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, *self.card.image.shape)
            labels = np.asarray(batch[key])
        except _NO_BATCH as error:
            raise DataError(f"{path}: no pickled batch of {self.card.title}: {error!r}") from error
        if labels.shape != (len(pixels),) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{path}: {len(pixels)} images and labels {labels.dtype} {list(labels.shape)}; "
                f"expected a whole number an image: get {self.card.title} again"
            )
        return labelled(pixels, labels, card=self.card, path=path)


class _ArraysOnly(pickle.Unpickler):
    """Builds arrays, lists, strings and numbers, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a part of an array."""
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return super().find_class(*_ARRAY_PARTS[module, name])
