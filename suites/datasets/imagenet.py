"""ImageNet, ILSVRC2012: 1.28 million photographs of a thousand kinds of things."""

import csv
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.contracts.dataset import (
    Dataset,
    DatasetCard,
    DatasetProvenance,
    Finding,
    Source,
    Splits,
)
from harness.contracts.errors import DataError
from harness.contracts.inputs import Image
from harness.data.checksums import rooted
from suites.datasets import _folder
from suites.datasets._folder import ImageFiles, by_label, by_synset, class_folders, shortfall
from suites.datasets._synsets import ILSVRC2012

TRAIN_IMAGES, TEST_IMAGES = 1_281_167, 50_000
HELD_OUT_A_CLASS = 10
_FOLDERS = (
    "imagenet",
    "ImageNet",
    "ILSVRC2012",
    "imagenet-1k",
    "ILSVRC/Data/CLS-LOC",
    "images/imagenet_full_size",
    ".",
)
_REMEDY = (
    "ImageNet cannot be fetched without a person: register at https://image-net.org, get "
    "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, and unpack "
    "them as imagenet/train/<synset>/*.JPEG, imagenet/val/*.JPEG and "
    "imagenet/ILSVRC2012_devkit_t12/ under the data root (--data-root or SNN_DISTILL_DATA)"
)
_DEVKIT = "ILSVRC2012_devkit_t12/data"


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What lies there."""

    train: ImageFiles
    validation: ImageFiles
    test: ImageFiles
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ImageNet:
    """The photographs, read batch by batch.

    Attributes:
        card: Says what is known without opening it.
        folders: Where ``train/`` and ``val/`` may lie, relative to the data root.
    """

    card: DatasetCard
    folders: tuple[str, ...]

    def provenance(self, root: Path | None, /) -> DatasetProvenance:
        """Return which files there are; looks at names and sizes only."""
        found = self._found(root)
        return DatasetProvenance(
            fingerprint=_folder.fingerprint(found.train, found.validation, found.test),
            notes=found.notes,
        )

    def findings(self, root: Path | None, /) -> Iterator[Finding]:
        """Decode every image; there is no checksum to compare with."""
        found = self._found(root)
        parts = (found.train, found.validation, found.test)
        whole = found.test is not found.train
        yield from _folder.findings(*parts if whole else parts[:1])

    def load(self, root: Path | None, /, *, timesteps: int = 1) -> Splits[Source]:  # noqa: ARG002  static
        """List the files; they are read, and found damaged, batch by batch."""
        found = self._found(root)
        return Splits(train=found.train, validation=found.validation, test=found.test)

    def _found(self, root: Path | None) -> _Found:
        folder = self._folder(root)
        if not (folder / "train").is_dir():
            return self._sample(by_synset(folder, list(ILSVRC2012)))
        everything = by_synset(folder / "train", list(ILSVRC2012))
        test = self._test(folder)
        _refuse_unlike(everything, test)
        held_out = held_out_of_each_class(everything)
        return _Found(
            train=everything.take(np.flatnonzero(~held_out)),
            validation=everything.take(np.flatnonzero(held_out)),
            test=test,
            notes=(
                *shortfall("train and validation", everything, self.card, images=TRAIN_IMAGES),
                *shortfall("test", test, self.card, images=TEST_IMAGES),
            ),
        )

    def _folder(self, root: Path | None) -> Path:
        """Return the first folder that holds class folders, or ``train/`` with such."""
        root = rooted(root, "ImageNet", _REMEDY)
        for folder in (root / name for name in self.folders):
            if class_folders(folder / "train") or class_folders(folder):
                return folder
            if class_folders(folder / "val"):
                raise DataError(f"{folder} has val/ but no train/ with class folders; {_REMEDY}")
        looked = ", ".join(str(root / name) for name in self.folders)
        raise DataError(
            f"no ImageNet under {root}: no class folder n00000000 in {looked}; {_REMEDY}"
        )

    def _sample(self, files: ImageFiles) -> _Found:
        """Return class folders without ``train/`` and ``val/``: good for trying things out."""
        note = "training, validation and test are the same images: accuracies say nothing"
        notes = (*shortfall("all parts", files, self.card, images=TRAIN_IMAGES), note)
        return _Found(train=files, validation=files, test=files, notes=notes)

    def _test(self, folder: Path) -> ImageFiles:
        val = folder / "val"
        if class_folders(val):
            return by_synset(val, list(ILSVRC2012))
        if not val.is_dir() or not any(val.iterdir()):
            raise DataError(f"{val} is missing or empty; {_REMEDY}")
        return by_label(val, validation_labels(folder), list(ILSVRC2012))


def held_out_of_each_class(files: ImageFiles, /) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask: by name, the last ten images of each class, or a tenth if that is less."""
    counts = np.bincount(files.labels)
    from_end = counts.cumsum()[files.labels] - np.arange(len(files))  # files are sorted by class
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        from_end <= np.minimum(HELD_OUT_A_CLASS, counts // 10)[files.labels]
    )
    return mask


