"""Files held against their publisher's checksums, or against a declared variant.

A file lies as published or gzipped beside its name (``name.gz``); size and checksum are
those of the unzipped file. ``VARIANT.json`` in the same folder may declare
``{name: {"sha256": ..., "note": ...}}``: a file that differs from the published one is
accepted if it matches its declaration, and the note is reported with every result.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from harness.contracts.dataset import DatasetCard, DatasetProvenance, Finding, PublishedFile
from harness.contracts.errors import DataError
from harness.contracts.values import in_words, value

VARIANT_FILE = "VARIANT.json"
_LARGEST = 2**31  # bytes of a file whose length nobody published; a gzip of it may be far smaller


@value
class Variant:
    """A declared deviation of one file.

    Attributes:
        sha256: Of the file as it is here, unzipped, hexadecimal.
        note: Why it differs, a sentence for row and table.
    """

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    note: Annotated[str, Field(pattern=r"\S")]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder in which the files of one data set lie.

    Attributes:
        folder: Holds the files.
        card: Says which.
        variants: What ``VARIANT.json`` declares, by file name.
    """

    folder: Path
    card: DatasetCard
    variants: Mapping[str, Variant]

    def provenance(self) -> DatasetProvenance:
        """Return which bytes are expected here; looks at names and sizes only.

        Raises:
            DataError: If a file is missing or has a size that nobody declared.
        """
        lines, notes = [], []
        for published in self.card.files:
            name = _name(published)
            variant = self.variants.get(name)
            stored = self._stored(published)
            size_bytes = stored.stat().st_size
            as_published = published.size_bytes in (None, size_bytes)
            if variant is None and stored.suffix != ".gz" and not as_published:
                raise DataError(
                    f"{stored}: expected {published.size_bytes} bytes, found {size_bytes}; "
                    f"{remedy(self.card)}"
                )
            lines.append(f"{name} {variant.sha256 if variant else published.md5}")
            notes += [f"{name}: {variant.note}"] if variant else []
        fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return DatasetProvenance(fingerprint=fingerprint, notes=tuple(notes))

    def read(self, published: PublishedFile) -> bytes:
        """Return the content of one file, unzipped, after checking every byte of it.

        Raises:
            DataError: Names the file, the checksum expected and found, and the remedy.
        """
        stored = self._stored(published)
        content = _content(stored, self.card, self._largest(published))
        md5 = _md5(content)
        variant = self.variants.get(_name(published))
        if variant is None:
            if md5 == published.md5:
                return content
            raise DataError(
                f"{stored}: expected {_expected(published)}, found MD5 {md5}, "
                f"{len(content)} bytes; {remedy(self.card)}"
            )
        if md5 == published.md5:
            # Its note would tell readers of the results something untrue.
            raise DataError(
                f"{stored} is the published file, but {VARIANT_FILE} beside it declares a "
                "deviation; delete that entry"
            )
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 == variant.sha256:
            return content
        raise DataError(
            f"{stored}: expected SHA-256 {variant.sha256} as {VARIANT_FILE} declares, or MD5 "
            f"{published.md5} as published, found {sha256} and {md5}; {remedy(self.card)}"
        )

    def findings(self) -> Iterator[Finding]:
        """Yield what was published and what lies here, file by file, reading every byte."""
        for published in self.card.files:
            path = _beside(self.folder, published) or self.folder / _name(published)
            variant = self.variants.get(_name(published))
            expected = f"SHA-256 {variant.sha256}, declared" if variant else _expected(published)
            try:
                content = self.read(published)
            except DataError as error:
                yield Finding(path=str(path), expected=expected, found=str(error), ok=False)
                continue
            found = f"MD5 {_md5(content)}, {len(content)} bytes"
            note = f"; deviates as declared: {variant.note}" if variant else ""
            yield Finding(path=str(path), expected=expected, found=found + note, ok=True)

    def _largest(self, published: PublishedFile) -> int:
        """Return how many bytes the file can have and be what is expected."""
        as_published = _name(published) not in self.variants
        return (published.size_bytes if as_published else None) or _LARGEST

    def _stored(self, published: PublishedFile) -> Path:
        """Return where the file lies, plain or gzipped."""
        if found := _beside(self.folder, published):
            return found
        raise DataError(f"{self.folder / _name(published)} is missing; {remedy(self.card)}")


def find(root: Path | None, card: DatasetCard, /, *, folders: Sequence[str]) -> Place:
    """Return the first of ``folders``, relative to ``root``, that holds a file of ``card``.

    Raises:
        DataError: If none does; says where the data set can be had.
    """
    root = rooted(root, card.title, remedy(card))
    for folder in (root / name for name in folders):
        if any(_beside(folder, published) for published in card.files):
            return Place(folder=folder, card=card, variants=declared_variants(folder))
    looked = ", ".join(str(root / name) for name in folders)
    raise DataError(
        f"no {card.title} under {root}: none of its files, such as {_name(card.files[0])}, "
        f"lies in {looked}; {remedy(card)}"
    )


def declared_variants(folder: Path, /) -> dict[str, Variant]:
    """Return what ``VARIANT.json`` in ``folder`` declares; nothing if there is none.

    Raises:
        DataError: If the file is not what this module's docstring says.
    """
    path = folder / VARIANT_FILE
    if not path.exists():
        return {}
    try:
        return TypeAdapter(dict[str, Variant]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(in_words(str(path), error)) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def rooted(root: Path | None, title: str, how: str, /) -> Path:
    """Return the data root, which is needed; ``how`` is what to do about it if it is not there.

    Raises:
        DataError: If there is none.
    """
    if root is None:
        raise DataError(f"{title} needs a data root; {how}")
    if not root.is_dir():
        raise DataError(f"the data root {root} is no folder; {how}")
    return root


def remedy(card: DatasetCard, /) -> str:
    """Return where to get a data set and where to put it, as the end of a message."""
    return (
        f"get {card.title} from {card.url} and point --data-root or SNN_DISTILL_DATA at the "
        f"folder that holds {PurePosixPath(card.files[0].path).parent}/"
    )


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _expected(published: PublishedFile) -> str:
    size = "" if published.size_bytes is None else f", {published.size_bytes} bytes"
    return f"MD5 {published.md5}{size}"


def _name(published: PublishedFile) -> str:
    return PurePosixPath(published.path).name


def _beside(folder: Path, published: PublishedFile) -> Path | None:
    """Return the file of that name in ``folder``, plain rather than gzipped, if it is there."""
    name = _name(published)
    both = (folder / name, folder / f"{name}.gz")
    return next((path for path in both if path.is_file()), None)


def _content(stored: Path, card: DatasetCard, largest: int) -> bytes:
    """Return the unzipped content of a file, unless it has more than ``largest`` bytes."""
    try:
        with gzip.open(stored) if stored.suffix == ".gz" else stored.open("rb") as file:
            content: bytes = file.read(largest + 1)
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise DataError(f"{stored} cannot be read: {error}; {remedy(card)}") from error
    if len(content) > largest:
        raise DataError(f"{stored} has more than the {largest:,} bytes expected; {remedy(card)}")
    return content
