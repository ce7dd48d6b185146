"""CIFAR10-DVS: 10,000 images of CIFAR-10 moved on a screen before an event sensor."""

import re
from pathlib import Path

from harness.contracts.dataset import Archive, Dataset, DatasetCard
from harness.contracts.errors import DataError
from harness.contracts.inputs import Image
from harness.data.events.framing import Framing
from harness.data.events.recording import Recording
from suites.datasets._events import (
    NO_MEAN,
    ONE_EVENT,
    POLARITIES,
    EventSet,
    Found,
    folder_of,
    part_of,
    recordings_in,
    remedy,
    subset_of,
)
from suites.datasets._events_formats import cifar10_dvs
from suites.datasets._events_splits import split

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
OF_EACH_CLASS = 1_000
FOLDERS = ("CIFAR10DVS", "cifar10_dvs", "CIFAR10-DVS", "events/CIFAR10DVS", ".")

CARD = DatasetCard(
    title="CIFAR10-DVS",
    classes=10,
    input=Image(
        shape=(2, 48, 48),
        mean=NO_MEAN,
        std=ONE_EVENT,
    ),
    split="by recording, 81/9/10 % of each class, as listed in splits/cifar10_dvs.json, seed 0",
    flip_keeps_label=True,
    citation=(
        "H. Li, H. Liu, X. Ji, G. Li & L. Shi, CIFAR10-DVS: An Event-Stream Dataset for Object "
        "Classification, Frontiers in Neuroscience 11:309, 2017"
    ),
    licence="CC BY 4.0",
    url="https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671",
    # Address and checksum are those of tonic.datasets.CIFAR10DVS.
    archives=(
        Archive(
            url="https://figshare.com/ndownloader/files/38023437",
            md5="ce3a4a0682dc0943703bd8f749a7701c",
            size_bytes=None,
            into="CIFAR10DVS",
        ),
    ),
    encoding=(
        f"events of 128x128 pixels added up to 48x48: {POLARITIES}; a timestep is 1/T of the "
        "recording's events"
    ),
    class_names=CLASSES,
)
_NUMBERED = re.compile(r"cifar10_([a-z]+)_(\d{1,3})\.aedat4?")


def find(root: Path | None, /) -> Found:
    """List the recordings under ``root``, reading none of them."""
    folder = folder_of(root, CARD, folders=FOLDERS, holds=CLASSES)
    parts: dict[str, list[tuple[Recording, tuple[int]]]] = {
        part: [] for part in ("train", "validation", "test")
    }
    listed = split("cifar10_dvs")
    for label, name in enumerate(CLASSES):
        held = {part: frozenset(listed[part][name]) for part in ("validation", "test")}
        recordings = recordings_in(folder / name, folder, CARD, endings=[".aedat", ".aedat4"])
        for recording in sorted(recordings, key=lambda each: _number(each, name)):
            number = _number(recording, name)
            part = next((part for part, numbers in held.items() if number in numbers), "train")
            parts[part].append((recording, (label,)))
    total = sum(map(len, parts.values()))
    return Found(
        train=part_of(parts["train"]),
        validation=part_of(parts["validation"]),
        test=part_of(parts["test"]),
        decode=cifar10_dvs,
        notes=subset_of(CARD, total, OF_EACH_CLASS * len(CLASSES), "recordings"),
    )


def _number(recording: Recording, name: str) -> int:
    """Return which recording of its class this is.

    Raises:
        DataError: If it is not called as its publisher calls it; the split goes by number.
    """
    found = _NUMBERED.fullmatch(recording.name.rpartition("/")[2])
    if found is None or found[1] != name:
        raise DataError(
            f"{recording.path} is not called cifar10_{name}_NUMBER.aedat or .aedat4, and the split "
            f"goes by that number; {remedy(CARD)}"
        )
    return int(found[2])


DATASET: Dataset = EventSet(
    name="cifar10_dvs",
    card=CARD,
    framing=Framing(timesteps=1, sensor=(128, 128), size=(48, 48), by="count"),
    find=find,
)
