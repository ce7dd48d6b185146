"""A contact sheet: one picture from which a person can judge a data set.

Images stand in rows, a class each. Of events, a row shows the frames of one sample, then
a raster: time from left to right, the pixel's column from top to bottom. Of a tracker's data,
training pairs with the target's box, then frames of each sequence with theirs. Of a video's
features, one video over time: a band where a class is shown, and its features below. Of text,
no picture: sentences and their tokens.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from harness.contracts.dataset import Dataset, DatasetCard, DatasetProvenance, Samples, Source
from harness.contracts.errors import DataError, SpecError, UnsupportedError
from harness.contracts.inputs import Features, Pair, Tokens
from harness.data.frames import Frames

_ROWS, _COLUMNS, _TILE_PX, _GAP_PX, _MARGIN_PX, _LINE_PX = 12, 10, 72, 4, 150, 18
_PAPER, _INK = (255, 255, 255), (20, 20, 20)
_ON, _OFF = np.array([214, 39, 40]), np.array([31, 119, 180])
_RASTER_TILES = 3
_RASTER_BINS = 216
_FRAME_PX = 148  # of what boxes are drawn on
_FILM_PX, _BAND_PX, _HEAT_PX, _MARKS = 960, 24, 256, 8
_CHANNELS, _MOMENTS = 64, 240  # of a film's features: rows and columns
_DEVIATIONS = 2
_SENTENCES = 3  # a class
_GREY = (160, 160, 160)
_COLOURS = ((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189))
TRUTH, OURS = (44, 160, 44), (214, 39, 40)
Strip = tuple[str, list[Image.Image]]  # a label and what stands beside it


@runtime_checkable
class Recorded(Protocol):
    """What a set of events may offer besides its frames."""

    def events(self, root: Path | None, place: int, /) -> NDArray[Any]:
        """Return one training sample as an array with the fields x, y, t and p."""
        ...


@runtime_checkable
class Worded(Protocol):
    """What a set of sentences may offer besides, so that they can be read."""

    def sentences(self, root: Path | None, /) -> Sequence[Sequence[Any]]:
        """Return the sentences of each part, training first, each with its ``text``.

        Raises:
            DataError: If they are not there, or damaged.
        """
        ...


@runtime_checkable
class Filmed(Protocol):
    """What a set of videos' features may offer besides, so that one can be looked at."""

    def film(self, root: Path | None, /) -> tuple[str, NDArray[np.int64], NDArray[np.float32]]:
        """Return a video's name, its classes ``[F, M]``, -1 for none, and features ``[F, D]``.

        Raises:
            DataError: If it is not there, or damaged.
        """
        ...


@runtime_checkable
class Sequenced(Protocol):
    """What a tracker's set may offer besides, so that it is shown where nothing trains.

    Attributes:
        pairs: How many there are to train on, an epoch.
    """

    pairs: int

    def first_pairs(self, root: Path | None, count: int, /) -> Samples | Source:
        """Return no more than so many of them.

        Raises:
            DataError: If there is nothing to train on, or it is damaged.
        """
        ...

    def sequences(self, root: Path | None, /) -> Samples:
        """Return the sequences that are tested on.

        Raises:
            DataError: If there is none, or one is not whole.
        """
        ...


def sheet(
    dataset: Dataset[Any],
    root: Path | None,
    /,
    *,
    timesteps: int = 4,
    theirs: NDArray[Any] | None = None,
) -> Image.Image:
    """Return the contact sheet of the training part, and of a tracker's sequences.

    These are shown where what to train on is missing too; the title says so.

    Args:
        dataset: What to show.
        root: Where data lies.
        timesteps: Frames to cut events into.
        theirs: A tracker's boxes of all test frames, ``[N, 4]`` or more columns: drawn beside
            the truth.

    Raises:
        DataError: If the data set is not there, or damaged.
        SpecError: If ``theirs`` are given and are not of these frames.
        UnsupportedError: If a sample is nothing to look at, as sentences are.
    """
    if isinstance(dataset.card.input, Pair):
        return _sheet_of_sequences(dataset, dataset.card.input, root, theirs)
    if theirs is not None:
        raise SpecError(f"{dataset.card.title} has no sequences to draw a tracker's boxes on")
    if isinstance(dataset, Filmed):
        return _sheet_of_film(dataset, dataset.card, root, dataset.provenance(root))
    _ = dataset.card.image
    known = dataset.provenance(root)
    splits = dataset.load(root, timesteps=timesteps)
    part = cast("Samples | Source", splits.train)
    labels = spread(np.unique(part.labels), _ROWS)
    is_events = isinstance(part, Samples) and part.are_frames
    if isinstance(part, Samples) and is_events:
        strips = [_event_strip(dataset, root, part, int(label)) for label in labels]
    else:
        strips = [_image_strip(part, int(label), dataset.card) for label in labels]
    return _drawn(list(_title(dataset.card, part, known)), strips)


