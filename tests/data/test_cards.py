"""What the cards say, and sheets to look at."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from harness.cli.data import data_app
from harness.contracts.dataset import (
    DatasetCard,
)
from harness.data.preview import sheet
from suites.datasets import (
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    imagenet,
    mnist,
    tiny_imagenet,
)
from tests.data.publishing import RUNNER, Events

STATIC = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "imagenet": imagenet,
    "mnist": mnist,
    "tiny_imagenet": tiny_imagenet,
}


@pytest.mark.parametrize("name", sorted(STATIC))
def test_a_card_is_complete(name: str) -> None:
    card: DatasetCard = STATIC[name].DATASET.card
    assert all((card.title, card.citation, card.licence, card.url, card.split, card.encoding))
    assert len(card.class_names) in (0, card.classes)
    for archive in card.archives:
        assert len(archive.md5) == 32
        assert archive.url.startswith("http")
    assert RUNNER.invoke(data_app, ["info", name]).exit_code == 0
    assert card.title in RUNNER.invoke(data_app, ["info", name, "--json"]).output


def test_the_command_line_lists_the_data_sets() -> None:
    told = RUNNER.invoke(data_app, ["list"]).output.split()
    assert set(STATIC) <= set(told)
    assert told == sorted(told)


def test_a_sheet_shows_every_class_in_a_row(tmp_path: Path) -> None:
    out = tmp_path / "digits.png"
    assert RUNNER.invoke(data_app, ["preview", "digits", "--out", str(out)]).exit_code == 0
    with Image.open(out) as page:
        pixels = np.asarray(page.convert("L"))
    # Ten rows of 76 px at the bottom; at 150 px the first tile of each begins.
    rows = pixels[-760:].reshape(10, 76, -1)
    splits = digits.DATASET.load(None)
    for label, row in enumerate(rows):
        first = splits.train.inputs[np.flatnonzero(splits.train.labels == label)[0], 0]
        assert np.array_equal(row[4:72:9, 154:222:9], first)  # a pixel of a digit is 9x9 here


class Recordings(Events):
    """The same, with events: column 0 first, column 7 last."""

    def events(self, _root: Path | None, _place: int, /) -> NDArray[Any]:
        found = np.zeros(8, dtype=[("x", int), ("y", int), ("t", int), ("p", int)])
        found["x"], found["t"], found["p"] = np.arange(8), np.arange(8) * 1000, 1
        return found


def test_events_are_shown_as_frames_and_as_a_raster() -> None:
    page = np.asarray(sheet(Events(), None, timesteps=3))[-152:].astype(int)
    off, on = page[:76], page[76:]
    blue, red, white = (31, 119, 180), (214, 39, 40), (255, 255, 255)
    for frame in range(3):
        left = 150 + 76 * frame
        assert tuple(off[10, left + 10]) == blue
        assert tuple(off[60, left + 60]) == white
        assert tuple(on[60, left + 60]) == red
    raster = 150 + 76 * 3  # columns of the sensor downwards, so OFF is above and ON below
    assert tuple(off[10, raster + 100]) == blue
    assert tuple(off[60, raster + 100]) == white
    assert tuple(on[60, raster + 100]) == red


def test_a_raster_of_recorded_events_follows_time() -> None:
    page = np.asarray(sheet(Recordings(), None, timesteps=1))[-152:-76].astype(int)
    raster = page[:72, 150 + 76 : 150 + 76 + 216]
    marked = np.argwhere(raster.sum(axis=2) < 700)
    # One column is 9 px high and 27 px later than the one above; each mark is its first moment.
    assert {(int(y) // 9, int(x) // 27) for y, x in marked} == {(n, n) for n in range(8)}
