"""One attempt at a cell on another machine, which shares no disk with the store.

What the attempt needs is laid out in a temporary folder as a store would have it, the cell
runs there as it would at home, and what changes in its folder is sent home: a checkpoint as
soon as it is seen, the rest at the end. Nothing here knows a cluster.
"""

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.contracts.errors import StoreError
from harness.contracts.method import Progress
from harness.engine.jobs import Order
from harness.engine.processes import End, Job, News, Work, run_jobs
from harness.engine.teachers import WEIGHTS, cell_of
from harness.store import PREDICTIONS, Store, write_atomically

ROW = "row.json"
DATA_ROOT = "SNN_DISTILL_DATA"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_QUIET_S = 0.5  # progress is told so often at most: each telling is an object of the cluster

Files = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What has changed in a cell's folder.

    Attributes:
        files: Their content, by name.
        gone: Names of files that were there and are no more.
    """

    files: Files = field(default_factory=dict)
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Errand:
    """An attempt at a cell, for another machine.

    Attributes:
        job: With the paths that it has at home.
        held: What an earlier attempt left in the cell's folder: its checkpoint, its log.
        timeout_s: Wall-clock seconds that the attempt may take.
        left_s: Seconds until the whole run ends.
    """

    job: Job
    held: Files = field(default_factory=dict)
    timeout_s: float
    left_s: float


def held(order: Order, /) -> dict[str, bytes]:
    """Return what lies in a cell's folder for its next attempt to go on from.

    That is all but what a finished attempt leaves, and the logs of others.
    """
    finished = {"lock", ROW, PREDICTIONS, WEIGHTS}
    return {
        path.name: path.read_bytes()
        for path in _files(order.log_path.parent)
        if path.name not in finished
        and (path == order.log_path or not path.name.startswith("log-"))
    }


def teacher_files(order: Order, /) -> dict[str, bytes]:
    """Return what a cell needs of its teacher; of one that failed, its row alone."""
    if order.cell.teacher is None:
        return {}
    folder = Store(order.conditions.runs).folder(cell_of(order.cell.teacher))
    paths = (folder / name for name in (ROW, PREDICTIONS, WEIGHTS))
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def lay_out(folder: Path, files: Files, /, *, gone: Iterable[str] = ()) -> None:
    """Write ``files`` into ``folder``, a row last: it says that the others are there.

    Args:
        folder: Made if need be.
        files: Their content, by name.
        gone: Names of files that are removed afterwards.

    Raises:
        StoreError: If the disk refuses, or a name would leave the folder.
    """
    for name in sorted(files, key=lambda name: name == ROW):
        write_atomically(_path(folder, name), _writing(files[name]))
    for name in gone:
        _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    if not name or name != Path(name).name or name.startswith("."):
        raise StoreError(f"{name!r} is no name for a file in {folder}; it was left alone")
    return folder / name


def _writing(content: bytes) -> Callable[[Any], object]:
    return lambda file: file.write(content)


class _RecalledError(Exception):
    """The attempt is to end before its job has."""


def attempt(errand: Errand, teacher: Files, /, *, recalled: Callable[[], bool]) -> Iterator[Any]:
    """Run the job of ``errand`` here; yield its news and parcels, its last parcel and its end.

    The first parcel is empty and says that it has begun. Once ``recalled``, the job is asked
    to end as one whose time is up.

    Raises:
        StoreError: If this machine has no room for the folder, or starts no process.
    """
    with TemporaryDirectory(prefix="snn-distill-bench-") as root:
        order = _at(Path(root), errand.job.argument)
        folder = _Folder(order.log_path.parent, log=order.log_path.name)
        lay_out(folder.path, errand.held)
        folder.changes()
        yield Parcel()
        if order.cell.teacher is not None:
            lay_out(Store(Path(root)).folder(cell_of(order.cell.teacher)), teacher)
        end = End(job=errand.job, ending="timeout", exit_code=None, seconds=0.0)
        happenings = _happenings(errand, order, recalled)
        with _without_main(), closing(happenings), suppress(_RecalledError):
            end = yield from _told(happenings, folder)
        yield folder.changes()
        yield replace(end, job=errand.job)


def _told(happenings: Iterable[News | End], folder: "_Folder") -> Generator[Any, None, End]:
    """Yield news now and then, and each time what has changed; return the end."""
    spoken_s = -_QUIET_S
    for happening in happenings:
        if isinstance(happening, End):
            return happening
        now = time.monotonic()
        if isinstance(happening.value, Progress) and now - spoken_s < _QUIET_S:
            continue
        spoken_s = now
        yield happening.value
        if folder.has_news():
            yield folder.changes()
    raise AssertionError("a job that has begun has an end")


def _at(root: Path, order: Order) -> Order:
    """Return ``order`` with its store at ``root``, and its data where this machine has them."""
    conditions, here = order.conditions, os.environ.get(DATA_ROOT)
    return replace(
        order,
        conditions=replace(
            conditions, runs=root, data_root=Path(here) if here else conditions.data_root
        ),
        log_path=root / order.log_path.relative_to(conditions.runs),
    )


class _Folder:
    """A cell's folder, as far as its home knows it."""

    def __init__(self, path: Path, *, log: str) -> None:
        """Take home to know nothing of it yet."""
        self.path = path
        self._log = log
        self._known: dict[str, tuple[int, int, int]] = {}

    def has_news(self) -> bool:
        """Return whether a file is new or another; that the log grew is no news."""
        return any(
            self._known.get(path.name) != _version(path)
            for path in _files(self.path)
            if path.name != self._log
        )

    def changes(self) -> Parcel:
        """Return what home does not know, which it knows from then on."""
        found = {path.name: (_version(path), path.read_bytes()) for path in _files(self.path)}
        files = {
            name: content
            for name, (version, content) in found.items()
            if self._known.get(name) != version
        }
        gone = self._known.keys() - found.keys()
        self._known = {name: version for name, (version, _) in found.items()}
        return Parcel(files=files, gone=frozenset(gone))


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder that are whole: what is being written has a dot first."""
    if folder.is_dir():
        yield from (
            path
            for path in sorted(folder.iterdir())
            if path.is_file() and not path.name.startswith(".")
        )


def _version(path: Path) -> tuple[int, int, int]:
    file = path.stat()
    return file.st_ino, file.st_mtime_ns, file.st_size


def _happenings(
    errand: Errand, order: Order, recalled: Callable[[], bool]
) -> Generator[News | End]:
    job = replace(
        errand.job,
        work=_work,
        argument=(errand.job.work, order, os.environ.get(_VISIBLE)),
        log_path=order.log_path,
    )

    def jobs() -> Iterator[Job | None]:
        yield job
        while not recalled():  # asked for another job, about every second
            yield None
        raise _RecalledError

    until_s = time.monotonic() + errand.left_s
    return run_jobs(jobs(), slots=2, timeout_s=errand.timeout_s, until_s=until_s)


def _work(argument: tuple[Work, Order, str | None], send: Callable[[Any], None]) -> bool:
    """Do the job on the GPUs that it was given: the fork server may be older than that gift."""
    work, order, visible = argument
    before = os.environ.get(_VISIBLE)
    _set(_VISIBLE, visible)
    try:
        return work(order, send)
    finally:
        _set(_VISIBLE, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


@contextmanager
def _without_main() -> Iterator[None]:
    """Let processes that start meanwhile not run the cluster's own main module again."""
    main = sys.modules["__main__"]
    path = vars(main).pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            main.__file__ = path
