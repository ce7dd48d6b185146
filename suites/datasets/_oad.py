"""What sets of untrimmed videos share: features and labels a frame, in windows of the past.

A **frame** is one feature vector, four a second. A window ends at the newest frame and
looks back; its answers are for the newest ``work`` frames and the ``AHEAD`` after them. A
frame has the classes it shows, and none (``NO_CLASS``) where nobody can say: it is
ambiguous, or past the end.

Files lie as TeSTra (ECCV 2022), LSTR (NeurIPS 2021) and MAT (ICCV 2023) distribute them: a
folder a stream of features and one of labels, in each ``VIDEO.npy`` of as many rows as the
video has frames, the labels 0 or 1 a class, the features finite. Messages count frames from 0,
as rows of these files.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import DatasetCard, DatasetProvenance, Finding, Samples
from harness.contracts.errors import DataError
from harness.data.checksums import rooted
from harness.data.windows import Windows

RATE_HZ = 4.0
AHEAD = 8  # frames: 0.25 to 2 seconds
NO_CLASS = -1
LABELS = "target_perframe"
LOOKED_AT = 20  # videos, among which one is found to show
Film = tuple[str, NDArray[np.int64], NDArray[np.float32]]  # name, classes [F, M], features [F, D]
_OPEN = 128  # files mapped at once; a process may have 1024 open


@dataclass(frozen=True, kw_only=True)
class Videos:
    """Labels of the frames of several videos, one after the other.

    Attributes:
        names: ``V`` of them.
        begins: int64 ``[V + 1]``; where each begins, and the end of the last.
        classes: int64 ``[F, M]``; up to ``M`` classes a frame, then ``NO_CLASS``.
    """

    names: tuple[str, ...]
    begins: NDArray[np.int64]
    classes: NDArray[np.int64]

    def take(self, names: Sequence[str], /) -> NDArray[np.int64]:
        """Return the numbers of the videos called ``names``."""
        place = {name: number for number, name in enumerate(self.names)}
        return np.array([place[name] for name in names], dtype=np.int64)

    def richest(self) -> "Videos":
        """Return the one of the first ``LOOKED_AT`` videos that shows the most classes."""
        ends = self.begins[: LOOKED_AT + 1].tolist()
        shown = [len(np.unique(self.classes[begin:end])) for begin, end in pairwise(ends)]
        number = int(np.argmax(shown))
        begin, end = ends[number : number + 2]
        return Videos(
            names=self.names[number : number + 1],
            begins=np.array([0, end - begin], dtype=np.int64),
            classes=self.classes[begin:end],
        )


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a window shows and asks.

    Attributes:
        length: Frames shown.
        work: The newest of them, for which answers are asked.
    """

    length: int
    work: int


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """The features of many videos as one array ``[F, D]`` that is read where it is asked.

    It holds no open file, so it travels to worker processes.

    Attributes:
        folder: Of the set.
        names: Of the videos.
        begins: int64 ``[V + 1]``.
        streams: Folders and widths, joined in this order.
        remedy: How a message ends.
    """

    folder: Path
    names: tuple[str, ...]
    begins: NDArray[np.int64]
    streams: tuple[tuple[str, int], ...]
    remedy: str
    dtype = np.dtype(np.float32)
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """How many frames of what width."""
        return int(self.begins[-1]), sum(width for _, width in self.streams)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.shape[0]

    def __getitem__(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return ``frames``, of any shape, as float32 ``[..., D]``.

        Raises:
            DataError: If a feature is not finite; names file and frame.
        """
        wanted = np.asarray(frames)
        flat = wanted.reshape(-1)
        rows = np.empty((len(flat), self.shape[1]), dtype=np.float32)
        owner = np.searchsorted(self.begins, flat, side="right") - 1
        for video in np.unique(owner):
            here = np.flatnonzero(owner == video)
            inside, column = flat[here] - self.begins[video], 0
            for stream, width in self.streams:
                path = self.folder / stream / f"{self.names[video]}.npy"
                read = _finite(path, _mapped(str(path)), inside, self.remedy)
                rows[here, column : column + width] = read
                column += width
        return rows.reshape(*wanted.shape, self.shape[1])


@lru_cache(maxsize=_OPEN)
def _mapped(path: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _finite(
    path: Path,
    stored: NDArray[Any],  # [L, D]
    frames: NDArray[np.int64],  # [F]
    remedy: str,
) -> NDArray[np.float32]:  # [F, D]
    """Return frames of a file, or name the first that is not finite in float32."""
    with np.errstate(over="ignore"):  # what is too large is named below
        read: NDArray[np.float32] = stored[frames].astype(np.float32, copy=False)
    if not (finite := np.isfinite(read)).all():
        row, channel = np.argwhere(~finite)[0]
        raise DataError(
            f"{path}: frame {frames[row]} holds {stored[frames[row], channel]} in channel "
            f"{channel}; features must be finite numbers of float32; {remedy}"
        )
    return read


def classes_of(
    target: NDArray[Any],  # [F, C]; 1 where a frame shows the class, else 0
    /,
    *,
    ignored: int,
) -> NDArray[np.int64]:  # [F, M]
    """Return the classes of each frame, numbered without the ``ignored`` one.

    A frame that shows ``ignored`` counts nowhere, whatever else it shows.
    """
    shows = np.delete(target > 0, ignored, axis=1) & ~(target[:, [ignored]] > 0)
    frame, found = np.nonzero(shows)
    count = shows.sum(1)
    classes = np.full((len(target), max(1, int(count.max(initial=0)))), NO_CLASS, dtype=np.int64)
    before = np.cumsum(count) - count
    classes[frame, np.arange(len(frame)) - before[frame]] = found
    return classes


def joined(names: Sequence[str], classes: Sequence[NDArray[np.int64]], /) -> Videos:
    """Return videos one after the other, from the classes ``[frames, m]`` of each."""
    most = max(each.shape[1] for each in classes)
    padded = [
        np.pad(each, ((0, 0), (0, most - each.shape[1])), constant_values=NO_CLASS)
        for each in classes
    ]
    begins = np.cumsum([0, *(len(each) for each in classes)], dtype=np.int64)
    return Videos(names=tuple(names), begins=begins, classes=np.concatenate(padded))


def every(
    videos: Videos, numbers: NDArray[np.int64], /, *, first: int, step: int
) -> NDArray[np.int64]:
    """Return each ``step``-th frame of the videos ``numbers``, from ``first`` in each on."""
    return np.concatenate(
        [
            np.arange(videos.begins[video] + first, videos.begins[video + 1], step)
            for video in numbers
        ]
    )


def windows(
    videos: Videos,
    frames: NDArray[np.float32] | Mapped,  # [F, D]
    ends: NDArray[np.int64],  # [N]
    owners: NDArray[np.int64],  # [N]: the video of each
    /,
    *,
    shape: Shape,
) -> Samples:
    """Return the windows that end at ``ends``; labels ``[N, work + AHEAD, M]``."""
    asked = ends[:, None] + np.arange(1 - shape.work, AHEAD + 1)  # [N, work + AHEAD]
    first, last = videos.begins[owners], videos.begins[owners + 1]
    inside = (asked >= first[:, None]) & (asked < last[:, None])
    labels = videos.classes[np.where(inside, asked, 0)]
    labels[~inside] = NO_CLASS
    cut = Windows(
        # It indexes and tells a shape, which is all that is asked of an array here.
        frames=cast("NDArray[np.float32]", frames),
        newest=ends,
        first=first,
        last=last - 1,
        offsets=np.arange(1 - shape.length, 1, dtype=np.int64),
    )
    return Samples(inputs=cut, labels=labels, groups=owners)


def detected(
    videos: Videos,
    frames: NDArray[np.float32] | Mapped,
    numbers: NDArray[np.int64],  # of the videos
    /,
    *,
    shape: Shape,
    first: int = 0,
    step: int = 1,
) -> Samples:
    """Return the windows that end at every ``step``-th frame of some videos."""
    ends = every(videos, numbers, first=first, step=step)
    owners = np.searchsorted(videos.begins, ends, side="right") - 1
    return windows(videos, frames, ends, owners, shape=shape)


def anticipated(
    videos: Videos,
    frames: NDArray[np.float32] | Mapped,
    numbers: NDArray[np.int64],
    /,
    *,
    shape: Shape,
    before: int,
) -> Samples:
    """Return the windows that end ``before`` frames before an action of some videos begins.

    One for each frame that shows a class that the frame before it does not. A window that
    ends before its video begins is empty, and counts.
    """
    ends, owners = [], []
    for video in numbers:
        of_video = videos.classes[videos.begins[video] : videos.begins[video + 1]]
        earlier = np.vstack([np.full_like(of_video[:1], NO_CLASS), of_video[:-1]])
        begun = (of_video[:, :, None] != earlier[:, None, :]).all(2) & (of_video != NO_CLASS)
        onsets = np.flatnonzero(begun.any(1)) + videos.begins[video]
        ends.append(onsets - before)
        owners.append(np.full(len(onsets), video, dtype=np.int64))
    return windows(videos, frames, np.concatenate(ends), np.concatenate(owners), shape=shape)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the files of one set of videos lie, and what must be in them.

    Attributes:
        card: Of the set.
        folders: Looked for under the data root, in this order.
        streams: Folders of features and their widths, joined in this order.
        columns: Of the labels.
        ignored: The column whose frames count nowhere.
    """

    card: DatasetCard
    folders: tuple[str, ...]
    streams: tuple[tuple[str, int], ...]
    columns: int
    ignored: int

    def find(self, root: Path | None, /) -> Path:
        """Return the folder that holds the labels.

        Raises:
            DataError: If none does.
        """
        root = rooted(root, self.card.title, self.remedy)
        for name in self.folders:
            if (root / name / LABELS).is_dir():
                return root / name
        looked = ", ".join(str(root / name / LABELS) for name in self.folders)
        raise DataError(f"no {self.card.title} under {root}: looked for {looked}; {self.remedy}")

    @property
    def remedy(self) -> str:
        """How a message ends."""
        named = ", ".join(name for name, _ in self.streams)
        return (
            f"get labels and features from {self.card.url} and unpack them as "
            f"{self.folders[0]}/ with {LABELS}, {named} in it"
        )

    def videos(self, folder: Path, names: Sequence[str], /) -> Videos:
        """Read the labels of the videos ``names``.

        Raises:
            DataError: If a file is missing, cannot be read or is not of the right width, or holds
                anything but 0 and 1, or no 1 at all.
        """
        classes = [
            classes_of(self._labels(folder / LABELS / f"{name}.npy"), ignored=self.ignored)
            for name in names
        ]
        return joined(names, classes)

    def film(self, folder: Path, names: Sequence[str], /) -> Film:
        """Return of the first videos ``names`` the one that shows the most classes.

        Raises:
            DataError: If a file is missing, or not what it must be.
        """
        one = self.videos(folder, names[:LOOKED_AT]).richest()
        return one.names[0], one.classes, self.frames(folder, one)[np.arange(len(one.classes))]

    def frames(self, folder: Path, videos: Videos, /) -> Mapped:
        """Map the features of ``videos``, after looking at every file's width and length.

        Raises:
            DataError: If one is missing, or of another width or length than it must be, or its
                first, middle or last frame is not finite.
        """
        lengths = np.diff(videos.begins)
        for stream, width in self.streams:
            for name, length in zip(videos.names, lengths.tolist(), strict=True):
                path = folder / stream / f"{name}.npy"
                # What is spoilt as a whole shows in three frames; every other is looked at when
                # a window reads it.
                few = np.array([0, length // 2, length - 1])
                _finite(path, self._stream(path, width, length), few, self.remedy)
        return Mapped(
            folder=folder,
            names=videos.names,
            begins=videos.begins,
            streams=self.streams,
            remedy=self.remedy,
        )

    def findings(
        self,
        root: Path | None,
        named: Callable[[Path], Sequence[str]],
        /,
        *,
        work: int,
    ) -> Iterator[Finding]:
        """Yield one finding a file, reading every number; a wrong number of videos is one more.

        Args:
            root: Where data lies.
            named: Returns the names of the videos of a folder, or says which are missing.
            work: Frames that a video must have.

        Raises:
            DataError: If no folder holds the labels.
        """
        folder = self.find(root)
        try:
            names = named(folder)
        except DataError as error:
            place = str(folder / LABELS)
            yield Finding(path=place, expected="every video", found=str(error), ok=False)
            names = sorted(path.stem for path in (folder / LABELS).glob("*.npy"))
        for name in names:
            yield from self._findings(folder, name, work)

    def _findings(self, folder: Path, name: str, work: int) -> Iterator[Finding]:
        path, length = folder / LABELS / f"{name}.npy", None
        expected = f"0 and 1 [L, {self.columns}]"
        try:
            length = len(self._labels(path))
            _refuse_short(path, length, work)
        except DataError as error:
            yield Finding(path=str(path), expected=expected, found=str(error), ok=False)
        else:
            found = f"0 and 1 [{length}, {self.columns}]"
            yield Finding(path=str(path), expected=expected, found=found, ok=True)
        for stream, width in self.streams:
            path = folder / stream / f"{name}.npy"
            expected = f"finite numbers [{'L' if length is None else length}, {width}]"
            try:
                array = self._stream(path, width, length)
                _finite(path, array, np.arange(len(array)), self.remedy)
            except DataError as error:
                yield Finding(path=str(path), expected=expected, found=str(error), ok=False)
            else:
                found = f"finite numbers [{len(array)}, {width}]"
                yield Finding(path=str(path), expected=expected, found=found, ok=True)

    def labels_provenance(self, folder: Path, names: Sequence[str], /) -> DatasetProvenance:
        """Return which labels are used, by name and size.

        Raises:
            DataError: If a file is missing.
        """
        return self._listed(folder, names, (LABELS,))

    def provenance(self, folder: Path, names: Sequence[str], /) -> DatasetProvenance:
        """Return which files are used, by name and size; nobody publishes checksums of them.

        Raises:
            DataError: If one is missing.
        """
        return self._listed(folder, names, (LABELS, *(stream for stream, _ in self.streams)))

    def _listed(
        self, folder: Path, names: Sequence[str], parts: Sequence[str]
    ) -> DatasetProvenance:
        lines = []
        for part in parts:
            for name in names:
                path = folder / part / f"{name}.npy"
                if not path.is_file():
                    raise DataError(f"{path} is missing; {self.remedy}")
                lines.append(f"{part}/{name} {path.stat().st_size}")
        fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return DatasetProvenance(fingerprint=fingerprint)

    def _labels(self, path: Path) -> NDArray[Any]:  # [L, columns]
        target = self._array(path, self.columns)
        if not len(target):
            raise DataError(f"{path} has no frame; {self.remedy}")
        wrong = ~((target == 0) | (target == 1))  # NaN too
        if wrong.any():
            frame, column = np.argwhere(wrong)[0]
            raise DataError(
                f"{path}: frame {frame} has {target[frame, column]} in column {column}; labels "
                f"are 0 or 1; {self.remedy}"
            )
        if not target.any():
            raise DataError(f"{path}: no frame shows any class, all labels are 0; {self.remedy}")
        return target

    def _stream(self, path: Path, width: int, length: int | None) -> NDArray[Any]:  # [L, width]
        found = self._array(path, width)
        if length is not None and len(found) != length:
            raise DataError(
                f"{path} has {len(found)} frames and its labels {length}; {self.remedy}"
            )
        return found

    def _array(self, path: Path, width: int) -> NDArray[Any]:
        if not path.is_file():
            raise DataError(f"{path} is missing; {self.remedy}")
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} cannot be read: {error}; {self.remedy}") from error
        if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "biuf":
            raise DataError(
                f"{path} is {array.dtype} {list(array.shape)}; expected numbers [L, {width}]; "
                f"{self.remedy}"
            )
        return array  # type: ignore[no-any-return]  # np.load is untyped as to what it maps


def held_out(names: Sequence[str], /) -> tuple[list[str], list[str]]:
    """Return ``(train, validation)``: of the sorted names, every tenth is for validation."""
    ordered = sorted(names)
    chosen = set(ordered[9::10])
    return [name for name in ordered if name not in chosen], sorted(chosen)


def refuse_short(videos: Videos, folder: Path, work: int, /) -> None:
    """Refuse a video that has fewer frames than are asked about at once.

    Raises:
        DataError: Names the file.
    """
    for name, length in zip(videos.names, np.diff(videos.begins).tolist(), strict=True):
        _refuse_short(folder / f"{name}.npy", length, work)


def _refuse_short(path: Path, length: int, work: int) -> None:
    if length < work:
        raise DataError(f"{path} has {length} frames, and a window asks about {work}; get it again")
