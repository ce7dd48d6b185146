"""DVS-Gesture: eleven gestures of 29 people before an event sensor, under three to five lights."""

import re
from pathlib import Path

import numpy as np

from harness.contracts.dataset import Archive, Dataset, DatasetCard
from harness.contracts.errors import DataError
from harness.contracts.inputs import Image
from harness.data.events.cache import Decoder
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
    remedy,
    subset_of,
)
from suites.datasets._events_formats import gesture_aedat3, gesture_npy
from suites.datasets._events_splits import split

TONIC = {"ibmGestureTrain": ("train", "validation"), "ibmGestureTest": ("test",)}
TRIALS = {"trials_to_train.txt": ("train", "validation"), "trials_to_test.txt": ("test",)}
FOLDERS = ("DVSGesture", "DvsGesture", "dvs_gesture", "events/DVSGesture", "events/DvsGesture", ".")
# Of Tonic's packaging, one file a sample; of the original, one file a trial.
PUBLISHED_SAMPLES = 1_077 + 264
PUBLISHED_TRIALS = 98 + 24

CARD = DatasetCard(
    title="DVS-Gesture",
    classes=11,
    input=Image(
        shape=(2, 128, 128),
        mean=NO_MEAN,
        std=ONE_EVENT,
    ),
    split="official, by user: 24 to 29 test; users 21 to 23 validation",
    # Mirrored, a wave of the right hand is one of the left.
    flip_keeps_label=False,
    citation=(
        "A. Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017"
    ),
    licence="CC BY 4.0",
    url="https://ibm.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8",
    # Addresses and checksums are those of tonic.datasets.DVSGesture.
    archives=(
        Archive(
            url="https://figshare.com/ndownloader/files/38022171",
            md5="3a8f0d4120a166bac7591f77409cb105",
            size_bytes=None,
            into="DVSGesture",
        ),
        Archive(
            url="https://figshare.com/ndownloader/files/38020584",
            md5="56070e45dadaa85fff82e0fbfbc06de5",
            size_bytes=None,
            into="DVSGesture",
        ),
    ),
    encoding=f"events of 128x128 pixels: {POLARITIES}; a timestep is 1/T of the gesture's events",
    class_names=(
        "hand clapping",
        "right hand wave",
        "left hand wave",
        "right arm clockwise",
        "right arm counter-clockwise",
        "left arm clockwise",
        "left arm counter-clockwise",
        "arm roll",
        "air drums",
        "air guitar",
        "other gestures",
    ),
)
Labelled = tuple[Recording, tuple[int, ...]]
Allowed = tuple[Recording, tuple[int, ...], tuple[str, ...]]


def find(root: Path | None, /) -> Found:
    """List the recordings under ``root``, in Tonic's packaging or as IBM ships them."""
    folder = folder_of(root, CARD, folders=FOLDERS, holds=(*TONIC, *TRIALS))
    by_part: dict[str, list[Labelled]] = {"train": [], "validation": [], "test": []}
    is_original = any((folder / name).is_file() for name in TRIALS)
    listed = _original(folder) if is_original else _tonic(folder)
    decode: Decoder = gesture_aedat3 if is_original else gesture_npy
    users = {user: part for part in by_part for user in split("dvs_gesture")[part]}
    for recording, labels, allowed in listed:
        part = users.get(_user(recording), "none")
        if part not in allowed:
            raise DataError(
                f"{recording.path} is of a user whose official part is {part}, and lies with "
                f"{' and '.join(allowed)}: the split would leak; {remedy(CARD)}"
            )
        by_part[part].append((recording, labels))
    kind, published = (
        ("trials", PUBLISHED_TRIALS) if is_original else ("samples", PUBLISHED_SAMPLES)
    )
    return Found(
        train=part_of(by_part["train"]),
        validation=part_of(by_part["validation"]),
        test=part_of(by_part["test"]),
        decode=decode,
        notes=subset_of(CARD, len(listed), published, kind),
    )


def _tonic(folder: Path) -> list[Allowed]:
    """List ``ibmGestureTrain/user01_fluorescent/0.npy`` and its like; the name is the label."""
    listed: list[Allowed] = []
    for name, allowed in TONIC.items():
        if not (folder / name).is_dir():
            raise DataError(f"{folder / name} is missing; {remedy(CARD)}")
        for path in sorted((folder / name).glob("user*/*.npy")):
            if not path.stem.isdecimal() or int(path.stem) >= CARD.classes:
                raise DataError(
                    f"{path} is not called 0.npy to {CARD.classes - 1}.npy, which is its label; "
                    f"{remedy(CARD)}"
                )
            recording = Recording(name=path.relative_to(folder).as_posix(), path=path)
            listed.append((recording, (int(path.stem),), allowed))
        if not any(allowed == each[2] for each in listed):
            raise DataError(f"{folder / name} holds no userNN_light/LABEL.npy; {remedy(CARD)}")
    return listed


def _original(folder: Path) -> list[Allowed]:
    """List the trials that ``trials_to_train.txt`` and ``trials_to_test.txt`` name."""
    listed: list[Allowed] = []
    for name, allowed in TRIALS.items():
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; {remedy(CARD)}")
        for trial in (folder / name).read_text(encoding="utf-8").split():
            path = folder / trial
            if not path.is_file():
                raise DataError(f"{path} is missing, which {name} names; {remedy(CARD)}")
            labels, cuts = _labels(path.with_name(f"{path.stem}_labels.csv"))
            listed.append((Recording(name=trial, path=path, cuts=cuts), labels, allowed))
    return listed


def _labels(path: Path) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Return labels from 0 and ``(start, stop)`` in microseconds of a trial's gestures."""
    try:
        rows = np.loadtxt(path, dtype=np.int64, delimiter=",", skiprows=1, ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; {remedy(CARD)}") from error
    if rows.shape[1] != 3 or not len(rows):
        raise DataError(
            f"{path} must have the columns class, startTime_usec and endTime_usec, got an array "
            f"of shape {rows.shape}; {remedy(CARD)}"
        )
    for label, start, stop in rows.tolist():
        if not 1 <= label <= CARD.classes or start >= stop:
            raise DataError(
                f"{path} has a gesture {label} from {start} to {stop}; expected 1 to "
                f"{CARD.classes}, beginning before it ends; {remedy(CARD)}"
            )
    return (
        tuple(label - 1 for label in rows[:, 0].tolist()),
        tuple((start, stop) for _, start, stop in rows.tolist()),
    )


def _user(recording: Recording) -> int:
    """Return who it is of; both layouts say ``userNN_light`` somewhere in the name."""
    found = re.search(r"user(\d+)_", recording.name)
    if found is None:
        raise DataError(f"{recording.path} does not say whose it is, userNN_; {remedy(CARD)}")
    return int(found[1])


DATASET: Dataset = EventSet(
    name="dvs_gesture",
    card=CARD,
    framing=Framing(timesteps=1, sensor=(128, 128), size=(128, 128), by="count"),
    find=find,
)
