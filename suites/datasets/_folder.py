"""Photographs in a folder a class, named by synset: the layout of ImageNet and its kin.

Nobody publishes a checksum of the single photographs. What is known here is which files
there are and how long; a changed byte is noticed only if the image no longer decodes.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.contracts.dataset import DatasetCard, Finding
from harness.contracts.errors import DataError
from harness.data.frames import UNREADABLE

_SUFFIXES = (".jpeg", ".jpg", ".png")
# A decoder is chosen by content: a file of another format may start a program (EPS: Ghostscript).
_FORMATS = ("JPEG", "PNG")
_SYNSET = re.compile(r"n\d{8}")
# Szegedy et al., CVPR 2015, section 6: 8 to 100 % of the area, sides at most 3 : 4.
_AREA, _LOG_RATIO, _ATTEMPTS = (0.08, 1.0), np.log((3 / 4, 4 / 3)), 10
Box = tuple[float, float, float, float]  # left, upper, right, lower


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Labelled image files; as a ``Source``, each is cut to a square when it is read.

    Names are kept as bytes of one array: a million strings would be copied into every
    worker process, object by object, as their reference counts change.

    Attributes:
        folder: What the names are relative to.
        names: ``[N]``, as the file system has them.
        sizes: Bytes of each file, int64 ``[N]``.
        labels: int64 ``[N]``.
        side_px: Of the square.
        short_side_px: In evaluation, the shorter side is scaled to this and the middle taken.
    """

    folder: Path
    names: NDArray[np.bytes_]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64]
    side_px: int = 224
    short_side_px: int = 256

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, places: NDArray[np.int64], /) -> "ImageFiles":
        """Return the images at ``places``, in that order."""
        return replace(
            self,
            names=self.names[places],
            sizes=self.sizes[places],
            labels=self.labels[places],
        )

    def path(self, place: int, /) -> Path:
        """Return where one image lies."""
        return self.folder / os.fsdecode(self.names[place])

    def read(
        self, place: int, /, *, chance: np.random.Generator | None
    ) -> NDArray[np.uint8]:  # [side_px, side_px, 3]
        """Return one image, cut at random by ``chance``, or the middle of it if None.

        Raises:
            DataError: If the file is no image, or damaged.
        """
        path = self.path(place)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                return np.asarray(self._cut(image, chance))
        except UNREADABLE as error:
            raise unreadable(path, error) from error

    def _cut(self, image: Image.Image, chance: np.random.Generator | None) -> Image.Image:
        if chance is None:
            box = middle_box(image.size, side=self.side_px, short_side=self.short_side_px)
        else:
            box = random_box(image.size, chance)
            # Evaluation is not scaled by the decoder: it must agree with everybody's.
            box = _decode_smaller(image, box, self.side_px)
        colours = image if image.mode == "RGB" else image.convert("RGB")  # which would copy
        square = (self.side_px, self.side_px)
        return colours.resize(square, Image.Resampling.BILINEAR, box=box)


def random_box(size: tuple[int, int], chance: np.random.Generator) -> Box:
    """Return a part of an image of ``size (W, H)`` as Inception and ResNets train on."""
    width, height = size
    for _ in range(_ATTEMPTS):
        area = width * height * chance.uniform(*_AREA)
        ratio = np.exp(chance.uniform(*_LOG_RATIO))
        wide, tall = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left = int(chance.integers(width - wide + 1))
            upper = int(chance.integers(height - tall + 1))
            return left, upper, left + wide, upper + tall
    # A very long image: the largest middle part that has an allowed ratio.
    wide = min(width, max(1, round(height * 4 / 3)))
    tall = min(height, max(1, round(width * 4 / 3)))
    left, upper = (width - wide) // 2, (height - tall) // 2
    return left, upper, left + wide, upper + tall


