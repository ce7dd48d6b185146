"""Tiny ImageNet: 110,000 photographs of two hundred kinds of things, 64x64."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.contracts.dataset import (
    Archive,
    Dataset,
    DatasetCard,
    DatasetProvenance,
    Finding,
    Samples,
    Splits,
)
from harness.contracts.errors import DataError
from harness.contracts.inputs import Image
from harness.data.checksums import rooted
from suites.datasets import _folder
from suites.datasets._folder import ImageFiles, by_label, by_synset, class_folders, shortfall
from suites.datasets._splits import divided
from suites.datasets._synsets import TINY

TRAIN_IMAGES, TEST_IMAGES = 100_000, 10_000


@dataclass(frozen=True, kw_only=True)
class TinyImageNet:
    """The photographs, decoded when they are loaded; 1.3 GB.

    Attributes:
        card: Says what is known without opening it.
        folders: Where ``train/`` and ``val/`` may lie, relative to the data root.
    """

    card: DatasetCard
    folders: tuple[str, ...]

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which files there are; looks at names and sizes only."""
        train, test = self._found(root)
        return DatasetProvenance(
            fingerprint=_folder.fingerprint(train, test),
            notes=(
                *shortfall("train and validation", train, self.card, images=TRAIN_IMAGES),
                *shortfall("test", test, self.card, images=TEST_IMAGES),
            ),
        )

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Decode every image; there is no checksum to compare with."""
        yield from _folder.findings(*self._found(root))

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits:  # noqa: ARG002  static
        """Decode every image."""
        parts = self._found(root)
        everything, test = (
            Samples(inputs=_folder.pixels(part, self.card.image.shape), labels=part.labels)
            for part in parts
        )
        train, validation = divided(everything)
        return Splits(train=train, validation=validation, test=test)

    def _found(self, root: Path | None) -> tuple[ImageFiles, ImageFiles]:
        """Return the official training and validation images."""
        folder = self._folder(root)
        train, val = by_synset(folder / "train", list(TINY)), folder / "val"
        if class_folders(val):
            return train, by_synset(val, list(TINY))
        return train, by_label(val / "images", _annotations(val), list(TINY))

    def _folder(self, root: Path | None) -> Path:
        remedy = (
            f"python -m harness data fetch tiny_imagenet, or unzip {self.card.url}, and point "
            "--data-root or SNN_DISTILL_DATA at the folder that holds tiny-imagenet-200/"
        )
        root = rooted(root, "Tiny ImageNet", remedy)
        for folder in (root / name for name in self.folders):
            if not class_folders(folder / "train"):
                continue
            if not (folder / "val").is_dir():
                raise DataError(f"{folder / 'val'} is missing; {remedy}")
            return folder
        looked = ", ".join(str(root / name / "train") for name in self.folders)
        raise DataError(f"no Tiny ImageNet under {root}: no class folder in {looked}; {remedy}")


def _annotations(val: Path) -> dict[str, str]:
    """Return the synset of every image in ``val/images``."""
    path = val / "val_annotations.txt"
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
        return {name: synset for name, synset, *_box in rows}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}; unpack tiny-imagenet-200.zip again"
        ) from error


DATASET: Dataset = TinyImageNet(
    card=DatasetCard(
        title="Tiny ImageNet",
        classes=200,
        input=Image(
            shape=(3, 64, 64),
            # Of all 100,000 training images, to four digits, as usually stated.
            mean=(0.4802, 0.4481, 0.3975),
            std=(0.2770, 0.2691, 0.2821),
        ),
        split="test = official validation; validation = last tenth of each class by file name",
        flip_keeps_label=True,
        citation=(
            "Y. Le & X. Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N, 2015"
        ),
        licence="none stated; the photographs are under ImageNet's terms of access",
        url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        archives=(
            # The publisher gives no checksum; this is the one that loaders in use insist on.
            Archive(
                url="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                md5="90528d7ca1a48142e341f4ef8d21d0de",
                size_bytes=248_100_043,
                into=".",
            ),
        ),
        class_names=tuple(TINY.values()),
    ),
    folders=("tiny-imagenet-200", "tiny_imagenet", "images/tiny_imagenet", "."),
)
