"""Downloading and unpacking what a data set's card names.

Downloads go into the data root, next to what is unpacked from them. Nothing that is not
ours is overwritten or deleted: a file in the way is an error that names it.
"""

import filecmp
import hashlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from harness.contracts.dataset import Archive, Dataset, DatasetCard
from harness.contracts.errors import DataError
from harness.data.catalogue import load

_CHUNK_BYTES = 1 << 16  # what an interrupt can lose
_TIMEOUT_S = 60
# What zipfile and tarfile raise; RuntimeError also of an encrypted zip, and its subclass
# NotImplementedError of an unknown compression.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError)
# Called with a file's name, the bytes done and the bytes in all, or None if unknown.
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What a fetch did.

    Attributes:
        archives: What was downloaded, or was there already; empty if nothing was needed.
        provenance_notes: What is still unlike the published data set.
    """

    archives: tuple[Path, ...]
    provenance_notes: tuple[str, ...]


def fetch(name: str, root: Path | None, /, *, progress: Progress) -> Fetched:
    """Download and unpack a data set into ``root``, unless it is there as published.

    An interrupted download goes on where it stopped.

    Raises:
        DataError: If it cannot be fetched, written, or is not what was published.
    """
    dataset = load(name)
    if _notes(dataset, root) == ():
        return Fetched(archives=(), provenance_notes=())
    card = dataset.card
    if not card.archives:
        known = dataset.provenance(root)  # says how to get it, if it is not here at all
        if _notes(dataset, None) is not None:  # made from what is installed
            return Fetched(archives=(), provenance_notes=known.notes)
        raise DataError(
            f"{card.title} cannot be fetched without a person; get it from {card.url} as "
            "docs/data.md says"
        )
    if root is None:
        raise DataError(
            f"{card.title} needs a folder to be fetched into; give --data-root or SNN_DISTILL_DATA"
        )
    archives = tuple(_fetched(archive, root, card, progress) for archive in card.archives)
    for archive, path in zip(card.archives, archives, strict=True):
        unpack(path, root / archive.into)
    return Fetched(archives=archives, provenance_notes=dataset.provenance(root).notes)


def _notes(dataset: Dataset[Any], root: Path | None) -> tuple[str, ...] | None:
    """Return how what is there deviates, by names and sizes; None if it is not there."""
    try:
        return dataset.provenance(root).notes
    except DataError:
        return None


def _fetched(archive: Archive, root: Path, card: DatasetCard, progress: Progress) -> Path:
    """Return where ``archive`` lies, downloaded if it did not yet."""
    import pooch  # type: ignore[import-untyped]  # it ships no types
    from requests import RequestException

    folder = root / archive.into
    path = folder / _file_name(archive)
    if path.exists():
        _require_md5(path, archive.md5)
        return path
    part = path.with_name(f"{path.name}.part")
    _require_room(folder, (archive.size_bytes or 0) - (part.stat().st_size if part.exists() else 0))
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            archive.url,
            known_hash=f"md5:{archive.md5}",
            fname=path.name,
            path=folder,
            downloader=_Resuming(part=part, progress=progress),
        )
    except RequestException as error:
        words = " ".join(str(error).split())
        raise DataError(
            f"{archive.url} cannot be fetched: {words}; what has come lies in {part}: run the same "
            f"command to go on, or get {card.title} by hand as docs/data.md says"
        ) from error
    except ValueError as error:  # pooch: another checksum; it has deleted what we wrote
        raise DataError(
            f"what {archive.url} sends has not MD5 {archive.md5}: the publisher changed it, or the "
            f"way there is broken; it was not kept: {' '.join(str(error).split())[:200]}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error}; choose a data root that can be written to and has "
            "room, then run the same command to go on"
        ) from error
    return path


def _file_name(archive: Archive) -> str:
    """Return what to call a download; some addresses end in a number, or all alike."""
    name = PurePosixPath(archive.url).name
    return name if PurePosixPath(name).suffix else f"{name}-{archive.md5[:8]}"


@dataclass(frozen=True, kw_only=True)
class _Resuming:
    """A downloader for pooch that goes on with what an earlier one left.

    Attributes:
        part: Keeps what has come; pooch's own temporary file is gone after an interrupt.
        progress: Told after every piece.
    """

    part: Path
    progress: Progress

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Fetch ``url`` and put it where pooch wants to check it."""
        import requests

        done = self.part.stat().st_size if self.part.exists() else 0
        asked = {"Range": f"bytes={done}-"} if done else {}
        with requests.get(url, headers=asked, stream=True, timeout=_TIMEOUT_S) as answer:
            whole = answer.status_code == requests.codes.requested_range_not_satisfiable
            if not whole:
                answer.raise_for_status()
                resumed = answer.status_code == requests.codes.partial_content
                self._receive(answer, done if resumed else 0)
        # The checksum decides whether it is what we want; pooch deletes it if not.
        self.part.replace(output_file)

    def _receive(self, answer: Any, done: int) -> None:
        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with self.part.open("ab" if done else "wb") as file:
            for chunk in answer.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                self.progress(self.part.stem, done, total)


