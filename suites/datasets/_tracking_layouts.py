"""Sequences and stills for trackers, in the layouts that they come in.

Nobody publishes checksums of single frames. What is known here is which files there are, how
long they are, and that boxes and frames fit together.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.contracts.dataset import Finding
from harness.contracts.errors import DataError
from harness.data.frames import read, size_of

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_TRUTHS = "groundtruth*.txt"
_GOT_10K = ("absence.label", "cover.label", "cut_by_image.label", "meta_info.ini")
Floats = NDArray[np.float64]

# Which frames of an OTB sequence its boxes are of, where that is not all (Wu et al., TPAMI 2015;
# the benchmark's own list), counted from 1.
_OTB_RANGES = {
    "BlurCar1": (247, 988),
    "BlurCar3": (3, 359),
    "BlurCar4": (18, 397),
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Images of one thing: a sequence, or a still, which is a sequence of one.

    Attributes:
        name: For people.
        paths: Of the frames, ``F``.
        regions: Boxes ``[F, 4]`` or polygons ``[F, 8]``, in pixels from 0; None for a still of
            which nobody says what it shows.
    """

    name: str
    paths: tuple[Path, ...]
    regions: Floats | None


def otb(folder: Path, /) -> tuple[Shot, ...]:
    """Return OTB's sequences: ``NAME/img/0001.jpg`` and ``NAME/groundtruth_rect*.txt``.

    A folder without images and boxes is none, and is left out.

    Raises:
        DataError: If there is none, or one is not whole; names file and line.
    """
    shots = [shot for home in _sequences(folder) for shot in _otb(home)]
    return _all(shots, folder, "NAME/img/*.jpg and NAME/groundtruth_rect.txt")


def vot(folder: Path, /) -> tuple[Shot, ...]:
    """Return VOT's sequences: frames in ``NAME/`` or ``NAME/color/``, ``NAME/groundtruth.txt``.

    Regions are polygons of four corners, or boxes, which become polygons. A folder without
    images and boxes is no sequence, and is left out.

    Raises:
        DataError: If there is none, or one is not whole; names file and line.
    """
    shots = [shot for home in _sequences(folder) for shot in _vot(home)]
    return _all(shots, folder, "NAME/*.jpg and NAME/groundtruth.txt")


def _otb(home: Path) -> list[Shot]:
    """Return what one folder shows, once for each file of boxes."""
    images = _images(home / "img")
    truths = sorted(home.glob("groundtruth_rect*.txt"))
    if not images or not truths:
        raise DataError(
            f"{home} lacks {'img/0001.jpg, ...' if truths else 'groundtruth_rect.txt'}; unpack "
            "it again, or move it away if it is no sequence"
        )
    shots = []
    for truth in truths:
        part = truth.stem.removeprefix("groundtruth_rect")
        boxes = _numbers(truth, (4,))
        # A copy may hold the frames of the range alone.
        frames = images if len(images) == len(boxes) else _of_range(home.name, images)
        shots.append(_shot(f"{home.name}{part}", frames, _from_zero(boxes), truth))
    return shots


