"""MNIST: 70,000 handwritten digits, 28x28."""

from harness.contracts.dataset import Archive, Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Image
from suites.datasets._idx import IdxImages

_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# Of the zipped files there: name, length and MD5 as torchvision publishes it.
_ZIPPED = (
    ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
)

DATASET: Dataset = IdxImages(
    card=DatasetCard(
        title="MNIST",
        classes=10,
        input=Image(
            shape=(1, 28, 28),
            # Of all 60,000 training images, to four digits.
            mean=(0.1307,),
            std=(0.3081,),
        ),
        split="official test; validation = last tenth of each class in file order",
        flip_keeps_label=False,
        citation=(
            "Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, Gradient-based learning applied to "
            "document recognition, Proceedings of the IEEE, 1998"
        ),
        licence="CC BY-SA 3.0, as usually stated",
        url=_URL,
        # Sizes and checksums of the unzipped files: they are shipped in several zippings.
        files=(
            PublishedFile(
                path="mnist/train-images-idx3-ubyte",
                size_bytes=16 + 60_000 * 28 * 28,
                md5="6bbc9ace898e44ae57da46a324031adb",
            ),
            PublishedFile(
                path="mnist/train-labels-idx1-ubyte",
                size_bytes=8 + 60_000,
                md5="a25bea736e30d166cdddb491f175f624",
            ),
            PublishedFile(
                path="mnist/t10k-images-idx3-ubyte",
                size_bytes=16 + 10_000 * 28 * 28,
                md5="2646ac647ad5339dbf082846283269ea",
            ),
            PublishedFile(
                path="mnist/t10k-labels-idx1-ubyte",
                size_bytes=8 + 10_000,
                md5="27ae3e4e09519cfbb04c329615203637",
            ),
        ),
        archives=tuple(
            Archive(url=_URL + name, md5=md5, size_bytes=size, into="mnist")
            for name, size, md5 in _ZIPPED
        ),
    ),
    folders=("mnist", "MNIST/raw", "MNIST", "."),
)
