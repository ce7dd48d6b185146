"""N-MNIST: MNIST's digits on a screen, seen by a sensor that makes three small saccades."""

from pathlib import Path

import numpy as np

from harness.contracts.dataset import Archive, Dataset, DatasetCard
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
)
from suites.datasets._events_formats import nmnist_bin
from suites.datasets._splits import last_tenth_of_each_class

PUBLISHED = {"Train": 60_000, "Test": 10_000}
FOLDERS = ("NMNIST", "nmnist", "N-MNIST", "events/NMNIST", "events/nmnist_small", ".")
FRAMING = Framing(timesteps=1, sensor=(34, 34), size=(34, 34), by="time")
_FILES = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"

CARD = DatasetCard(
    title="N-MNIST",
    classes=10,
    input=Image(
        shape=(2, 34, 34),
        mean=NO_MEAN,
        std=ONE_EVENT,
    ),
    split="official test; validation = last tenth of each class by file name",
    flip_keeps_label=False,
    citation=(
        "G. Orchard, A. Jayawant, G. K. Cohen & N. Thakor, Converting Static Image Datasets to "
        "Spiking Neuromorphic Datasets Using Saccades, Frontiers in Neuroscience 9:437, 2015"
    ),
    licence="CC BY-SA 4.0",
    url="https://data.mendeley.com/datasets/468j46mzdv/1",
    # Addresses and checksums are those of tonic.datasets.NMNIST.
    archives=(
        Archive(
            url=f"{_FILES}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
            md5="20959b8e626244a1b502305a9e6e2031",
            size_bytes=None,
            into="NMNIST",
        ),
        Archive(
            url=f"{_FILES}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
            md5="69ca8762b2fe404d9b9bad1103e97832",
            size_bytes=None,
            into="NMNIST",
        ),
    ),
    encoding=f"events: {POLARITIES}; a timestep is 1/T of the recording's 0.3 seconds",
)


def find(root: Path | None, /) -> Found:
    """List the recordings under ``root``, reading none of them."""
    folder = folder_of(root, CARD, folders=FOLDERS, holds=("Train", "Test"))
    listed = {part: _labelled(folder, part) for part in PUBLISHED}
    labels = np.array([label for _, (label,) in listed["Train"]])
    held_out = last_tenth_of_each_class(labels)
    return Found(
        train=part_of(
            item for item, held in zip(listed["Train"], held_out, strict=True) if not held
        ),
        validation=part_of(
            item for item, held in zip(listed["Train"], held_out, strict=True) if held
        ),
        test=part_of(listed["Test"]),
        decode=nmnist_bin,
        notes=_notes(len(listed["Train"]), len(listed["Test"])),
    )


def _labelled(folder: Path, part: str) -> list[tuple[Recording, tuple[int]]]:
    return [
        (recording, (label,))
        for label in range(CARD.classes)
        for recording in recordings_in(folder / part / str(label), folder, CARD, endings=[".bin"])
    ]


def _notes(train: int, test: int) -> tuple[str, ...]:
    if (train, test) == tuple(PUBLISHED.values()):
        return ()
    note = (
        f"a subset of N-MNIST: {train:,} of {PUBLISHED['Train']:,} training and {test:,} of "
        f"{PUBLISHED['Test']:,} test recordings"
    )
    return (note,)


DATASET: Dataset = EventSet(name="nmnist", card=CARD, framing=FRAMING, find=find)
