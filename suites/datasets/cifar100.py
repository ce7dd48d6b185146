"""CIFAR-100: 60,000 photographs of a hundred kinds of things, 32x32, fine labels."""

from harness.contracts.dataset import Archive, Dataset, DatasetCard, PublishedFile
from harness.contracts.inputs import Image
from suites.datasets._cifar import CifarBinary, PythonBatches

_RECORD_BYTES = 2 + 3 * 32 * 32  # the coarse label, the fine label, the pixels
_NAMES = """\
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
computer_keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew
skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf
woman worm
"""

DATASET: Dataset = CifarBinary(
    card=DatasetCard(
        title="CIFAR-100",
        classes=100,
        input=Image(
            shape=(3, 32, 32),
            # Of all 50,000 training images, to four digits.
            mean=(0.5071, 0.4865, 0.4409),
            std=(0.2673, 0.2564, 0.2762),
        ),
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
        archives=(
            # MD5 from the publisher's page.
            Archive(
                url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                md5="03b5dce01913d631647c71ecec9e9cb8",
                size_bytes=168_513_733,
                into=".",
            ),
        ),
        class_names=tuple(_NAMES.split()),
    ),
    folders=("cifar-100-binary", "cifar100/cifar-100-binary", "cifar100", "."),
    label_bytes=2,
    python=PythonBatches(
        # MD5 as torchvision publishes them; nobody publishes the length of the test file.
        files=(
            PublishedFile(
                path="cifar-100-python/train",
                size_bytes=155_249_918,
                md5="16019d7e3df5f24257cddd939b257f8d",
            ),
            PublishedFile(
                path="cifar-100-python/test",
                size_bytes=None,
                md5="f0ef6b0ae62326f3e7ffdfab6717acfc",
            ),
        ),
        folders=("cifar-100-python", "cifar100/cifar-100-python", "cifar100", "."),
        label_key=b"fine_labels",
    ),
)