def _refuse_unlike(train: ImageFiles, test: ImageFiles) -> None:
    """Refuse a class that one part has and the other lacks."""
    synsets, sets = list(ILSVRC2012), [set(part.labels.tolist()) for part in (train, test)]
    for (folder, here), there in zip(
        ((train.folder, sets[0]), (test.folder, sets[1])), (sets[1], sets[0]), strict=True
    ):
        if lost := sorted(there - here):
            raise DataError(
                f"the class folder {folder / synsets[lost[0]]} is missing ({len(lost)} such): the "
                f"other part has images of it; unpack the publisher's archive again"
            )


def validation_labels(folder: Path, /) -> Mapping[str, str]:
    """Return the synset of every flat validation image, from whichever list lies near.

    That is the development kit's ground truth with ``meta.mat``, the list of synsets that
    TensorFlow's scripts ship, or Kaggle's ``LOC_val_solution.csv``.

    Raises:
        DataError: If there is none, or one that cannot be understood.
    """
    for near in (folder, *folder.parents[:3]):
        devkit = near / _DEVKIT
        if (devkit / "meta.mat").is_file():
            return _from_devkit(devkit)
        plain = near / "imagenet_2012_validation_synset_labels.txt"
        if plain.is_file():
            return _numbered(plain.read_text(encoding="ascii").split())
        kaggle = near / "LOC_val_solution.csv"
        if kaggle.is_file():
            return _from_kaggle(kaggle)
    raise DataError(
        f"{folder / 'val'} holds images without class folders, and {folder / _DEVKIT} is not there "
        f"to label them; {_REMEDY}"
    )


def _from_devkit(devkit: Path) -> Mapping[str, str]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    unreadable = (OSError, LookupError, TypeError, ValueError, NotImplementedError, zlib.error)
    truth, meta = devkit / "ILSVRC2012_validation_ground_truth.txt", devkit / "meta.mat"
    try:
        # The kit numbers classes in an order of its own; the rest of meta.mat are inner nodes.
        table = loadmat(meta, squeeze_me=True)["synsets"]
        synset = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
        return _numbered([synset[int(line)] for line in truth.read_text("ascii").split()])
    except (*unreadable, MatReadError) as error:
        raise DataError(
            f"{meta} and {truth.name} cannot be read together: {error!r}; {_REMEDY}"
        ) from error


def _from_kaggle(path: Path) -> Mapping[str, str]:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row][1:]
    try:
        return {f"{image}.JPEG": boxes.split()[0] for image, boxes in rows}
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{path} does not list images and boxes: {error}; get it again from Kaggle"
        ) from error


def _numbered(synsets: list[str]) -> Mapping[str, str]:
    return {f"ILSVRC2012_val_{n:08}.JPEG": synset for n, synset in enumerate(synsets, start=1)}


DATASET: Dataset[Source] = ImageNet(
    card=DatasetCard(
        title="ImageNet",
        classes=1000,
        input=Image(
            shape=(3, 224, 224),
            # Of the training images, as every published recipe has them.
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        split="test = official validation; validation = last 10 of each class by file name",
        flip_keeps_label=True,
        citation=(
            "O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, "
            "International Journal of Computer Vision, 2015"
        ),
        licence="ImageNet terms of access: non-commercial research and education",
        url="https://image-net.org/challenges/LSVRC/2012/",
        class_names=tuple(ILSVRC2012.values()),
    ),
    folders=_FOLDERS,
)
