"""What all sets of event recordings share: parts of labelled recordings, framed and cached."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from harness.contracts.dataset import DatasetCard, DatasetProvenance, Finding, Samples, Splits
from harness.contracts.errors import DataError
from harness.data.checksums import rooted
from harness.data.events.cache import Decoder, cached_frames, cut
from harness.data.events.framing import Events, Framing, frames
from harness.data.events.recording import Recording

# The feed divides a count by 256, so a std of 1/256 hands the student the count itself,
# exactly. No mean is taken off: a pixel without an event stays 0, and costs nothing.
NO_MEAN = (0.0, 0.0)
ONE_EVENT = (1 / 256, 1 / 256)
POLARITIES = "channel 0 counts OFF and channel 1 ON events, 0 to 255 each (more are cut off)"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Recordings and the label of every sample they give, in order."""

    recordings: tuple[Recording, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A set of recordings under a data root.

    Attributes:
        decode: Reads one of them.
        notes: Deviations from what was published, each a sentence for row and table.
    """

    train: Part
    validation: Part
    test: Part
    decode: Decoder
    notes: tuple[str, ...] = ()

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield the three by name."""
        yield from (("train", self.train), ("validation", self.validation), ("test", self.test))


@dataclass(frozen=True, kw_only=True)
class EventSet:
    """A data set of event recordings.

    Attributes:
        name: The file's own, for the cache.
        card: What is known without opening it.
        framing: For one timestep; ``load`` puts in how many there are.
        find: Lists the recordings under a data root, reading none of them.
    """

    name: str
    card: DatasetCard
    framing: Framing
    find: Callable[[Path | None], Found]

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which recordings are used, by name and size, and what is amiss with them."""
        found = self.find(root)
        lines = [
            f"{part} {recording.identity}"
            for part, listed in found.parts()
            for recording in listed.recordings
        ]
        fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        return DatasetProvenance(fingerprint=fingerprint, notes=found.notes)

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:
        """Map the frames, after building them if they are not in the cache."""
        found = self.find(root)
        framing = replace(self.framing, timesteps=timesteps)
        train, validation, test = (
            Samples(
                inputs=cached_frames(
                    part.recordings,
                    decode=found.decode,
                    framing=framing,
                    name=f"{self.name}-{name}",
                ),
                labels=np.array(part.labels, dtype=np.int64),
            )
            for name, part in found.parts()
        )
        return Splits(train=train, validation=validation, test=test)

    def events(self, root: Path | None, place: int, /) -> Events:
        """Return one training sample as it was recorded, with the fields x, y, t and p."""
        found = self.find(root)
        for recording in found.train.recordings:
            if place < recording.samples:
                samples = cut(found.decode(recording, recording.read()), recording)
                return next(islice(samples, place, None))[0]
            place -= recording.samples
        raise DataError(f"{self.card.title} has {len(found.train.labels)} training samples")

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield one finding a recording; publishers give checksums of their archives alone."""
        found = self.find(root)
        for part, listed in found.parts():
            for recording in listed.recordings:
                yield _finding(recording, found.decode, self.framing, part)


def _finding(recording: Recording, decode: Decoder, framing: Framing, part: str) -> Finding:
    """Return whether a recording can be read whole and framed."""
    expected = f"a whole recording for {part}"
    try:
        content = recording.read()
        events = decode(recording, content)
        for sample, name in cut(events, recording):
            frames(sample, framing, name=name)
    except DataError as error:
        return Finding(path=recording.where, expected=expected, found=str(error), ok=False)
    words = f"{len(events):,} events, SHA-256 {hashlib.sha256(content).hexdigest()}"
    return Finding(path=recording.where, expected=expected, found=words, ok=True)


def folder_of(
    root: Path | None, card: DatasetCard, /, *, folders: Sequence[str], holds: Sequence[str]
) -> Path:
    """Return the first of ``folders`` under ``root`` that holds one of ``holds``.

    Raises:
        DataError: If none does; says what was looked for and where to get it.
    """
    root = rooted(root, card.title, remedy(card))
    for folder in (root / name for name in folders):
        if any((folder / name).exists() for name in holds):
            return folder
    looked = ", ".join(str(root / name) for name in folders)
    raise DataError(
        f"no {card.title} under {root}: {' or '.join(holds)} lies in none of {looked}; "
        f"{remedy(card)}"
    )


def recordings_in(
    folder: Path, base: Path, card: DatasetCard, /, *, endings: Sequence[str]
) -> list[Recording]:
    """Return the recordings of one folder, by name.

    Raises:
        DataError: If the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; {remedy(card)}")
    found = sorted(path for path in folder.iterdir() if path.name.endswith(tuple(endings)))
    if not found:
        raise DataError(f"{folder} holds no {' or '.join(endings)}; {remedy(card)}")
    return [Recording(name=path.relative_to(base).as_posix(), path=path) for path in found]


def part_of(labelled: Iterable[tuple[Recording, Sequence[int]]], /) -> Part:
    """Return a part from recordings, each with the labels of its samples."""
    listed = list(labelled)
    return Part(
        recordings=tuple(recording for recording, _ in listed),
        labels=tuple(label for _, labels in listed for label in labels),
    )


def subset_of(card: DatasetCard, found: int, published: int, kind: str) -> tuple[str, ...]:
    """Return the note that fewer or more ``kind`` were found than published; none if all are."""
    if found == published:
        return ()
    return (f"a subset of {card.title}: {found:,} of {published:,} {kind}",)


def remedy(card: DatasetCard, /) -> str:
    """Return where to get a data set and where to put it, as the end of a message."""
    where = f"the folder that holds {card.archives[0].into}/" if card.archives else "a folder"
    return f"get {card.title} from {card.url} and point --data-root or SNN_DISTILL_DATA at {where}"
