"""OTB: sequences with upright boxes, each tracked in one pass (Wu et al., TPAMI 2015)."""

from pathlib import Path

from harness.contracts.dataset import Dataset, DatasetCard
from harness.contracts.inputs import Pair
from suites.datasets._tracking import MEAN, STD, TrackingSet
from suites.datasets._tracking_layouts import Shot, otb


def _sequences(root: Path) -> tuple[Shot, ...]:
    return otb(root / "tracking" / "OTB")


DATASET: Dataset = TrackingSet(
    card=DatasetCard(
        title="OTB",
        classes=1,
        input=Pair(template=(3, 127, 127), search=(3, 303, 303), mean=MEAN, std=STD),
        split=(
            "train: pairs of tracking/train (GOT-10k, COCO or any folder), every tenth sequence "
            "for validation; test: all of tracking/OTB"
        ),
        flip_keeps_label=False,
        citation=(
            "Y. Wu, J. Lim & M.-H. Yang. Object tracking benchmark. IEEE TPAMI 37(9):1834-1848, "
            "2015"
        ),
        licence="academic use, not stated",
        url="http://cvlab.hanyang.ac.kr/tracker_benchmark/",
        encoding="direct: the normalised template and search as a constant current in every step",
        class_names=("target",),
        task="tracking",
    ),
    test=_sequences,
    folder="tracking/train",
    pairs=400_000,
)
