"""Frames with both boxes: a picture of the best row, beside the tables and on the page."""

import os
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from harness.contracts.dataset import Samples
from harness.contracts.errors import SpecError
from harness.data.frames import Frames
from harness.data.preview import corners_of
from harness.engine import publish as engine
from harness.engine.publish import _overlaps
from harness.report import Leaderboard, boxes, leaderboard, to_html
from harness.store import PREDICTIONS, Store
from tests.report.rows import SUITE, board_rows, teacher

SVG = "{http://www.w3.org/2000/svg}"


def board(dataset: str = "tracking_quick") -> Leaderboard:
    return leaderboard(board_rows(), suite=replace(SUITE, dataset=dataset), teachers=[teacher()])


def sequences(root: Path, *, polygons: bool = False) -> Samples:
    """Return two sequences of three and of nine frames, 110 x 55, all grey."""
    paths = []
    for name, count in (("a<b", 3), ("Nine", 9)):
        for number in range(count):
            paths.append(root / name / "img" / f"{number + 1:04d}.png")
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (110, 55), (99, 99, 99)).save(paths[-1])
    labels = np.tile([10.0, 5, 20, 10], (12, 1))
    return Samples(
        inputs=Frames(paths=tuple(paths), template_px=8, search_px=16),
        labels=np.stack([*map(corners_of, labels)]) if polygons else labels,
        groups=np.repeat([0, 1], [3, 9]),
    )


@pytest.mark.parametrize("polygons", [False, True])
def test_a_picture_has_both_boxes_on_a_few_frames_of_each_sequence(
    tmp_path: Path, *, polygons: bool
) -> None:
    test, found = sequences(tmp_path, polygons=polygons), np.array([1, 1 / 3, 0, *[1] * 9])
    ours = np.tile([10.0, 5, 20, 10, 0], (12, 1))  # a state besides, as with resets
    ours[1, 0] += 10
    ours[2, :4] = 0  # nothing was tracked
    boxes.draw(tmp_path / "boxes.svg", test, ours, found)
    picture = ET.fromstring((tmp_path / "boxes.svg").read_text())  # noqa: S314  our own
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert words == [
        "a<b, 3 frames",
        *(f"frame {n}, overlap {both}" for n, both in ((1, "1.00"), (2, "0.33"), (3, "0.00"))),
        "Nine, 9 frames",
        *(f"frame {n}, overlap 1.00" for n in (1, 3, 5, 7, 9)),
    ]
    tiles = [tile for tile in picture.iter(f"{SVG}svg") if tile.find(f"{SVG}image") is not None]
    drawn = [[line.get("class") for line in tile.iter(f"{SVG}polygon")] for tile in tiles]
    assert drawn == [["truth", "ours"]] * 2 + [["truth"]] + [["truth", "ours"]] * 5
    # A frame of 110 pixels is 220 wide: twice all places.
    second = {line.get("class"): line.get("points") for line in tiles[1].iter(f"{SVG}polygon")}
    assert second["truth"] == "20.0 10.0 60.0 10.0 60.0 30.0 20.0 30.0"
    assert second["ours"] == "40.0 10.0 80.0 10.0 80.0 30.0 40.0 30.0"
    held = str(tiles[0].find(f"{SVG}image").get("href"))  # type: ignore[union-attr]  # found above
    assert held.startswith("data:image/jpeg;base64,")
    frame = Image.open(BytesIO(b64decode(held.partition(",")[2])))
    assert frame.size == (220, 110)
    assert np.abs(np.asarray(frame, dtype=int) - 99).max() <= 2  # of JPEG


def test_boxes_of_other_frames_and_samples_without_any_are_refused(tmp_path: Path) -> None:
    test = sequences(tmp_path)
    for wrong in (np.zeros((11, 4)), np.zeros((12, 3)), np.zeros(12)):
        with pytest.raises(SpecError, match="are not of these 12 frames"):
            boxes.draw(tmp_path / "boxes.svg", test, wrong, np.ones(12))
    images = Samples(inputs=np.zeros((12, 1, 4, 4), np.uint8), labels=np.zeros(12))
    with pytest.raises(SpecError, match="these samples are none"):
        boxes.draw(tmp_path / "boxes.svg", images, np.zeros((12, 4)), np.ones(12))


