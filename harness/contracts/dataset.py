"""Where samples come from, and how we know that they are the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, runtime_checkable

from typing_extensions import TypeVar

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image, Input, Pair
from harness.contracts.unlabelled import UnlabelledText

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A file as its publisher has it.

    Attributes:
        path: Relative to the data root, with forward slashes.
        size_bytes: Its length, or None if the publisher does not say.
        md5: The publisher's checksum, hexadecimal; they publish MD5.
    """

    path: str
    size_bytes: int | None
    md5: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One file, or one whole set, held against what was published.

    Attributes:
        path: Where it lies, or should.
        expected: What was published, or what a declaration beside it says.
        found: What lies there, in words.
        ok: Whether the two agree.
    """

    path: str
    expected: str
    found: str
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Something to download.

    Attributes:
        url: Where its publisher has it.
        md5: The publisher's checksum, hexadecimal.
        size_bytes: Its length, or None if the publisher does not say.
        into: The folder under the data root that it is unpacked into, or put into as it is.
    """

    url: str
    md5: str
    size_bytes: int | None
    into: str


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What is known of a data set without opening it.

    Attributes:
        title: Its name in papers.
        classes: How many labels.
        input: What one sample is.
        split: The identity of the fixed train, validation and test split.
        flip_keeps_label: Whether a mirrored sample keeps its label.
        citation: Whom to cite.
        licence: As stated at the source.
        url: Where to get it.
        files: What the publisher ships; empty if the data comes with a library.
        archives: What to download; empty if it cannot be fetched without a person.
        encoding: What the student is given in a step: channels, value range, and what a
            timestep means.
        class_names: What each label means, for people; empty if they are plain numbers.
        task: A file under ``suites/tasks/``: what is asked of a sample.
    """

    title: str
    classes: int
    input: Input
    split: str
    flip_keeps_label: bool
    citation: str
    licence: str
    url: str
    files: tuple[PublishedFile, ...] = ()
    archives: tuple[Archive, ...] = ()
    encoding: str = "direct: the normalised image as a constant current in every step"
    class_names: tuple[str, ...] = ()
    task: str = "classification"

    @property
    def output(self) -> Classes:
        """What is to be answered."""
        return Classes(self.classes)

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation by channel, in units of [0, 1]; both empty for what is no image."""
        match self.input:
            case Image(mean=mean, std=std) | Pair(mean=mean, std=std):
                return mean, std
            case _:
                return (), ()

    @property
    def image(self) -> Image:
        """``input``, for what means images alone.

        Raises:
            UnsupportedError: If a sample is none.
        """
        if not isinstance(self.input, Image):
            raise UnsupportedError(
                f"a sample of {self.title} is {type(self.input).__name__} and no image"
            )
        return self.input


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One part of a split, wholly in memory.

    Attributes:
        inputs: Images are uint8 ``[N, C, H, W]`` and frames of events ``[N, T, C, H, W]``; they
            may be mapped from a file. Token numbers are integers ``[N, L]`` and features
            floats ``[N, L, D]``, or ``harness.data.windows.Windows``.
        labels: int64 ``[N]``, or whatever the task's targets are, ``[N, ...]``.
        groups: int64 ``[N]``, the independent unit that each sample is of, as its video;
            None if each is its own.
    """

    inputs: Any  # an array, or ``Windows``, which stand for one
    labels: NDArray[Any]
    groups: NDArray[np.int64] | None = None

    @property
    def are_images(self) -> bool:
        """Whether a sample is an image, ``[C, H, W]``, or frames of events."""
        return bool(self.inputs.dtype == "uint8")

    @property
    def are_frames(self) -> bool:
        """Whether a sample is frames of events, ``[T, C, H, W]``."""
        return self.are_images and self.inputs.ndim == 5  # [N, T, C, H, W]

    def take(self, places: NDArray[np.int64], /) -> Samples:
        """Return the samples at ``places``, in that order."""
        return Samples(
            inputs=self.inputs.take(places, axis=0),
            labels=self.labels[places],
            groups=None if self.groups is None else self.groups[places],
        )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)


class Source(Protocol):
    """One part of a split that is too large for memory, read sample by sample.

    It travels to worker processes, so it must be picklable and hold no open file.
    """

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels ``[N]``."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def read(
        self, place: int, /, *, chance: np.random.Generator | None
    ) -> NDArray[np.uint8]:  # [H, W, C]
        """Return one sample: cut at random by ``chance``, or as evaluation wants it if None.

        Raises:
            DataError: If it cannot be read; names the file and the remedy.
        """
        ...

    def take(self, places: NDArray[np.int64], /) -> Source:
        """Return the samples at ``places``, in that order."""
        ...


@runtime_checkable
class Renewed(Protocol):
    """A source whose samples are drawn, others in each epoch of a training."""

    def renewed(self, epoch: int, /, *, seed: int) -> Source:
        """Return as many samples, which depend on ``epoch`` and ``seed`` alone.

        Raises:
            DataError: If one cannot be read.
        """
        ...


Part = TypeVar("Part", bound=Samples | Source, default=Samples)


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[Part]):
    """A data set, opened and verified. Its parts are ``Samples`` unless it says ``Source``.

    Attributes:
        train: What a method may learn from.
        validation: What thresholds may be fitted on.
        test: Touched once a cell, at the end.
        vocabulary: Of a text the token of every number, padding first; empty if unknown.
        unlabelled: What may be learnt from before the task, as the suite says; None if nothing.
    """

    train: Part
    validation: Part
    test: Part
    vocabulary: tuple[str, ...] = ()
    unlabelled: Samples | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetProvenance:
    """Which bytes a data set consists of here.

    Attributes:
        fingerprint: Hexadecimal; changes if any byte does.
        notes: Deviations from the published files, each a sentence for row and table.
    """

    fingerprint: str
    notes: tuple[str, ...] = ()


class Dataset(Protocol[Part]):
    """A data set. One file under ``suites/datasets/`` provides exactly one, as ``DATASET``.

    The file must not import torch: planning reads it.
    """

    @property
    def card(self) -> DatasetCard:
        """What is known without opening it."""
        ...

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which bytes are expected under ``root``, without reading them all.

        Raises:
            DataError: If ``root`` lacks the data set; says where to get it.
        """
        ...

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits[Part]:
        """Open the data set, verifying every file.

        Events are cut into ``timesteps`` frames; a static set does not mind.

        Raises:
            DataError: Names the file, the checksum expected and found, and the remedy.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """Unlabelled text, opened and verified.

    Attributes:
        samples: Their labels are all -1.
        note: How much it is and what was left out, for row and table.
    """

    samples: Samples
    note: str


@runtime_checkable
class Reader(Protocol):
    """What a data set of sentences offers besides: to read others as it reads its own."""

    def unlabelled(self, root: Path | None, text: UnlabelledText, /) -> Unlabelled:
        """Open ``text``, without what is in the validation or test part here.

        Raises:
            DataError: If it is no such text; names the file, the line and the remedy.
        """
        ...


@runtime_checkable
class Verifiable(Protocol):
    """What a data set may offer besides, so that ``data verify`` can tell file from file."""

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield one finding a file, reading every byte.

        Raises:
            DataError: If ``root`` lacks the data set.
        """
        ...