def _of_range(name: str, images: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return those frames of an OTB sequence that its boxes are of, by their numbers."""
    if name not in _OTB_RANGES or not all(image.stem.isdigit() for image in images):
        return images
    first, last = _OTB_RANGES[name]
    return tuple(image for image in images if first <= int(image.stem) <= last)


def _vot(home: Path) -> list[Shot]:
    truth = home / "groundtruth.txt"
    if not truth.is_file():
        raise DataError(
            f"{home} holds images and lacks groundtruth.txt; unpack it again, or move it away if "
            "it is no sequence"
        )
    regions = _numbers(truth, (4, 8))
    if regions.shape[1] == 4:
        left, top, width, height = regions.T
        right, low = left + width, top + height
        regions = np.stack([left, top, right, top, right, low, left, low], axis=1)
    images = _images(home / "color" if (home / "color").is_dir() else home)
    return [_shot(home.name, images, regions, truth)]


def _got10k(home: Path) -> list[Shot]:
    """Return one sequence, without the frames that say that the target is absent."""
    truth, away = home / "groundtruth.txt", home / "absence.label"
    images, boxes = _images(home), _numbers(truth, (4,))
    here = np.ones(len(boxes), dtype=bool)
    if away.is_file():
        here = _numbers(away, (1,))[:, 0] == 0
    _require_numbered(images)
    _require_as_many(truth, len(boxes), images)
    _require_as_many(away, len(here), images)
    kept = tuple(image for image, seen in zip(images, here, strict=True) if seen)
    lines = np.flatnonzero(here) + 1
    return [_shot(home.name, kept, _from_zero(boxes[here]), truth, lines=lines)]


def coco(folder: Path, /) -> tuple[Shot, ...]:
    """Return every object of COCO's images as a still: ``annotations/instances_*.json``.

    Images lie in ``train2017/`` as its archives unpack, or in ``images/train2017/``. Boxes of no
    area, of which the published files have a few, are left out as crowds are.

    Raises:
        DataError: If an image is missing, or a box is missing or none; names file and annotation.
    """
    shots = []
    for listed in sorted((folder / "annotations").glob("instances_*.json")):
        try:
            content = json.loads(listed.read_text(encoding="utf-8"))
            names = {each["id"]: str(each["file_name"]) for each in content["images"]}
            objects = [each for each in content["annotations"] if not each.get("iscrowd")]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{listed} is no list of COCO's instances: {error!r}") from error
        part = listed.stem.removeprefix("instances_")
        images = folder / part if (folder / part).is_dir() else folder / "images" / part
        for item in objects:
            what = f"{listed}: annotation {item.get('id')}"
            box = _box(item.get("bbox"), what)
            if not box[0, 2:].all():
                continue
            image = item.get("image_id")
            if not isinstance(image, int | str) or image not in names:
                raise DataError(f"{what} is of image {image}, which is not listed")
            path = images / names[image]
            if not path.is_file():
                raise DataError(
                    f"{what}: {path} is missing; unpack the images into {folder / part}/"
                )
            _require_inside(box, size_of(path), {0: f"{what}: the bbox {item['bbox']}"}.__getitem__)
            shots.append(Shot(name=f"{path.stem}/{item.get('id')}", paths=(path,), regions=box))
    return _all(shots, folder, "annotations/instances_*.json")


def _box(given: object, what: str) -> Floats:  # [1, 4]
    """Return the box of an annotation."""
    try:
        box = np.array([given], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        box = np.empty(0)
    if box.shape != (1, 4) or not np.isfinite(box).all():
        found = "has no bbox" if given is None else f"has the bbox {str(given)[:60]}"
        raise DataError(
            f"{what} {found}, expected [left, top, width, height]; get the annotations again"
        )
    return box


def stills(folder: Path, /) -> tuple[Shot, ...]:
    """Return every image below ``folder``, of which nobody says what it shows.

    Raises:
        DataError: If there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    shots = [
        Shot(name=str(path.relative_to(folder)), paths=(path,), regions=None) for path in found
    ]
    return _all(shots, folder, "images, in folders or not")


def shots_in(folder: Path, /) -> tuple[Shot, ...]:
    """Return what a folder holds, in whichever layout: COCO, OTB, GOT-10k or VOT, or images.

    Names of files decide, of each sequence by itself: ``annotations/`` is COCO's,
    ``groundtruth_rect*.txt`` OTB's; ``groundtruth.txt`` is GOT-10k's beside one of its own
    files (``absence.label``, ``cover.label``, ``cut_by_image.label``, ``meta_info.ini``) or in
    a folder called ``GOT-10k_*``, else VOT's. Without any of them every image is a still;
    beside them a folder without images is no sequence and is left out, and one with images must
    have its boxes.

    Raises:
        DataError: If it is missing, empty or damaged.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder} is missing; put images or sequences there (GOT-10k, COCO, or any folder)"
        )
    if (folder / "annotations").is_dir():
        return coco(folder)
    homes = _folders(folder)
    if not any(any(home.glob(_TRUTHS)) for home in homes):
        return stills(folder)
    return tuple(shot for home in homes if _is_sequence(home) for shot in _reader_of(home)(home))


def _reader_of(home: Path) -> Callable[[Path], list[Shot]]:
    if any(home.glob("groundtruth_rect*.txt")):
        return _otb
    named = home.name.startswith("GOT-10k_")
    if named or any((home / mark).is_file() for mark in _GOT_10K):
        return _got10k
    return _otb if (home / "img").is_dir() else _vot


def _folders(folder: Path) -> list[Path]:
    """Return the folders in one, but for hidden ones and what archives made by macOS leave."""
    return sorted(
        child
        for child in folder.iterdir()
        if child.is_dir() and not child.name.startswith(".") and child.name != "__MACOSX"
    )


def _is_sequence(home: Path) -> bool:
    """Return whether a folder is meant as a sequence, whole or not."""
    if any(home.glob(_TRUTHS)):
        return True
    return any(path.suffix.lower() in _SUFFIXES for path in home.rglob("*"))


def _sequences(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; put the sequences there, a folder each")
    return [home for home in _folders(folder) if _is_sequence(home)]


def _images(folder: Path) -> tuple[Path, ...]:
    found = folder.iterdir() if folder.is_dir() else ()
    return tuple(sorted(child for child in found if child.suffix.lower() in _SUFFIXES))


def _all(shots: Sequence[Shot], folder: Path, layout: str) -> tuple[Shot, ...]:
    if not shots:
        raise DataError(f"{folder} holds nothing; expected {layout}")
    return tuple(shots)


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x} is no plain text"
        raise DataError(f"{path}:{line}: {found}; get it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; get it again") from error
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise DataError(f"{path} is empty; get it again")
    return lines


def _fields(line: str) -> list[str]:
    return [field for field in re.split(r"[,\s]+", line.strip()) if field]


def _numbers(path: Path, widths: tuple[int, ...]) -> Floats:
    """Return a table of numbers between commas, tabs or blanks, every row as wide."""
    rows: list[list[float]] = []
    for number, line in enumerate(_lines(path), 1):
        fields = _fields(line)
        allowed = widths if not rows else (len(rows[0]),)
        if len(fields) not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise DataError(f"{path}:{number}: {len(fields)} numbers, expected {wanted}")
        try:
            row = [float(field) for field in fields]
        except ValueError:
            raise DataError(f"{path}:{number}: {line.strip()!r} is not numbers") from None
        if not np.isfinite(row).all():
            raise DataError(f"{path}:{number}: {line.strip()!r} has no finite place")
        rows.append(row)
    return np.array(rows)


def _from_zero(boxes: Floats) -> Floats:
    """Return boxes whose first pixel was number 1 with that as number 0."""
    return boxes - [1, 1, 0, 0]


def _require_as_many(truth: Path, regions: int, images: tuple[Path, ...]) -> None:
    """Refuse other numbers of lines and frames; the frames' own numbers leave none out."""
    if regions == len(images):
        return
    told = f"{truth}:{min(regions, len(images)) + 1}: {regions} lines and {len(images)} frames"
    if not images:
        raise DataError(f"{told} beside them; put frames there, .jpg, .png or .bmp")
    if regions < len(images):
        raise DataError(f"{told}, none for {images[regions].name}; unpack both again")
    if wanted := _missing_end(images):
        raise DataError(
            f"{wanted} is missing: {truth} has {regions} lines, and there are {len(images)} "
            "frames; unpack both again"
        )
    raise DataError(f"{told} beside them; one of them is not whole: unpack both again")


def _missing_end(images: tuple[Path, ...]) -> Path | None:
    """Return the frame before those that are there, or else behind them; frames begin at 1."""
    first, last = images[0], images[-1]
    if not (first.stem.isdigit() and last.stem.isdigit()):
        return None
    begin = _OTB_RANGES.get(first.parent.parent.name, (1, 0))[0]
    near, number = (first, begin) if int(first.stem) > begin else (last, int(last.stem) + 1)
    return near.with_name(f"{number:0{len(near.stem)}d}{near.suffix}")


def _shot(
    name: str,
    images: tuple[Path, ...],
    regions: Floats,
    truth: Path,
    *,
    lines: NDArray[np.int64] | None = None,
) -> Shot:
    """Return a sequence whose boxes fit its frames."""
    _require_numbered(images)  # a frame that is missing is named, where its number says so
    _require_as_many(truth, len(regions), images)

    def where(row: int) -> str:
        line = row + 1 if lines is None else int(lines[row])
        return f"{truth}:{line}: the box {_lines(truth)[line - 1].strip()}"

    if len(images):
        _require_inside(regions, size_of(images[0]), where)
    return Shot(name=name, paths=images, regions=regions)


def _require_numbered(images: tuple[Path, ...]) -> None:
    """Refuse frames whose numbers leave one out."""
    numbers = [int(image.stem) for image in images if image.stem.isdigit()]
    if len(numbers) != len(images):
        return
    for before, number, image in zip(numbers, numbers[1:], images[1:], strict=False):
        # GOT-10k's absent frames are left out on purpose, and they are there.
        beside = image.with_name(f"{before + 1:0{len(image.stem)}d}{image.suffix}")
        if number != before + 1 and not beside.is_file():
            raise DataError(f"{beside} is missing, before {image.name}; unpack the frames again")


def _require_inside(regions: Floats, size: tuple[int, int], where: Callable[[int], str]) -> None:
    """Refuse what has no area, or none of it in the frame."""
    corners = reach_of(regions)
    for row, (left, top, right, low) in enumerate(corners):
        if not (right > left and low > top) or _is_a_line(regions[row]):
            raise DataError(f"{where(row)} has zero area; get the boxes again, or leave it out")
        if right <= 0 or low <= 0 or left >= size[0] or top >= size[1]:
            raise DataError(
                f"{where(row)} lies outside the frame of {size[0]}x{size[1]}; get boxes and "
                "frames again, or leave it out"
            )


def _is_a_line(region: Floats) -> bool:
    """Return whether a polygon ``[8]`` has no area, whatever its reach (the shoelace formula)."""
    if len(region) == 4:
        return False
    x, y = region.reshape(4, 2).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) == 0.0