def middle_box(size: tuple[int, int], *, side: int, short_side: int) -> Box:
    """Return what becomes the middle ``side x side`` once the image is scaled.

    That is, once its shorter side is ``short_side``. Resampling this box gives the pixels
    of scaling first and cutting afterwards, without computing those that are cut off.
    """
    short = min(size)
    scaled = [short_side * length // short for length in size]  # truncated, as everybody does
    lower = [round((length - side) / 2) for length in scaled]
    steps = [old / new for old, new in zip(size, scaled, strict=True)]
    left, upper = (step * start for step, start in zip(steps, lower, strict=True))
    # At most the image: rounding must not lead out of it.
    return left, upper, min(size[0], left + steps[0] * side), min(size[1], upper + steps[1] * side)


def _decode_smaller(image: Image.Image, box: Box, side: int) -> Box:
    """Let a JPEG decode at 1/2, 1/4 or 1/8 if ``box`` keeps ``side`` pixels; return it so."""
    surplus = min(box[2] - box[0], box[3] - box[1]) / side
    if surplus < 2:
        return box
    before = image.size
    image.draft(None, (ceil(before[0] / surplus), ceil(before[1] / surplus)))
    # The decoder scales by a whole number and rounds sides up; a box stays inside.
    scale = max(1, round(before[0] / image.size[0]))
    left, upper, right, lower = (edge / scale for edge in box)
    return left, upper, right, lower


def pixels(files: ImageFiles, shape: tuple[int, int, int], /) -> NDArray[np.uint8]:
    """Return all images as they are, ``[N, 3, H, W]``, read by as many threads as cores.

    Raises:
        DataError: If one cannot be read or has another shape.
    """
    _, height, width = shape
    inputs = np.empty((len(files), *shape), dtype=np.uint8)

    def fill(place: int) -> None:
        path = files.path(place)
        try:
            with Image.open(path, formats=_FORMATS) as image:
                wide, tall = image.size
                if image.size == (width, height):  # else not worth decoding
                    inputs[place] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        except UNREADABLE as error:
            raise unreadable(path, error) from error
        if (wide, tall) != (width, height):
            raise DataError(
                f"{path} has {wide}x{tall} pixels, expected {width}x{height}; get it again"
            )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(files))):
            pass
    return inputs


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error of an image that does not decode, on one line."""
    words = " ".join(str(error).split()).replace(f"'{path}'", "").strip()
    return DataError(
        f"{path} cannot be read as an image: {words}; it is damaged: unpack it again from the "
        "publisher's archive"
    )


def by_synset(folder: Path, synsets: Sequence[str], /) -> ImageFiles:
    """Return the images in the class folders of ``folder``, by synset and name.

    A class folder may hold its images in ``images/``, as Tiny ImageNet's do.

    Raises:
        DataError: If a class folder is empty, or of a synset that the data set lacks.
    """
    numbers = {synset: number for number, synset in enumerate(synsets)}
    found: list[tuple[bytes, int, int]] = []
    for name in class_folders(folder):
        if name not in numbers:
            raise DataError(f"{folder / name} is none of the {len(synsets)} classes; move it away")
        inner = f"{name}/images" if (folder / name / "images").is_dir() else name
        images = list(_images(folder / inner))
        if not images:
            raise DataError(f"the class folder {folder / inner} holds no images; unpack it again")
        found += [(os.fsencode(f"{inner}/{file}"), size, numbers[name]) for file, size in images]
    return _files(folder, found)


def by_label(folder: Path, labels: Mapping[str, str], synsets: Sequence[str], /) -> ImageFiles:
    """Return the images that lie flat in ``folder``, by name; ``labels`` has their synsets.

    Raises:
        DataError: If the two do not fit.
    """
    numbers = {synset: number for number, synset in enumerate(synsets)}
    images = list(_images(folder))
    known = {name for name, _ in images}
    if without := [name for name, _ in images if labels.get(name) not in numbers]:
        raise DataError(f"{folder / without[0]} has no label; {len(without)} such images")
    if without := sorted(labels.keys() - known):
        raise DataError(
            f"{folder / without[0]} is missing, one of {len(without)} labelled images that are "
            "not there; unpack the publisher's archive again"
        )
    return _files(folder, ((os.fsencode(name), n, numbers[labels[name]]) for name, n in images))


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in ``folder`` that look like synsets, sorted."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if _SYNSET.fullmatch(e.name) and e.is_dir())


def _images(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield name and length of the image files in ``folder``, by name."""
    with os.scandir(folder) as entries:
        found = [e for e in entries if e.name.lower().endswith(_SUFFIXES)]
        yield from sorted((e.name, e.stat().st_size) for e in found)


def _files(folder: Path, found: Iterable[tuple[bytes, int, int]]) -> ImageFiles:
    names, sizes, labels = zip(*found, strict=True)
    return ImageFiles(
        folder=folder,
        names=np.array(names),
        sizes=np.array(sizes, dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
    )


def fingerprint(*parts: ImageFiles) -> str:
    """Return a hash of every name, length and label."""
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.names, part.sizes, part.labels):
            digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def shortfall(
    part: str, files: ImageFiles, card: DatasetCard, /, *, images: int
) -> tuple[str, ...]:
    """Return the note about a part that is not whole; nothing if it is.

    Raises:
        DataError: If it seems meant to be whole and lacks a class folder.
    """
    present, classes = np.unique(files.labels), card.classes
    if classes / 2 < len(present) < classes:
        lost = np.setdiff1d(np.arange(classes), present)
        raise DataError(
            f"{files.folder}: {len(lost)} of {classes} class folders of {card.title} are missing, "
            f"the first is that of class {lost[0]}; unpack the publisher's archive again"
        )
    if (len(files), len(present)) == (images, classes):
        return ()
    return (
        (
            f"{card.title} is not whole, {part}: {len(files):,} of {images:,} images, "
            f"{len(present):,} of {classes:,} classes"
        ),
    )


def findings(*parts: ImageFiles) -> Iterator[Finding]:
    """Decode every image; yield one finding a class folder, or one a damaged file.

    There is no published checksum to compare with, so this is what can be known.
    """
    for part in parts:
        bad = 0
        for place in range(len(part)):
            path = part.path(place)
            try:
                with Image.open(path, formats=_FORMATS) as image:
                    image.load()
            except UNREADABLE as error:
                bad += 1
                found = str(unreadable(path, error))
                yield Finding(path=str(path), expected="an image", found=found, ok=False)
        yield Finding(
            path=str(part.folder),
            expected="images that decode (no checksums of single files are published)",
            found=f"{len(part) - bad:,} of {len(part):,} decode, {part.sizes.sum():,} bytes",
            ok=bad == 0,
        )
