"""CIFAR-10: 60,000 photographs of ten kinds of things, 32x32."""

from harness.contracts.dataset import Archive, Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Image
from suites.datasets._cifar import CifarBinary, PythonBatches

_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
# Name, length and MD5, as torchvision publishes the latter.
_PYTHON = (
    ("data_batch_1", 31_035_704, "c99cafc152244af753f735de768cd75f"),
    ("data_batch_2", 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
    ("data_batch_3", 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
    ("data_batch_4", 31_035_696, "634d18415352ddfa80567beed471001a"),
    ("data_batch_5", 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
    ("test_batch", 31_035_526, "40351d587109b95175f43aff81a1287e"),
)

DATASET: Dataset = CifarBinary(
    card=DatasetCard(
        title="CIFAR-10",
        classes=10,
        input=Image(
            shape=(3, 32, 32),
            # Of all 50,000 training images, to four digits.
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
        ),
        split="official test; validation = last 500 of each class in file order",
        flip_keeps_label=True,
        citation=(
            "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, "
            "University of Toronto, 2009"
        ),
        licence="none stated; free for research with citation",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        files=tuple(
            PublishedFile(
                path=f"cifar-10-batches-bin/{name}",
                size_bytes=10_000 * (1 + 3 * 32 * 32),
                md5=md5,
            )
            for name, md5 in _MD5.items()
        ),
        archives=(
            # MD5 from the publisher's page.
            Archive(
                url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                md5="c32a1d4ab5d03f1284b67883e8d87530",
                size_bytes=170_052_171,
                into=".",
            ),
        ),
        class_names=(
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
        ),
    ),
    folders=("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10", "."),
    python=PythonBatches(
        files=tuple(
            PublishedFile(path=f"cifar-10-batches-py/{name}", size_bytes=size, md5=md5)
            for name, size, md5 in _PYTHON
        ),
        folders=("cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar10", "."),
        label_key=b"labels",
    ),
)
