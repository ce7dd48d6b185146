"""CIFAR-100: 60,000 photographs of a hundred kinds of things, 32x32, fine labels."""

from harness.contracts.dataset import Dataset, DatasetCard, PublishedFile
from suites.datasets._cifar import CifarBinary

_RECORD_BYTES = 2 + 3 * 32 * 32  # the coarse label, the fine label, the pixels

DATASET: Dataset = CifarBinary(
    card=DatasetCard(
        title="CIFAR-100",
        classes=100,
        shape=(3, 32, 32),
        # Of all 50,000 training images, to four digits.
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        split="official test; validation = last 50 of each class in file order",
        flip_keeps_label=True,
        citation=(
            "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, "
            "University of Toronto, 2009"
        ),
        licence="none stated; free for research with citation",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        files=(
            PublishedFile(
                path="cifar-100-binary/train.bin",
                size_bytes=50_000 * _RECORD_BYTES,
                md5="6172c7755cfe09b2fe270c85cebc1b15",
            ),
            PublishedFile(
                path="cifar-100-binary/test.bin",
                size_bytes=10_000 * _RECORD_BYTES,
                md5="4499cfba6c016c1be1438163640a0898",
            ),
        ),
    ),
    folders=("cifar-100-binary", "cifar100/cifar-100-binary", "cifar100", "."),
    label_bytes=2,
)
