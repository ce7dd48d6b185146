"""Unlabelled text, held against its checksums. Imports no torch."""

import hashlib
from functools import lru_cache
from pathlib import Path

from harness.contracts.dataset import Reader, Unlabelled
from harness.contracts.errors import DataError, UnsupportedError
from harness.contracts.unlabelled import UnlabelledText
from harness.data import catalogue


@lru_cache(maxsize=1)  # that of a suite
def opened(dataset: str, root: Path | None, text: UnlabelledText, /) -> Unlabelled:
    """Return ``text`` as ``dataset`` reads it.

    Raises:
        UnsupportedError: If that is no data set of sentences.
        DataError: If it is no such text; names the file, the line and the remedy.
    """
    reader = catalogue.load(dataset)
    if not isinstance(reader, Reader):
        raise UnsupportedError(f"{dataset} is no data set of sentences and reads no text: {text}")
    return reader.unlabelled(root, text)


def fingerprint(dataset: str, root: Path | None, text: UnlabelledText, /) -> str:
    """Return what changes if a byte of ``dataset`` or ``text`` does, whatever a suite expects.

    Raises:
        DataError: If something of it is missing.
    """
    names = dataset, *text.datasets
    parts = [catalogue.load(name).provenance(root).fingerprint for name in names]
    if text.file is not None:
        parts.append(hashlib.sha256(_file(root, text.file).read_bytes()).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def content_of(root: Path | None, text: UnlabelledText, /) -> tuple[Path, bytes]:
    """Return the file of ``text`` and all of its bytes, after checking them.

    Raises:
        DataError: If it is missing or another.
    """
    path = _file(root, str(text.file))
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != text.sha256:
        raise DataError(
            f"{path}: expected SHA-256 {text.sha256}, found {found}; get the file again, or name "
            "this one in the suite's `unlabelled`"
        )
    return path, content


def _file(root: Path | None, name: str) -> Path:
    path = Path(root or "", name)
    if root is None or not path.is_file():
        raise DataError(
            f"{path} is missing; put the suite's unlabelled text there, one sentence a line, and "
            "point --data-root or SNN_DISTILL_DATA at the folder that it is relative to"
        )
    return path
