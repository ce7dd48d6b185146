"""Small crops, to train a tracker on a few photographs in minutes and try it on real sequences."""

from pathlib import Path

from harness.contracts.dataset import Dataset, DatasetCard
from harness.contracts.inputs import Pair
from suites.datasets._tracking import MEAN, STD, TrackingSet
from suites.datasets._tracking_layouts import Shot, box_shots, otb, vot


def _sequences(root: Path) -> tuple[Shot, ...]:
    return otb(root / "tracking" / "OTB") + box_shots(vot(root / "tracking" / "VOT"))


DATASET: Dataset = TrackingSet(
    card=DatasetCard(
        title="Tracking, small",
        classes=1,
        input=Pair(template=(3, 95, 95), search=(3, 191, 191), mean=MEAN, std=STD),
        split=(
            "train: pairs of patches of photographs in images/imagenet_full_size; validation: a "
            "window that moves over those held out; test: all of tracking/OTB and tracking/VOT, "
            "in one pass"
        ),
        flip_keeps_label=False,
        citation=(
            "Y. Wu, J. Lim & M.-H. Yang. Object tracking benchmark. IEEE TPAMI 37(9):1834-1848, "
            "2015; M. Kristan et al. The VOT2013 challenge results. ICCV Workshops, 2013"
        ),
        licence="academic use, not stated",
        url="http://cvlab.hanyang.ac.kr/tracker_benchmark/",
        encoding="direct: the normalised template and search as a constant current in every step",
        class_names=("target",),
        task="tracking",
    ),
    test=_sequences,
    folder="images/imagenet_full_size",
    pairs=1_000,
    few_images=True,
)
