"""Training pairs of any images, and the sequences that a tracker is tested on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import DatasetCard, DatasetProvenance, Finding, Samples, Splits
from harness.contracts.errors import DataError
from harness.contracts.inputs import Pair
from harness.data.checksums import rooted
from harness.data.frames import (
    Frames,
    Pixels,
    centre_of,
    crop,
    padded_side,
    paired,
    read,
    size_of,
)
from harness.seeds import stream
from suites.datasets._tracking_layouts import Shot, findings, fingerprint, reach_of, shots_in

Floats = NDArray[np.float64]
MEAN, STD = (0.485, 0.456, 0.406) * 2, (0.229, 0.224, 0.225) * 2  # ImageNet's, of both crops

# What training pairs look like (Xu et al., AAAI 2020, and its code).
_APART = 100  # frames, at most
_NEGATIVE = 0.1  # share of pairs whose search shows something else
_SCALE, _SHIFT = 0.3, 0.4  # of the search's side; of the template's
_PATCH = (0.1, 0.35)  # sides of what a still without boxes shows, of its shorter side
_HELD = 10  # every tenth sequence is for validation, or the last of so many stills
_PAN_FRAMES = 20
_KEPT = 32  # decoded images
_PAN = 0.6  # of a still's sides that is seen at a time


@dataclass(frozen=True, kw_only=True)
class TrackingSet:
    """Training pairs of one folder and whole sequences of others.

    Attributes:
        card: Its input is a ``Pair``.
        test: Reads the sequences below the data root that are tested on.
        folder: What to train on, relative to the data root, in any layout.
        pairs: How many an epoch.
        few_images: Whether decoded images are kept.
    """

    card: DatasetCard
    test: Callable[[Path], tuple[Shot, ...]]
    folder: str
    pairs: int
    few_images: bool = False

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which files there are, how long they are, and all boxes."""
        place = self._rooted(root)
        return DatasetProvenance(
            fingerprint=fingerprint(*shots_in(place / self.folder), *self.test(place))
        )

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield what decodes and what does not; a part that is missing is one finding."""
        place = self._rooted(root)
        train = place / self.folder
        yield from _part(train, lambda: shots_in(train), "images or sequences to train on")
        yield from _part(place / "tracking", lambda: self.test(place), "sequences to test on")

    def first_pairs(self, root: Path | None, count: int, /) -> "Pairs":
        """Draw the first of the training pairs.

        Raises:
            DataError: If there is nothing to train on; names file and line.
        """
        train, _ = parted(shots_in(self._rooted(root) / self.folder))
        return pairs(train, min(count, self.pairs), self._pair)

    def sequences(self, root: Path | None, /) -> Samples:
        """List the frames of the sequences that are tested on; nothing to train on is needed.

        Raises:
            DataError: If there is none, or one is not whole; names file and line.
        """
        return tested(self.test(self._rooted(root)), self._pair)

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits[Any]:  # noqa: ARG002  static
        """Draw the training pairs; list the frames of the sequences.

        Validation is every tenth training sequence. Where there are only stills, it is a window
        that moves over those held out.
        """
        place, pair = self._rooted(root), self._pair
        train, held = parted(shots_in(place / self.folder))
        move = any(len(shot.paths) > 1 for shot in held)
        return Splits(
            train=pairs(train, self.pairs, pair, opened=_kept if self.few_images else read),
            validation=tested(held, pair) if move else panned(held, pair),
            test=self.sequences(root),
        )

    @property
    def _pair(self) -> Pair:
        assert isinstance(self.card.input, Pair)
        return self.card.input

    def _rooted(self, root: Path | None) -> Path:
        how = f"point --data-root or SNN_DISTILL_DATA at a folder with {self.folder}/ and tracking/"
        return rooted(root, self.card.title, how)


def _part(folder: Path, listed: Callable[[], tuple[Shot, ...]], expected: str) -> Iterator[Finding]:
    try:
        shots = listed()
    except DataError as error:
        yield Finding(path=str(folder), expected=expected, found=str(error), ok=False)
        return
    yield from findings(folder, shots)


def parted(shots: Sequence[Shot], /) -> tuple[list[Shot], list[Shot]]:
    """Return what to train on and what is held out: sequences, or stills if there is no other.

    A still with several objects is several shots: it is held out with all of them, as one.

    Raises:
        DataError: If so little is there that nothing could be held out.
    """
    first = {shot.paths[0]: shot for shot in reversed(shots)}
    if len(first) < 2:
        raise DataError(f"{shots[0].name} is all there is to train on; one more is held out")
    sequences = [shot for shot in shots if shot.regions is not None and len(shot.paths) > 1]
    known = sequences or [*reversed(first.values())]
    held = known[_HELD - 1 :: _HELD] or known[-1:]
    names = {shot.paths[0] for shot in held}
    return [shot for shot in shots if shot.paths[0] not in names], held


def tested(shots: Sequence[Shot], pair: Pair, /) -> Samples:
    """Return sequences as a tracker is tested on them: frames, regions and whose they are."""
    regions = [shot.regions for shot in shots if shot.regions is not None]
    return Samples(
        inputs=_frames([path for shot in shots for path in shot.paths], pair),
        labels=np.concatenate(regions),
        groups=np.repeat(np.arange(len(shots)), [len(shot.paths) for shot in shots]),
    )


def _frames(paths: Sequence[Path], pair: Pair, windows: NDArray[np.int64] | None = None) -> Frames:
    return Frames(
        paths=tuple(paths),
        template_px=pair.template[-1],
        search_px=pair.search[-1],
        windows=windows,
    )


def panned(stills: Sequence[Shot], pair: Pair, /) -> Samples:
    """Return stills as sequences: a window moves over each, and a patch of it is followed."""
    paths, windows, boxes = [], [], []
    for number, still in enumerate(stills):
        chance = stream(0, f"tracking/pan/{number}")
        size = np.array(size_of(still.paths[0]))
        seen = np.maximum(1, (size * _PAN).astype(int))
        ends = chance.integers(0, size - seen + 1, size=(2, 2))
        patch = seen.min() * chance.uniform(*_PATCH, size=2)
        # What every window shows of the still holds the patch's centre at least.
        shared = np.maximum(*ends), np.minimum(*ends) + seen
        corner = chance.uniform(shared[0], np.maximum(shared[0] + 1, shared[1] - patch))
        for part in np.linspace(0, 1, _PAN_FRAMES):
            start = np.round(ends[0] + part * (ends[1] - ends[0])).astype(int)
            paths.append(still.paths[0])
            windows.append([*start, *seen])
            boxes.append([*(corner - start), *patch])
    return Samples(
        inputs=_frames(paths, pair, np.array(windows, dtype=np.int64)),
        labels=np.array(boxes),
        groups=np.repeat(np.arange(len(stills)), _PAN_FRAMES),
    )


@dataclass(frozen=True, kw_only=True)
class Side:
    """One crop of a training pair.

    Attributes:
        path: Of the image.
        centre: Of the crop, ``x, y``, in pixels of the image.
        side: Of the crop, likewise.
    """

    path: Path
    centre: tuple[float, float]
    side: float


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Training pairs, a ``Renewed`` source: drawn as they were made, and others in each epoch.

    Attributes:
        shots: What they are drawn from.
        numbers: int64 ``[N]``; what is random in a pair depends on its number alone.
        templates: One crop a pair.
        searches: Likewise.
        labels: The target's left, top, right and bottom in pixels of the search crop from its
            centre; all 0 where it does not show the target, float32 ``[N, 4]``.
        pair: Sizes of the crops.
        opened: What reads an image.
    """

    shots: tuple[Shot, ...]
    numbers: NDArray[np.int64]
    templates: tuple[Side, ...]
    searches: tuple[Side, ...]
    labels: NDArray[np.float32]
    pair: Pair
    opened: Callable[[Path], Pixels]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.labels)

    def take(self, places: NDArray[np.int64], /) -> "Pairs":
        """Return the pairs at ``places``, in that order."""
        return replace(
            self,
            numbers=self.numbers[places],
            templates=tuple(self.templates[place] for place in places),
            searches=tuple(self.searches[place] for place in places),
            labels=self.labels[places],
        )

    def renewed(self, epoch: int, /, *, seed: int) -> "Pairs":
        """Return other pairs of the same shots under the same numbers.

        Raises:
            DataError: If an image cannot be read.
        """
        return _drawn(self.shots, self.numbers, self.pair, self.opened, f"epoch/{epoch}", seed)

    def read(
        self,
        place: int,
        /,
        *,
        chance: np.random.Generator | None = None,  # noqa: ARG002  all was drawn before
    ) -> Pixels:  # [S, S, 6]
        """Return one pair.

        Raises:
            DataError: If an image cannot be read.
        """
        template, search = (
            crop(self.opened(side.path), np.array(side.centre), side.side, shape[-1])
            for side, shape in (
                (self.templates[place], self.pair.template),
                (self.searches[place], self.pair.search),
            )
        )
        return paired(template, search).transpose(1, 2, 0)