def readable(dataset: Dataset[Any], root: Path | None, /) -> Iterator[str]:
    """Yield lines about the training part of a text: sentences of each class, and their tokens.

    The tokens are those that a network gets, cut at its length, without padding.

    Raises:
        DataError: If the data set is not there, or damaged.
        UnsupportedError: If it offers no sentences.
    """
    card = dataset.card
    if not isinstance(dataset, Worded):
        raise UnsupportedError(f"{card.title} offers no sentences to look at")
    known, splits = dataset.provenance(root), dataset.load(root)
    part = splits.train
    texts = [sentence.text for sentence in dataset.sentences(root)[0]]
    yield from _title(card, part, known)
    for label in np.unique(part.labels):
        places = np.flatnonzero(part.labels == label)
        yield ""
        yield f"{_named(label, card)}, {len(places):,} of {len(part):,}"
        for place in spread(places, _SENTENCES):
            row = part.inputs[place]
            shown = [splits.vocabulary[number] for number in row[row != _pad(card)].tolist()]
            yield f"  {' '.join(texts[place].split())}"
            yield f"  = {' '.join(shown)}  ({len(shown)} of {len(row)} tokens)"


def _pad(card: DatasetCard) -> int:
    assert isinstance(card.input, Tokens)
    return card.input.pad


def predicted(path: Path, /) -> NDArray[Any]:
    """Return what a cell kept of its decisions after the last step, ``[N, ...]``.

    Raises:
        DataError: If the file holds none.
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            last: NDArray[Any] = kept["predictions"][-1]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{path} holds no predictions of a cell: {error}") from error
    return last


def _sheet_of_sequences(
    dataset: Dataset[Any], pair: Pair, root: Path | None, theirs: NDArray[Any] | None
) -> Image.Image:
    notes, shown, pairs = tuple[str, ...](), list[Strip](), "no training pairs"
    if isinstance(dataset, Sequenced):
        test = dataset.sequences(root)
        try:
            notes = dataset.provenance(root).notes
            shown = _pair_strips(dataset.first_pairs(root, _COLUMNS), pair)
            pairs = f"{dataset.pairs:,} training pairs"
        except DataError as error:
            notes = (f"{pairs}: {error}",)
    else:
        notes = dataset.provenance(root).notes
        splits = dataset.load(root)
        test, pairs = splits.test, f"{len(splits.train):,} training pairs"
        shown = _pair_strips(splits.train, pair)
    assert test.groups is not None
    count = len(np.unique(test.groups))
    title = f"{dataset.card.title}: {pairs}; {count} sequences, {len(test):,} frames"
    return _drawn(
        [title, dataset.card.split, dataset.card.encoding, *notes],
        [*shown, *sequence_strips(test, theirs)],
    )


def _sheet_of_film(
    dataset: Filmed, card: DatasetCard, root: Path | None, known: DatasetProvenance
) -> Image.Image:
    assert isinstance(card.input, Features)
    name, classes, features = dataset.film(root)
    frames, rate = len(classes), card.input.rate_hz
    some = features[:, spread(np.arange(features.shape[1]), _CHANNELS)]
    strips = [
        ("seconds", [_axis(frames / rate)]),
        *_bands(classes, card),
        (f"features: {some.shape[1]:,}\nof {features.shape[1]:,}", [_heat(some)]),
    ]
    title = [
        f"{card.title}: {name}, {frames:,} frames, {rate:g} a second",
        card.split,
        card.encoding,
        *known.notes,
        f"features: blue {_DEVIATIONS} deviations below their mean over the video, red above",
    ]
    return _drawn(title, strips, least_px=_BAND_PX)


def _axis(length_s: float) -> Image.Image:
    """Return marks over the time of a film."""
    tile = Image.new("RGB", (_FILM_PX, _BAND_PX), _PAPER)
    pen, font = ImageDraw.Draw(tile), ImageFont.load_default(size=13)
    for part in range(_MARKS):
        left = part * _FILM_PX // _MARKS
        pen.line([(left, 0), (left, _BAND_PX)], fill=_INK)
        pen.text((left + _GAP_PX, 2), f"{part * length_s / _MARKS:.4g}", fill=_INK, font=font)
    return tile


def _bands(classes: NDArray[np.int64], card: DatasetCard) -> Iterator[Strip]:
    """Yield a band for each class of a film, coloured where a frame shows it; none is grey."""
    shown = np.unique(classes)
    for number, label in enumerate(shown[shown >= 0][:_ROWS]):
        band = _band((classes == label).any(1), _COLOURS[number % len(_COLOURS)])
        yield _named(label, card), [band]
    if (nothing := (classes < 0).all(1)).any():
        yield "no class", [_band(nothing, _GREY)]


def _band(here: Any, colour: tuple[int, int, int]) -> Image.Image:  # bool [F]
    pixels = np.where(here[None, :, None], colour, _PAPER).astype(np.uint8)
    return _stretched(pixels, (_FILM_PX, _BAND_PX))


def _heat(features: NDArray[np.float32]) -> Image.Image:  # [F, D]
    """Return features over time, averaged over what one column of the picture stands for."""
    columns = min(_MOMENTS, len(features))
    begins = np.arange(columns) * len(features) // columns
    sums = np.add.reduceat(features.astype(np.float64), begins)
    means = sums / np.diff(begins, append=len(features))[:, None]
    width = means.std(0)
    high = (means - means.mean(0)).T / (_DEVIATIONS * np.where(width > 0, width, 1)[:, None])
    return _stretched(_coloured(np.stack([-high, high])), (_FILM_PX, _HEAT_PX))


def _pair_strips(part: Samples | Source, pair: Pair) -> list[Strip]:
    """Return templates, and the searches below them with the target's box."""
    templates, searches = [], []
    for place in spread(np.arange(len(part)), _COLUMNS):
        both = _image(part, int(place))  # [S, S, 6]
        channels, height, width = pair.template
        templates.append(_scaled(both[:height, :width, :channels], _FRAME_PX))
        low = part.labels[place] + both.shape[0] / 2
        corners = np.array([*low[:2], low[2], low[1], *low[2:], low[0], low[3]])
        searches.append(boxed(both[..., channels:], (corners, TRUTH)))
    return [("template", templates), ("search\nand target", searches)]


