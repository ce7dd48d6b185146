"""The cache of frames: built once, by all processors, and mapped from then on.

``<cache>/events/<name>-T<steps>-<key>.npy`` holds the frames of one part of one data set in
one encoding, uint8 ``[N, T, H, W, C]``. Its key is a hash of the recordings' SHA-256, of
the framing and of the code that reads and counts. ``<cache>/events/<listing>.json``
remembers those checksums by name, size and time of change, so that opening reads nothing.

A builder writes a file of its own and renames it when it is whole and on the disk: an
array with its final name is complete, whatever happened. A lock, which the kernel drops
with its owner, makes a second builder wait instead of doing the work twice.
"""

import errno
import fcntl
import hashlib
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import fingerprint
from harness.contracts.errors import DataError
from harness.data.events.framing import Events, Framing, frames
from harness.data.events.recording import Recording

CACHE_VARIABLE = "SNN_DISTILL_CACHE"
_LOG = logging.getLogger(__name__)
_PARTIAL = ".partial"
_CHUNK = 64  # recordings a worker takes at once
# Starting a worker imports Tonic, and with it torch: seconds, in which one reads this.
_WORTH_A_WORKER_BYTES = 256 * 2**20
_TOLD_EVERY_S = 5.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# An importable function, since workers are sent its name; raises DataError.
Decoder = Callable[[Recording, bytes], Events]