def _require_md5(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DataError(
            f"{path} has MD5 {found}, the published one has {expected}: it is truncated or another "
            "file; move it away and run the same command again"
        )


def _require_room(folder: Path, needed_bytes: int) -> None:
    """Make ``folder`` and refuse if ``needed_bytes`` do not fit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder):
            pass  # os.access says yes to the superuser, even where nothing can be written
    except OSError as error:
        raise DataError(
            f"the data root cannot be written to: {folder}: {error}; choose another with "
            "--data-root or SNN_DISTILL_DATA"
        ) from error
    if free_bytes < needed_bytes:
        raise DataError(
            f"{folder} has {free_bytes:,} bytes free, {needed_bytes:,} are needed; make room or "
            "choose another data root"
        )


# Unpack


def unpack(archive: Path, into: Path, /) -> None:
    """Unpack a tar or zip into ``into``; leave anything else as it lies.

    A zip that it holds is unpacked too, where it lies, and not kept. All is unpacked aside
    first, so an interrupted or damaged unpacking leaves nothing behind. What is there
    already must be equal.

    Raises:
        DataError: If a member would land elsewhere, the archive is damaged, the disk is
            full, or a different file is in the way.
    """
    try:
        is_zip = archive.suffix == ".zip" or zipfile.is_zipfile(archive)
        is_tar = archive.name.endswith((".tar", ".tar.gz", ".tgz"))
        if not is_zip and not is_tar and not tarfile.is_tarfile(archive):
            return
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=into) as aside:
            if is_zip:
                _unzip(archive, Path(aside), called=str(archive))
            else:
                _untar(archive, Path(aside))
            _unzip_inner(Path(aside), archive)
            _move_in(Path(aside), into)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{archive} cannot be unpacked into {into}: {error}; if the disk is full make room, "
            "else move the archive away, and run the same command again"
        ) from error


def _untar(archive: Path, aside: Path) -> None:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        for member in members:
            # A link could point outside once another member is written through it.
            _require_inside(str(archive), member.name, plain=member.isfile() or member.isdir())
        _require_room(aside, sum(member.size for member in members))
        opened.extractall(aside, filter="data")


def _unzip(archive: Path, aside: Path, *, called: str) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            _require_inside(called, member.filename, plain=plain)
        _require_room(aside, sum(member.file_size for member in members))
        opened.extractall(aside)  # noqa: S202  every name was checked above


def _unzip_inner(aside: Path, archive: Path) -> None:
    """Unpack what ``archive`` held zipped, one by one, so that few lie there twice."""
    for inner in sorted(path for path in aside.rglob("*.zip") if path.is_file()):
        _unzip(inner, inner.parent, called=f"{inner.relative_to(aside)} in {archive}")
        inner.unlink()


def _require_inside(archive: str, name: str, *, plain: bool) -> None:
    """Refuse a member that is no plain file or folder below the archive's own root."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or not plain:
        raise DataError(
            f"{archive} holds {name!r}, which is no plain file below it; nothing was unpacked: "
            "this is not the published archive, delete it"
        )


def _move_in(aside: Path, into: Path) -> None:
    """Move what lies in ``aside`` to the same place in ``into``, all of it or nothing."""
    files = [path for path in aside.rglob("*") if path.is_file()]
    moves = [(path, into / path.relative_to(aside)) for path in files]
    for new, old in moves:
        if old.exists() and not (old.is_file() and filecmp.cmp(new, old, shallow=False)):
            raise DataError(
                f"{old} is in the way: it differs from the published file; move it away and run "
                "the same command again"
            )
    for new, old in moves:
        if not old.exists():
            old.parent.mkdir(parents=True, exist_ok=True)
            new.replace(old)