def sequence_strips(test: Samples, theirs: NDArray[Any] | None = None, /) -> list[Strip]:
    """Return frames of each sequence with the truth in green, and boxes of a tracker in red.

    Args:
        test: Sequences: ``Frames``, and boxes ``[N, 4]`` or polygons ``[N, 8]``.
        theirs: Boxes ``[N, 4]``; further columns are not looked at.

    Raises:
        SpecError: If these are boxes of other frames.
    """
    assert isinstance(test.inputs, Frames)
    assert test.groups is not None
    if theirs is not None and (theirs.ndim != 2 or len(theirs) != len(test)):
        raise SpecError(f"boxes {list(theirs.shape)} are not of these {len(test)} frames")
    strips = []
    for unit in np.unique(test.groups)[:_ROWS]:
        places = np.flatnonzero(test.groups == unit)
        tiles = []
        for place in spread(places, _COLUMNS):
            drawn = [(corners_of(test.labels[place]), TRUTH)]
            if theirs is not None:
                drawn.append((corners_of(theirs[place, :4]), OURS))
            tiles.append(boxed(test.inputs[int(place)], *drawn))
        name = sequence_name(test.inputs.paths[places[0]])
        strips.append((f"{name[:18]}\n{len(places):,} frames", tiles))
    return strips


def sequence_name(frame: Path, /) -> str:
    """Return the name of the sequence that a frame is of, by the folder that it lies in."""
    home = frame.parent
    return home.parent.name if home.name in {"img", "color"} else home.name


def corners_of(region: NDArray[Any], /) -> NDArray[Any]:  # [4] or [8] -> [8]
    """Return the corners ``x, y`` of a box or polygon, one after the other."""
    if len(region) == 8:
        return region
    left, top, width, height = region
    right, low = left + width, top + height
    return np.array([left, top, right, top, right, low, left, low])


def boxed(
    pixels: NDArray[np.uint8],  # [H, W, 3]
    *drawn: tuple[NDArray[Any], tuple[int, int, int]],
) -> Image.Image:
    """Return a frame with polygons ``[8]``, each in its colour."""
    tile = _scaled(pixels, _FRAME_PX)
    pen, scale = ImageDraw.Draw(tile), tile.width / pixels.shape[1]
    for corners, colour in drawn:
        points = [(float(x) * scale, float(y) * scale) for x, y in corners.reshape(4, 2)]
        pen.line([*points, points[0]], fill=colour, width=2)
    return tile


def _title(card: DatasetCard, part: Samples | Source, known: DatasetProvenance) -> Iterator[str]:
    classes = len(np.unique(part.labels))
    yield f"{card.title}: {len(part):,} training samples, {classes} of {card.classes} classes"
    yield card.split
    yield card.encoding
    yield from known.notes


def _image_strip(part: Samples | Source, label: int, card: DatasetCard) -> Strip:
    places = np.flatnonzero(part.labels == label)
    images = (_image(part, int(place)) for place in spread(places, _COLUMNS))
    return _label(label, len(places), card), [_scaled(image, _TILE_PX) for image in images]


