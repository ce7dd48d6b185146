"""VOT: sequences with polygons, tracked with a new start after each failure."""

from pathlib import Path

from harness.contracts.dataset import Dataset, DatasetCard
from harness.contracts.inputs import Pair
from suites.datasets._tracking import MEAN, STD, TrackingSet
from suites.datasets._tracking_layouts import Shot, vot


def _sequences(root: Path) -> tuple[Shot, ...]:
    return vot(root / "tracking" / "VOT")


DATASET: Dataset = TrackingSet(
    card=DatasetCard(
        title="VOT",
        classes=1,
        input=Pair(template=(3, 127, 127), search=(3, 303, 303), mean=MEAN, std=STD),
        split=(
            "train: pairs of tracking/train (GOT-10k, COCO or any folder), every tenth sequence "
            "for validation; test: all of tracking/VOT"
        ),
        flip_keeps_label=False,
        citation=(
            "M. Kristan et al. The sixth Visual Object Tracking VOT2018 challenge results. "
            "ECCV Workshops, 2018"
        ),
        licence="academic use, not stated",
        url="https://www.votchallenge.net",
        encoding="direct: the normalised template and search as a constant current in every step",
        class_names=("target",),
        task="tracking_resets",
    ),
    test=_sequences,
    folder="tracking/train",
    pairs=400_000,
)
