"""EPIC-KITCHENS-100 for action anticipation: features, four a second, of 633 videos."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from harness.contracts.dataset import Dataset, DatasetCard, DatasetProvenance, Finding, Splits
from harness.contracts.errors import DataError
from harness.contracts.inputs import Features
from suites.datasets._events_splits import split
from suites.datasets._oad import (
    LABELS,
    RATE_HZ,
    Film,
    Layout,
    Shape,
    anticipated,
    detected,
    held_out,
    refuse_short,
)

ACTIONS, BACKGROUND = 3806, 0
TRAIN_VIDEOS, TEST_VIDEOS = 495, 138
ONE_SECOND = 4  # frames
# MAT's long and work memory: 64 and 5 seconds. Training looks at every frame four times.
SHAPE = Shape(length=256 + 20, work=20)
STEP = 5
STREAMS = (("rgb_kinetics_bninception", 1024), ("flow_kinetics_bninception", 1024))

CARD = DatasetCard(
    title="EPIC-KITCHENS-100 (action anticipation)",
    task="epic_anticipation",
    classes=ACTIONS,
    input=Features(width=sum(width for _, width in STREAMS), length=SHAPE.length, rate_hz=RATE_HZ),
    split=(
        f"official: the {TEST_VIDEOS} videos of its validation part are for test; of the others, "
        "sorted by name, every tenth for validation; judged is each action one second before it "
        "begins, where it begins by the labels a frame"
    ),
    flip_keeps_label=False,
    citation=(
        "Damen et al. Rescaling egocentric vision: collection, pipeline and challenges for "
        "EPIC-KITCHENS-100. IJCV 2022; features: Furnari, Farinella. Rolling-unrolling LSTMs for "
        "action anticipation. TPAMI 2020, as Zhao and Krahenbuhl (ECCV 2022) distribute them"
    ),
    licence="CC BY-NC 4.0",
    url="https://github.com/zhaoyue-zephyrus/TeSTra",
    encoding="direct: the features of a window as a constant current in every step",
)
LAYOUT = Layout(
    card=CARD,
    folders=("EK100", "epic100_oad", "oad/EK100"),
    streams=STREAMS,
    columns=ACTIONS + 1,
    ignored=BACKGROUND,
)


@dataclass(frozen=True, kw_only=True)
class Epic:
    """Windows over the official videos."""

    card: DatasetCard = CARD

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which files are used, by name and size."""
        folder = LAYOUT.find(root)
        train, test = named(folder)
        return LAYOUT.provenance(folder, [*train, *test])

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Yield what every file is and should be, reading every number."""
        yield from LAYOUT.findings(
            root, lambda folder: list(chain(*named(folder))), work=SHAPE.work
        )

    def film(self, root: Path | None, /) -> Film:
        """Return name, classes and features of one video for training."""
        folder = LAYOUT.find(root)
        return LAYOUT.film(folder, named(folder)[0])

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  a static set
        """Read the labels and map the features."""
        folder = LAYOUT.find(root)
        train, test = named(folder)
        videos = LAYOUT.videos(folder, [*train, *test])
        refuse_short(videos, folder / LABELS, SHAPE.work)
        frames = LAYOUT.frames(folder, videos)
        train, validation = held_out(train)
        judged = (
            anticipated(videos, frames, videos.take(part), shape=SHAPE, before=ONE_SECOND)
            for part in (validation, test)
        )
        return Splits(
            train=detected(
                videos, frames, videos.take(train), shape=SHAPE, first=SHAPE.work - 1, step=STEP
            ),
            validation=next(judged),
            test=next(judged),
        )


def named(folder: Path, /) -> tuple[list[str], list[str]]:
    """Return the names of the videos for training and for test.

    Raises:
        DataError: If there are more or fewer than were published.
    """
    published = set(split("epic100_oad")["test"])
    names = sorted(path.stem for path in (folder / LABELS).glob("P*.npy"))
    train = [name for name in names if name not in published]
    test = [name for name in names if name in published]
    if (len(train), len(test)) != (TRAIN_VIDEOS, TEST_VIDEOS):
        raise DataError(
            f"{folder / LABELS} holds {len(train)} videos for training and {len(test)} for test; "
            f"{TRAIN_VIDEOS} and {TEST_VIDEOS} were published; {LAYOUT.remedy}"
        )
    return train, test


DATASET: Dataset = Epic()