def pairs(
    shots: Sequence[Shot],
    count: int,
    pair: Pair,
    /,
    *,
    seed: int = 0,
    opened: Callable[[Path], Pixels] = read,
) -> Pairs:
    """Return ``count`` training pairs of ``shots``, always the same for the same seed.

    Template and search are frames of one sequence at most 100 apart, or the same still; of a
    still without boxes any patch is taken for a thing. The search is scaled and shifted at
    random, and in one of ten pairs it shows something else.

    Raises:
        DataError: If an image cannot be read.
    """
    return _drawn(tuple(shots), np.arange(count), pair, opened, "begin", seed)


@lru_cache(maxsize=_KEPT)
def _kept(path: Path) -> Pixels:  # a function of this module, so that it reaches other processes
    return read(path)


def _drawn(
    shots: tuple[Shot, ...],
    numbers: NDArray[np.int64],
    pair: Pair,
    opened: Callable[[Path], Pixels],
    when: str,
    seed: int,
) -> Pairs:
    drawn = [
        _one(shots, pair, stream(seed, f"tracking/pairs/{when}/{number}"))
        for number in numbers.tolist()
    ]
    return Pairs(
        shots=shots,
        numbers=numbers,
        templates=tuple(template for template, _, _ in drawn),
        searches=tuple(search for _, search, _ in drawn),
        labels=np.array([label for _, _, label in drawn], dtype=np.float32).reshape(-1, 4),
        pair=pair,
        opened=opened,
    )


