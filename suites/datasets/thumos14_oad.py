"""THUMOS14 for online action detection: Kinetics features, four a second, of 413 videos."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import Dataset, DatasetCard, DatasetProvenance, Finding, Splits
from harness.contracts.errors import DataError
from harness.contracts.inputs import Features
from suites.datasets._oad import (
    LABELS,
    RATE_HZ,
    Film,
    Layout,
    Mapped,
    Shape,
    Videos,
    detected,
    held_out,
    refuse_short,
)

CLASS_NAMES = (
    "Background",
    "BaseballPitch",
    "BasketballDunk",
    "Billiards",
    "CleanAndJerk",
    "CliffDiving",
    "CricketBowling",
    "CricketShot",
    "Diving",
    "FrisbeeCatch",
    "GolfSwing",
    "HammerThrow",
    "HighJump",
    "JavelinThrow",
    "LongJump",
    "PoleVault",
    "Shotput",
    "SoccerPenalty",
    "TennisSwing",
    "ThrowDiscus",
    "VolleyballSpiking",
)
AMBIGUOUS = len(CLASS_NAMES)
COLUMNS = AMBIGUOUS + 1
TRAIN, TEST = "video_validation_", "video_test_"
VIDEOS = {TRAIN: 200, TEST: 213}
# MAT's long and work memory: 256 and 8 seconds. Training looks at every frame four times.
SHAPE = Shape(length=1024 + 32, work=32)
STEP = 8
CITATION = (
    "Jiang et al. THUMOS challenge: action recognition with a large number of classes. 2014; "
    "features and labels a frame: Zhao, Krahenbuhl. Real-time online video detection with "
    "temporal smoothing transformers. ECCV 2022"
)
SPLIT = (
    "official: its 200 validation videos are for training, 213 for test; of the 200, sorted by "
    "name, every tenth for validation"
)
STREAMS = (("rgb_kinetics_resnet50", 2048), ("flow_kinetics_bninception", 1024))

CARD = DatasetCard(
    title="THUMOS14 (action detection)",
    task="online_action_detection",
    classes=len(CLASS_NAMES),
    input=Features(width=sum(width for _, width in STREAMS), length=SHAPE.length, rate_hz=RATE_HZ),
    split=SPLIT,
    flip_keeps_label=False,
    citation=CITATION,
    licence="not stated at the source",
    url="https://github.com/zhaoyue-zephyrus/TeSTra",
    encoding="direct: the features of a window as a constant current in every step",
    class_names=CLASS_NAMES,
)
LAYOUT = Layout(
    card=CARD,
    folders=("THUMOS", "thumos14_oad", "oad/THUMOS"),
    streams=STREAMS,
    columns=COLUMNS,
    ignored=AMBIGUOUS,
)


@dataclass(frozen=True, kw_only=True)
class Thumos:
    """Windows over the official videos."""

    card: DatasetCard = CARD

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which files are used, by name and size."""
        folder = LAYOUT.find(root)
        return LAYOUT.provenance(folder, [*named(folder)])

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield what every file is and should be, reading every number."""
        yield from LAYOUT.findings(root, named, work=SHAPE.work)

    def film(self, root: Path | None, /) -> Film:
        """Return name, classes and features of one video for training."""
        folder = LAYOUT.find(root)
        return LAYOUT.film(folder, named(folder))

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  a static set
        """Read the labels and map the features."""
        folder = LAYOUT.find(root)
        videos = LAYOUT.videos(folder, named(folder))
        refuse_short(videos, folder / LABELS, SHAPE.work)
        return split(videos, LAYOUT.frames(folder, videos), shape=SHAPE, step=STEP)


def named(folder: Path, /) -> list[str]:
    """Return the official videos' names, those for training first.

    Raises:
        DataError: If there are more or fewer than were published.
    """
    names = sorted(path.stem for path in (folder / LABELS).glob("video_*.npy"))
    for begin, published in VIDEOS.items():
        found = sum(name.startswith(begin) for name in names)
        if found != published:
            raise DataError(
                f"{folder / LABELS} holds {found} files {begin}*.npy; {published} were "
                f"published; {LAYOUT.remedy}"
            )
    return [name for begin in VIDEOS for name in names if name.startswith(begin)]


def split(
    videos: Videos,
    frames: NDArray[np.float32] | Mapped,
    /,
    *,
    shape: Shape,
    step: int,
    judged: int = 1,
) -> Splits:
    """Return the official parts.

    Args:
        videos: All of them.
        frames: Their features ``[F, D]``.
        shape: Of a window.
        step: Between the ends of windows to train on.
        judged: Between those that are judged; the literature's is every frame.
    """
    train, validation = held_out([name for name in videos.names if name.startswith(TRAIN)])
    test = [name for name in videos.names if name.startswith(TEST)]
    return Splits(
        train=detected(
            videos, frames, videos.take(train), shape=shape, first=shape.work - 1, step=step
        ),
        validation=detected(videos, frames, videos.take(validation), shape=shape, step=judged),
        test=detected(videos, frames, videos.take(test), shape=shape, step=judged),
    )


DATASET: Dataset = Thumos()