def _image(part: Samples | Source, place: int) -> NDArray[np.uint8]:  # [H, W, C]
    if isinstance(part, Samples):
        return np.asarray(part.inputs[place], dtype=np.uint8).transpose(1, 2, 0)
    return part.read(place, chance=None)


def _event_strip(dataset: Dataset[Any], root: Path | None, part: Samples, label: int) -> Strip:
    """Return the frames and the raster of the first sample of a class."""
    places = np.flatnonzero(part.labels == label)
    frames = part.inputs[places[0]].astype(np.float64)  # [T, C, H, W]
    shown = frames[spread(np.arange(len(frames)), _COLUMNS)]
    # The brightest percent may saturate; a single hot pixel must not darken the rest.
    full = max(1.0, float(np.percentile(shown[shown > 0], 99)) if shown.any() else 1.0)
    tiles = [_scaled(_coloured(frame / full), _TILE_PX) for frame in shown]
    if isinstance(dataset, Recorded):
        raster = _raster(dataset.events(root, int(places[0])), frames.shape[-1])
    else:
        raster = frames.sum(axis=2).transpose(1, 2, 0)  # [C, W, T]
    many = max(1.0, float(np.percentile(raster[raster > 0], 95)) if raster.any() else 1.0)
    tiles.append(_stretched(_coloured(raster / many), (_RASTER_TILES * _TILE_PX, _TILE_PX)))
    return _label(label, len(places), dataset.card), tiles


def _raster(events: NDArray[Any], columns: int) -> NDArray[np.float64]:  # [2, columns, bins]
    """Return how many events fell into each column and moment, by polarity, OFF first."""
    times, x, on = (np.asarray(events[name], dtype=np.int64) for name in ("t", "x", "p"))
    raster = np.zeros((2, columns, _RASTER_BINS))
    if len(times) == 0:
        return raster
    moment = (times - times.min()) * _RASTER_BINS // (np.ptp(times) + 1)
    # A set may be shown at a lower resolution than its sensor's.
    column = x * columns // max(columns, int(x.max()) + 1)
    np.add.at(raster, ((on > 0).astype(np.int64), column, moment), 1)
    return raster


def _coloured(counts: NDArray[np.float64]) -> NDArray[np.uint8]:  # [C, H, W] -> [H, W, 3]
    """Return OFF events, channel 0, in blue and ON events, channel 1, in red, on white."""
    strength = np.clip(counts, 0, 1)[..., None]  # [C, H, W, 1]
    ink = 255 - np.stack([_OFF, _ON])[: len(counts), None, None]  # what each takes from white
    left: NDArray[np.uint8] = (255 - np.clip((strength * ink).sum(axis=0), 0, 255)).astype(np.uint8)
    return left


def _label(label: int, samples: int, card: DatasetCard) -> str:
    return f"{_named(label, card)}\nof {samples:,}"


def _named(label: int, card: DatasetCard) -> str:
    name = card.class_names[label] if card.class_names else ""
    return f"{label} {name}".strip()[:22]


def _scaled(pixels: NDArray[np.uint8], side_px: int) -> Image.Image:
    """Return an image of at most ``side_px`` a side; small ones show their pixels."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    return _stretched(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))


def _stretched(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    grows = size[0] >= image.width
    return image.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def spread(values: NDArray[np.int64], count: int, /) -> NDArray[np.int64]:
    """Return at most ``count`` of ``values``, evenly spread, the first and last among them."""
    if len(values) <= count:
        return values
    chosen: NDArray[np.int64] = values[np.linspace(0, len(values) - 1, count).round().astype(int)]
    return chosen


def _drawn(title: list[str], strips: list[Strip], *, least_px: int = _TILE_PX) -> Image.Image:
    """Return the page: title lines, then a strip a row, each at least so high."""
    font = ImageFont.load_default(size=13)
    head = _GAP_PX + _LINE_PX * len(title) + _GAP_PX
    heights = [max([least_px, *(tile.height for tile in tiles)]) + _GAP_PX for _, tiles in strips]
    widths = [sum(tile.width + _GAP_PX for tile in tiles) for _, tiles in strips]
    text_px = max(int(font.getlength(line)) for line in title) + 2 * _GAP_PX
    width = max(text_px, _MARGIN_PX + max(widths))
    page = Image.new("RGB", (width, head + sum(heights)), _PAPER)
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(title):
        pen.text((_GAP_PX, _GAP_PX + number * _LINE_PX), line, fill=_INK, font=font)
    for number, (label, tiles) in enumerate(strips):
        top, left = head + sum(heights[:number]), _MARGIN_PX
        pen.text((_GAP_PX, top + least_px // 4), label, fill=_INK, font=font)
        for tile in tiles:
            page.paste(tile, (left, top))
            left += tile.width + _GAP_PX
    return page