def _one(
    shots: Sequence[Shot], pair: Pair, chance: np.random.Generator
) -> tuple[Side, Side, Floats]:
    """Return the crops of one pair and its label ``[4]``."""
    shot = shots[int(chance.integers(len(shots)))]
    first = int(chance.integers(len(shot.paths)))
    near = np.arange(max(0, first - _APART), min(len(shot.paths), first + _APART + 1))
    second = int(chance.choice(near))
    negative = len(shots) > 1 and chance.random() < _NEGATIVE
    box = _box(shot, first, chance)
    there, shown, other = shot, second, box
    if negative:
        there = shots[int(chance.integers(len(shots)))]
        negative = there is not shot
        shown = int(chance.integers(len(there.paths))) if negative else second
    if there.regions is not None or negative:
        other = _box(there, shown, chance)
    template = _around(shot.paths[first], box, pair, of="template")
    search = _shaken(_around(there.paths[shown], other, pair, of="search"), pair, chance)
    return template, search, np.zeros(4) if negative else _label(other, search, pair)


def _box(shot: Shot, frame: int, chance: np.random.Generator) -> Floats:  # [4]
    """Return what a frame shows, a patch of it if nobody says."""
    if shot.regions is not None:
        left, top, right, low = reach_of(shot.regions[frame : frame + 1])[0]
        return np.array([left, top, right - left, low - top])
    size = np.array(_size_of(shot.paths[frame]), dtype=np.float64)
    sides = size.min() * chance.uniform(*_PATCH, size=2)
    return np.concatenate([chance.uniform(0, size - sides), sides])


_size_of = lru_cache(maxsize=4096)(size_of)  # of stills, which are asked again every epoch


def _around(path: Path, box: Floats, pair: Pair, *, of: str) -> Side:
    """Return the crop of a box with its context; a search is as much larger as its pixels."""
    x, y = centre_of(box)
    side = float(padded_side(box[2:]))
    if of == "search":
        side *= pair.search[-1] / pair.template[-1]
    return Side(path=path, centre=(float(x), float(y)), side=side)


def _shaken(side: Side, pair: Pair, chance: np.random.Generator) -> Side:
    """Return a search crop that is scaled and shifted."""
    scaled = side.side * float(np.exp(chance.uniform(-1, 1) * np.log1p(_SCALE)))
    reach = _SHIFT * scaled * pair.template[-1] / pair.search[-1]
    x, y = np.array(side.centre) + chance.uniform(-reach, reach, size=2)
    return replace(side, centre=(float(x), float(y)), side=scaled)


def _label(box: Floats, search: Side, pair: Pair) -> Floats:
    """Return left, top, right and bottom of a box in pixels of a search from its centre."""
    scale = pair.search[-1] / search.side
    low = (box[:2] - search.centre) * scale
    return np.concatenate([low, low + box[2:] * scale])