def cache_folder() -> Path:
    """Return where arrays are kept: ``SNN_DISTILL_CACHE``, or the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "snn-distill-bench"


def cached_frames(
    recordings: Sequence[Recording],
    /,
    *,
    decode: Decoder,
    framing: Framing,
    name: str,
    workers: int | None = None,
) -> NDArray[np.uint8]:
    """Return the frames of ``recordings``, ``[N, T, C, H, W]``, mapped from the cache.

    Args:
        recordings: In the order of the samples.
        decode: Reads one recording's events.
        framing: What to do with them.
        name: Begins the file's name, for people.
        workers: Processes; None decides by size, 1 stays in this one.

    Raises:
        DataError: Names the recording or the cache file, and the remedy.
    """
    if not recordings:
        steps, height, width, channels = framing.shape
        return np.empty((0, steps, channels, height, width), dtype=np.uint8)
    folder = cache_folder() / "events"
    plan = _Plan(folder=folder, recordings=recordings, decode=decode, framing=framing, name=name)
    mapped = plan.opened()
    if mapped is None:
        with _locked(folder, plan.listing) as alone:
            mapped = plan.opened()  # by whoever held the lock before
            if mapped is None:
                if alone:
                    _clear(plan)
                path = _built(plan, workers=_workers(recordings, workers))
                mapped = _mapped(path, plan.shape)
    if mapped is None:
        raise DataError(f"the cache in {folder} lost a file just built; run it again")
    return mapped.transpose(0, 1, 4, 2, 3)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """One array that is wanted."""

    folder: Path
    recordings: Sequence[Recording]
    decode: Decoder
    framing: Framing
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        samples = sum(recording.samples for recording in self.recordings)
        return (samples, *self.framing.shape)

    @cached_property
    def listing(self) -> str:
        """Hash of what can be said of the recordings without reading them."""
        return _hash("\n".join(recording.listing for recording in self.recordings))

    @property
    def partial(self) -> str:
        """How the names of unfinished files begin."""
        return f".{self.name}-T{self.framing.timesteps}-{self.listing}."

    def array(self, content: str) -> Path:
        """Return where the frames of recordings with these checksums lie."""
        modules = ["harness.data.events.framing", self.decode.__module__]
        code = fingerprint.of_closure(fingerprint.closure(modules))
        cuts = [recording.cuts for recording in self.recordings]
        made_of = [content, asdict(self.framing), cuts, self.decode.__qualname__, code]
        key = _hash(json.dumps(made_of, sort_keys=True))
        return self.folder / f"{self.name}-T{self.framing.timesteps}-{key}.npy"

    def opened(self) -> NDArray[np.uint8] | None:
        """Return the array if it is there, without reading any recording."""
        try:
            known = json.loads(self._note.read_text(encoding="utf-8"))
            content = str(known["content"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return _mapped(self.array(content), self.shape)

    def remember(self, content: str) -> None:
        """Note which checksums the recordings of this listing have."""
        text = json.dumps({"name": self.name, "content": content})
        with tempfile.NamedTemporaryFile(
            "w", dir=self.folder, prefix=f".{self._note.name}.", suffix=_PARTIAL, delete=False
        ) as file:
            file.write(text)
        Path(file.name).replace(self._note)

    @property
    def _note(self) -> Path:
        return self.folder / f"{self.listing}.json"


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the array of ``path``, or None if there is none of that shape and size.

    It is mapped copy-on-write: torch warns of arrays that may not be written to.
    """
    try:
        found: NDArray[np.uint8] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError):  # cut short by a disk, or by hand: built anew
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[bool]:
    """Hold the lock of one listing; waits for whoever builds from the same recordings.

    Yields whether it is held. On a file system without locks two may build, both rightly.
    """
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / f".{key}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        alone = False
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
            alone = True
        yield alone
    finally:
        os.close(handle)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into words.

    Raises:
        DataError: Instead of an OSError; a DataError passes.
    """
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        cause = "its disk is full" if error.errno in _FULL else str(error)
        raise DataError(
            f"the cache of event frames in {folder} cannot be written: {cause}; free some space "
            f"there, or point {CACHE_VARIABLE} at a folder that can be written"
        ) from error


def _clear(plan: _Plan) -> None:
    """Remove what killed builders of this array left; whoever holds the lock may."""
    with _explained(plan.folder):
        for left_behind in plan.folder.glob(f"{plan.partial}*{_PARTIAL}"):
            left_behind.unlink()


def _built(plan: _Plan, *, workers: int) -> Path:
    """Write the array and return its path; what is not whole never gets its name."""
    with _explained(plan.folder):
        handle, aside = tempfile.mkstemp(dir=plan.folder, prefix=plan.partial, suffix=_PARTIAL)
        try:
            array = np.lib.format.open_memmap(aside, "w+", dtype=np.uint8, shape=plan.shape)
            # Now rather than in the middle: a full disk is known before anything is read.
            os.posix_fallocate(handle, 0, array.offset + array.nbytes)
            content = _filled(plan, aside, array.offset, workers=workers)
            os.fsync(handle)
            path = plan.array(content)
            Path(aside).chmod(0o644)
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        plan.remember(content)
    return path


def _filled(plan: _Plan, aside: str, offset: int, *, workers: int) -> str:
    """Write all frames; return the hash of all recordings."""
    begun_s = told_s = time.monotonic()
    whole, done, read_bytes = hashlib.sha256(), 0, 0
    chunks = list(_chunks(plan.recordings, offset, sample_bytes=int(np.prod(plan.framing.shape))))
    job = partial(_written, decode=plan.decode, framing=plan.framing, aside=aside)
    for digests, size_bytes in _outcomes(job, chunks, workers):
        for digest in digests:
            whole.update(digest)
        done, read_bytes = done + len(digests), read_bytes + size_bytes
        now_s = time.monotonic()
        if now_s - told_s > _TOLD_EVERY_S or done == len(plan.recordings):
            told_s = now_s
            speed = read_bytes / 1e6 / max(now_s - begun_s, 1e-9)
            _LOG.info(
                "%s: %d of %d recordings, %.0f MB/s", plan.name, done, len(plan.recordings), speed
            )
    return whole.hexdigest()


# Some recordings, and where in the file their frames go.
_Chunk = tuple[Sequence[Recording], int]
_Written = tuple[list[bytes], int]


def _chunks(recordings: Sequence[Recording], offset: int, *, sample_bytes: int) -> Iterator[_Chunk]:
    for start in range(0, len(recordings), _CHUNK):
        chunk = recordings[start : start + _CHUNK]
        yield chunk, offset
        offset += sample_bytes * sum(recording.samples for recording in chunk)


def _outcomes(
    job: Callable[[_Chunk], _Written], chunks: Sequence[_Chunk], workers: int
) -> Iterator[_Written]:
    """Do the chunks, in order as far as anyone can see."""
    if workers == 1:
        yield from map(job, chunks)
        return
    # Not "fork": this process may run threads of torch's, which a fork leaves locked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(chunks)), mp_context=context, initializer=_watch_parent
    ) as pool:
        try:
            yield from pool.map(job, chunks)
        finally:
            pool.shutdown(cancel_futures=True)


def _watch_parent() -> None:
    """Have this worker end with its parent; a killed one would leave it waiting for ever."""
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _written(chunk: _Chunk, *, decode: Decoder, framing: Framing, aside: str) -> _Written:
    """Write a chunk; return the recordings' checksums and how many bytes were read."""
    recordings, offset = chunk
    digests, read_bytes = [], 0
    # Written with pwrite: a full disk is then an error and not, as for a map, a signal.
    handle = os.open(aside, os.O_WRONLY)
    try:
        for recording in recordings:
            content = recording.read()
            digests.append(hashlib.sha256(content).digest())
            read_bytes += len(content)
            for sample, name in cut(decode(recording, content), recording):
                pixels = frames(sample, framing, name=name)
                if os.pwrite(handle, pixels.data, offset) < pixels.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                offset += pixels.nbytes
    finally:
        os.close(handle)
    return digests, read_bytes


def cut(events: Events, recording: Recording, /) -> Iterator[tuple[Events, str]]:
    """Yield the samples of a recording and what to call each, sliced by Tonic."""
    if not recording.cuts:
        yield events, recording.where
        return
    from tonic.slicers import SliceAtTimePoints

    starts, stops = zip(*recording.cuts, strict=True)
    ordered = events[np.argsort(events["t"], kind="stable")]
    slicer: Any = SliceAtTimePoints(np.array(starts), np.array(stops))
    samples, _ = slicer.slice(ordered, None)
    for sample, (start, stop) in zip(samples, recording.cuts, strict=True):
        yield sample, f"{recording.where}, {start} to {stop} microseconds,"


def _workers(recordings: Sequence[Recording], asked: int | None) -> int:
    """Return how many processes to use."""
    if asked is not None:
        return max(1, asked)
    size_bytes = 0
    for recording in recordings:
        size_bytes += recording.path.stat().st_size if recording.path else len(recording.content)
    return max(1, min(len(os.sched_getaffinity(0)), size_bytes // _WORTH_A_WORKER_BYTES + 1))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
