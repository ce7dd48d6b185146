"""Fashion-MNIST: 70,000 pictures of clothes, 28x28."""

from harness.contracts.dataset import Archive, Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Image
from suites.datasets._idx import IdxImages

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# Of the zipped files there: name, length and MD5 as torchvision publishes it.
_ZIPPED = (
    ("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    ("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
)

DATASET: Dataset = IdxImages(
    card=DatasetCard(
        title="Fashion-MNIST",
        classes=10,
        input=Image(
            shape=(1, 28, 28),
            # Of all 60,000 training images, to four digits.
            mean=(0.2860,),
            std=(0.3530,),
        ),
        split="official test; validation = last tenth of each class in file order",
        flip_keeps_label=True,
        citation=(
            "H. Xiao, K. Rasul & R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for "
            "Benchmarking Machine Learning Algorithms, arXiv 1708.07747, 2017"
        ),
        licence="MIT",
        url=_URL,
        # Of the unzipped files. The publisher gives the MD5 of the zipped ones (below); these
        # are what several projects, independently, find inside them.
        files=(
            PublishedFile(
                path="fashion-mnist/train-images-idx3-ubyte",
                size_bytes=16 + 60_000 * 28 * 28,
                md5="f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            PublishedFile(
                path="fashion-mnist/train-labels-idx1-ubyte",
                size_bytes=8 + 60_000,
                md5="9018921c3c673c538a1fc5bad174d6f9",
            ),
            PublishedFile(
                path="fashion-mnist/t10k-images-idx3-ubyte",
                size_bytes=16 + 10_000 * 28 * 28,
                md5="8181f5470baa50b63fa0f6fddb340f0a",
            ),
            PublishedFile(
                path="fashion-mnist/t10k-labels-idx1-ubyte",
                size_bytes=8 + 10_000,
                md5="15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
        archives=tuple(
            Archive(url=_URL + name, md5=md5, size_bytes=size, into="fashion-mnist")
            for name, size, md5 in _ZIPPED
        ),
        class_names=(
            "T-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
    ),
    folders=("fashion-mnist", "FashionMNIST/raw", "fashion_mnist", "FashionMNIST"),
)