def reach_of(regions: Floats) -> Floats:
    """Return left, top, right and bottom of boxes ``[F, 4]`` or polygons ``[F, 8]``."""
    if regions.shape[1] == 4:
        return np.concatenate([regions[:, :2], regions[:, :2] + regions[:, 2:]], axis=1)
    corners = regions.reshape(-1, 4, 2)
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)


def box_shots(shots: Sequence[Shot], /) -> tuple[Shot, ...]:
    """Return sequences with the bounding boxes of their polygons in the place of these."""
    found = []
    for shot in shots:
        assert shot.regions is not None
        reach = reach_of(shot.regions)
        boxes = np.concatenate([reach[:, :2], reach[:, 2:] - reach[:, :2]], axis=1)
        found.append(replace(shot, regions=boxes))
    return tuple(found)


def fingerprint(*shots: Shot) -> str:
    """Return what changes if a file is another, longer or shorter one, or a box moves."""
    seen = hashlib.sha256()
    for shot in shots:
        seen.update(shot.name.encode())
        for path in shot.paths:
            seen.update(f"\0{path.name}\0{path.stat().st_size}".encode())
        if shot.regions is not None:
            seen.update(np.ascontiguousarray(shot.regions).tobytes())
    return seen.hexdigest()


def findings(folder: Path, shots: Iterable[Shot]) -> Iterator[Finding]:
    """Decode every frame; yield one finding for all that are well, and one for each that is not.

    Not well is what does not decode, and a frame of another size in which its box is not.
    """
    sizes: dict[Path, tuple[int, int] | None] = {}
    for shot in shots:
        for row, path in enumerate(shot.paths):
            if path not in sizes:
                try:
                    sizes[path] = read(path).shape[1::-1]
                except DataError as error:
                    sizes[path] = None
                    yield Finding(path=str(path), expected="an image", found=str(error), ok=False)
            size = sizes[path]
            if shot.regions is None or size is None:
                continue
            try:
                _require_inside(
                    shot.regions[row : row + 1],
                    size,
                    {0: f"{shot.name}, frame {row + 1}: its box"}.__getitem__,
                )
            except DataError as error:
                yield Finding(path=str(path), expected="its box", found=str(error), ok=False)
    good = sum(size is not None for size in sizes.values())
    yield Finding(
        path=str(folder),
        expected="images that decode (no checksums of single files are published)",
        found=f"{good:,} decode",
        ok=good > 0,
    )