def test_overlaps_are_of_boxes_or_polygons() -> None:
    truth, ours = np.array([[10.0, 5, 20, 10]] * 2), np.array([[20.0, 5, 20, 10, 3], [0] * 5])
    # Half of each: a third of both.
    for labels in (truth, np.stack([*map(corners_of, truth)])):
        assert _overlaps(ours, labels) == pytest.approx([1 / 3, 0])


def test_a_board_shows_the_first_seed_of_the_highest_score() -> None:
    found = boxes.shown(board())
    assert found is not None
    lines = [line for setting in board().settings for line in setting.lines if line.accuracy]
    scores = [line.accuracy.value for line in lines if line.accuracy]
    assert len(set(scores)) > 1
    assert found.line.accuracy is not None
    assert found.line.accuracy.value == max(scores)
    assert found.row.cell.seed == min(found.line.by_seed())
    assert found.row.cell_id in {answer.row.cell_id for answer in found.line.answers}


def test_a_page_holds_the_picture_of_its_own_row_and_no_other(tmp_path: Path) -> None:
    whose = boxes.shown(board())
    assert whose is not None
    none = to_html(board(), command="x", figures_in=tmp_path)
    assert "No frames: they are their owners" in none
    assert "<img alt" not in none
    boxes.draw(
        tmp_path / "boxes-0123456789abcdef.svg", sequences(tmp_path), np.ones((12, 4)), np.ones(12)
    )
    assert to_html(board(), command="x", figures_in=tmp_path) == none
    assert to_html(board(), command="x") == none
    boxes.draw(whose.path(tmp_path), sequences(tmp_path), np.ones((12, 4)), np.ones(12))
    page = to_html(board(), command="x", figures_in=tmp_path)
    (held,) = re.findall(r'<img alt="[^"]+" src="data:image/svg\+xml;base64,([^"]+)">', page)
    assert b64decode(held) == whose.path(tmp_path).read_bytes()
    assert f"of {whose.line.method} (dashed" in page
    assert page == to_html(board(), command="x", figures_in=tmp_path)


def test_a_picture_of_an_earlier_run_of_its_cell_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whose = boxes.shown(board())
    assert whose is not None
    boxes_, labels = np.ones((12, 4)), np.ones((12, 4))
    splits = SimpleNamespace(test=sequences(tmp_path))
    card = engine.catalogue.load("tracking_quick").card
    data_set = SimpleNamespace(card=card, load=lambda _: splits)
    monkeypatch.setattr(engine, "decided", lambda *_: (boxes_, labels))
    monkeypatch.setattr(engine.catalogue, "load", lambda _: data_set)
    store = Store(tmp_path / "runs")
    decisions = store.folder(whose.row.cell) / PREDICTIONS

    def again() -> list[Path]:
        return engine._pictured(board(), tmp_path, store, None)

    (path,) = again()
    assert again() == []
    decisions.parent.mkdir(parents=True)
    decisions.touch()
    os.utime(path, ns=(0, 0))
    assert again() == [path]
    assert again() == []


def test_what_is_too_large_for_a_picture_is_in_no_page(tmp_path: Path) -> None:
    whose = boxes.shown(board())
    assert whose is not None
    whose.path(tmp_path).write_bytes(b" " * (boxes.LARGEST + 1))
    assert "<img alt" not in to_html(board(), command="x", figures_in=tmp_path)


@pytest.mark.parametrize("dataset", ["digits", "squares"])
def test_boards_without_boxes_say_nothing_of_them(tmp_path: Path, dataset: str) -> None:
    assert boxes.section(board(dataset), tmp_path) == ""
