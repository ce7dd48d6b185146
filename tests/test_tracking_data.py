"""Sequences and stills in the layouts that they come in, training pairs, and bad files."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor

from harness.contracts.errors import DataError, SpecError
from harness.contracts.inputs import Pair
from harness.data.augmentation import floats
from harness.data.frames import crop, padded_side, paired
from harness.data.preview import OURS, TRUTH, predicted, sheet
from harness.data.streaming import Sampler, Stream
from suites.datasets import _tracking as sets
from suites.datasets import _tracking_layouts as layouts
from suites.datasets.digits import DATASET as DIGITS
from suites.datasets.tracking_quick import DATASET as QUICK

PAIR = Pair(template=(3, 8, 8), search=(3, 16, 16))
SIZE = 40, 30  # width, height


def frame(path: Path, *, at: tuple[int, int] = (10, 10), size: tuple[int, int] = SIZE) -> None:
    """Write a black frame with a white square of 6 pixels whose first pixel is ``at``."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[at[1] : at[1] + 6, at[0] : at[0] + 6] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def an_otb(root: Path, *, lines: tuple[str, ...] = ("11,11,6,6", "12,11,6,6", "13,11,6,6")) -> Path:
    home = root / "Square"
    for number in range(3):
        frame(home / "img" / f"{number + 1:04d}.png", at=(10 + number, 10))
    (home / "groundtruth_rect.txt").write_text("\n".join(lines) + "\n")
    return home


def test_otb_counts_pixels_from_one_and_we_from_zero(tmp_path: Path) -> None:
    an_otb(tmp_path, lines=("11\t11\t6\t6", "12 11 6 6", "13,11,6,6"))
    (shot,) = layouts.otb(tmp_path)
    assert shot.name == "Square"
    assert [path.name for path in shot.paths] == ["0001.png", "0002.png", "0003.png"]
    assert shot.regions is not None
    assert shot.regions.tolist() == [[10, 10, 6, 6], [11, 10, 6, 6], [12, 10, 6, 6]]


def test_vot_has_polygons_and_takes_boxes_for_them(tmp_path: Path) -> None:
    for name, line in (("a", "1,2,5,2,5,9,1,9"), ("b", "1,2,4,7")):
        frame(tmp_path / name / "00000001.png")
        (tmp_path / name / "groundtruth.txt").write_text(line + "\n")
    first, second = layouts.vot(tmp_path)
    assert first.regions is not None
    assert second.regions is not None
    assert first.regions.tolist() == second.regions.tolist() == [[1, 2, 5, 2, 5, 9, 1, 9]]
    assert layouts.box_shots([first])[0].regions == pytest.approx(np.array([[1, 2, 4, 7]]))


@pytest.mark.parametrize("line", ["1,1,2,2,3,3,4,4", "1,2,1,2,1,2,1,2"])
def test_a_polygon_without_an_area_is_refused(tmp_path: Path, line: str) -> None:
    frame(tmp_path / "a" / "00000001.png")
    (tmp_path / "a" / "groundtruth.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=rf"groundtruth\.txt:1: the box {line} has zero area"):
        layouts.vot(tmp_path)


def test_got10k_leaves_out_frames_without_the_target(tmp_path: Path) -> None:
    home = tmp_path / "GOT-10k_Train_000001"
    for number in range(3):
        frame(home / f"{number + 1:08d}.png")
    (home / "groundtruth.txt").write_text("11,11,6,6\n0,0,0,0\n12,11,6,6\n")
    (home / "absence.label").write_text("0\n1\n0\n")
    (shot,) = layouts.shots_in(tmp_path)
    assert [path.name for path in shot.paths] == ["00000001.png", "00000003.png"]
    assert shot.regions is not None
    assert shot.regions.tolist() == [[10, 10, 6, 6], [11, 10, 6, 6]]
    (home / "00000002.png").rename(tmp_path / "away.png")
    with pytest.raises(DataError, match=r"00000002\.png is missing, before 00000003\.png"):
        layouts.shots_in(tmp_path)
    (tmp_path / "away.png").rename(home / "00000002.png")
    (home / "groundtruth.txt").write_text("11,11,6,6\n0,0,0,0\n12,11,0,6\n")
    with pytest.raises(DataError, match=r"groundtruth\.txt:3: the box .* has zero area"):
        layouts.shots_in(tmp_path)


def a_coco(root: Path, *, box: tuple[float, ...] = (10, 10, 6, 6), image: int = 7) -> None:
    frame(root / "images" / "val2017" / "000007.png")
    listed = {
        "images": [{"id": 7, "file_name": "000007.png"}],
        "annotations": [
            {"id": 5, "image_id": image, "bbox": box, "iscrowd": 0},
            {"id": 6, "image_id": 7, "bbox": [0, 0, 0, 0], "iscrowd": 1},
        ],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(listed))


def test_coco_is_a_still_an_object_crowds_left_out(tmp_path: Path) -> None:
    a_coco(tmp_path)
    (shot,) = layouts.shots_in(tmp_path)
    assert shot.regions is not None
    assert (shot.name, shot.regions.tolist()) == ("000007/5", [[10, 10, 6, 6]])
    for flat in ((10, 10, 0, 6), (10, 10, 6, 0)):  # as a few of the published ones are
        a_coco(tmp_path, box=flat)
        with pytest.raises(DataError, match="holds nothing"):
            layouts.shots_in(tmp_path)
    a_coco(tmp_path, box=(10, 10, -1, 6))
    with pytest.raises(
        DataError, match=r"annotation 5: the bbox \[10, 10, -1, 6\] has zero area; get"
    ):
        layouts.shots_in(tmp_path)
    a_coco(tmp_path, image=8)
    with pytest.raises(DataError, match=r"annotation 5 is of image 8"):
        layouts.shots_in(tmp_path)
    (tmp_path / "annotations" / "instances_val2017.json").write_text("{")
    with pytest.raises(DataError, match="no list of COCO's instances"):
        layouts.shots_in(tmp_path)


def test_cocos_images_lie_as_its_archives_unpack(tmp_path: Path) -> None:
    a_coco(tmp_path)
    (tmp_path / "images" / "val2017").rename(tmp_path / "val2017")
    (shot,) = layouts.shots_in(tmp_path)
    assert shot.paths == (tmp_path / "val2017" / "000007.png",)
    shot.paths[0].unlink()
    with pytest.raises(
        DataError, match=r"000007\.png is missing; unpack the images into .*/val2017/"
    ):
        layouts.shots_in(tmp_path)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (None, "has no bbox"),
        ([1, 2, 3], r"has the bbox \[1, 2, 3\]"),
        ([1, 2, float("nan"), 3], r"has the bbox \[1, 2, nan, 3\]"),
        (["a", 2, 3, 4], r"has the bbox \['a', 2, 3, 4\]"),
        ([[1, 2, 3, 4]], r"has the bbox \[\[1"),
        ({"x": 1}, "has the bbox {'x': 1}"),
        (5, "has the bbox 5"),
    ],
)
def test_an_annotation_without_four_numbers_is_named(
    tmp_path: Path, box: object, words: str
) -> None:
    a_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    listed = json.loads(path.read_text())
    listed["annotations"][0] |= {"bbox": box}
    if box is None:
        del listed["annotations"][0]["bbox"]
    path.write_text(json.dumps(listed))
    with pytest.raises(
        DataError, match=rf"val2017\.json: annotation 5 {words}.*, expected \[left, top.*again"
    ) as caught:
        layouts.shots_in(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_no_list_of_objects_is_named(tmp_path: Path) -> None:
    a_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_val2017.json"
    for wrong in ("[]", '{"images": [], "annotations": [[1, 2]]}'):
        path.write_text(wrong)
        with pytest.raises(DataError, match=r"val2017\.json is no list of COCO's instances"):
            layouts.coco(tmp_path)
    a_coco(tmp_path)
    listed = json.loads(path.read_text())
    listed["annotations"][0]["image_id"] = [7]
    path.write_text(json.dumps(listed))
    with pytest.raises(DataError, match=r"annotation 5 is of image \[7\]"):
        layouts.coco(tmp_path)


def a_sequence(home: Path, lines: str, *, folder: str = "", digits: int = 8) -> None:
    """Write as many frames as lines, and the lines as groundtruth.txt."""
    for number in range(lines.count("\n")):
        frame(home / folder / f"{number + 1:0{digits}d}.png")
    (home / "groundtruth.txt").write_text(lines)


@pytest.mark.parametrize("folder", ["", "color"])
def test_vots_boxes_are_vots_in_a_training_folder_too(tmp_path: Path, folder: str) -> None:
    a_sequence(tmp_path / "bag", "11,11,6,6\n", folder=folder)
    (shot,) = layouts.shots_in(tmp_path)
    (tested,) = layouts.vot(tmp_path)
    assert shot.paths == tested.paths
    assert shot.regions is not None
    assert shot.regions.tolist() == [[11, 11, 17, 11, 17, 17, 11, 17]]


@pytest.mark.parametrize(
    "mark", ["absence.label", "cover.label", "cut_by_image.label", "meta_info.ini"]
)
def test_a_file_of_got10ks_own_tells_its_sequences(tmp_path: Path, mark: str) -> None:
    a_sequence(tmp_path / "a", "11,11,6,6\n")
    (tmp_path / "a" / mark).write_text("0\n")
    (shot,) = layouts.shots_in(tmp_path)
    assert shot.regions is not None
    assert shot.regions.tolist() == [[10, 10, 6, 6]]


def test_every_sequence_of_a_folder_is_read_in_its_own_layout(tmp_path: Path) -> None:
    a_sequence(tmp_path / "b", "11,11,6,6\n")
    a_sequence(tmp_path / "a", "1,2,5,2,5,9,1,9\n")
    a_sequence(tmp_path / "GOT-10k_Train_000001", "11,11,6,6\n")
    an_otb(tmp_path)
    found = {shot.name: shot.regions for shot in layouts.shots_in(tmp_path)}
    assert list(found) == ["GOT-10k_Train_000001", "Square", "a", "b"]
    firsts = [regions[0].tolist() for regions in found.values() if regions is not None]
    assert firsts == [
        [10, 10, 6, 6],
        [10, 10, 6, 6],
        [1, 2, 5, 2, 5, 9, 1, 9],
        [11, 11, 17, 11, 17, 17, 11, 17],
    ]


@pytest.mark.parametrize("reader", [layouts.vot, layouts.shots_in])
def test_a_folder_that_is_no_sequence_is_left_out_and_a_damaged_one_named(
    tmp_path: Path, reader: Callable[[Path], tuple[layouts.Shot, ...]]
) -> None:
    a_sequence(tmp_path / "bag", "11,11,6,6\n")
    (tmp_path / "AAA").mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "run.m").write_text("x")
    frame(tmp_path / "__MACOSX" / "bag" / "._00000001.png")
    frame(tmp_path / ".cache" / "1.png")
    assert [shot.name for shot in reader(tmp_path)] == ["bag"]
    frame(tmp_path / "zebra" / "00000001.png")
    with pytest.raises(DataError, match=r"zebra holds images and lacks groundtruth\.txt; unpack"):
        reader(tmp_path)


def test_beside_otbs_sequences_a_folder_is_none_or_whole(tmp_path: Path) -> None:
    an_otb(tmp_path)
    (tmp_path / "AAA").mkdir()
    assert [shot.name for shot in layouts.otb(tmp_path)] == ["Square"]
    # As the published archives unpack where they are put into a folder of their name.
    frame(tmp_path / "Box" / "Box" / "img" / "0001.png")
    with pytest.raises(DataError, match=r"Box lacks groundtruth_rect\.txt"):
        layouts.otb(tmp_path)
    shutil.rmtree(tmp_path / "Box")
    frame(tmp_path / "Car" / "img" / "0001.png")
    with pytest.raises(DataError, match=r"Car lacks groundtruth_rect\.txt"):
        layouts.shots_in(tmp_path)


def _replace(line: int, text: str) -> Callable[[Path], None]:
    def change(home: Path) -> None:
        truth = home / "groundtruth_rect.txt"
        lines = truth.read_text().splitlines()
        lines[line - 1] = text
        truth.write_text("\n".join(lines))

    return change


def _two(home: Path) -> list[Path]:
    """Take the last frame away and return the others."""
    *left, last = sorted((home / "img").iterdir())
    last.unlink()
    return left


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            _replace(2, "12,11,0,6"),
            r"groundtruth_rect\.txt:2: the box 12,11,0,6 has zero area; get",
        ),
        (_replace(3, "41,11,6,6"), r"rect\.txt:3: the box 41,11,6,6 lies outside .* 40x30"),
        (_replace(3, "-5,11,6,6"), r"rect\.txt:3: the box -5,11,6,6 lies outside"),
        (_replace(3, "11,-5,6,6"), r"rect\.txt:3: the box 11,-5,6,6 lies outside"),
        (_replace(3, "11,31,6,6"), r"rect\.txt:3: the box 11,31,6,6 lies outside"),
        (_replace(2, "1,2,3"), r"rect\.txt:2: 3 numbers, expected 4"),
        (_replace(2, "1,2,x,3"), r"rect\.txt:2: '1,2,x,3' is not numbers"),
        (_replace(2, "NaN,NaN,NaN,NaN"), r"rect\.txt:2: .* has no finite place"),
        (_replace(2, "12,11,\u00e4"), r"rect\.txt:2: byte 0xc3 is no plain text; get it again"),
        (
            lambda home: (home / "groundtruth_rect.txt").write_text("11,11,6,6\n"),
            r"rect\.txt:2: 1 lines and 3 frames, none for 0002\.png",
        ),
        (
            lambda home: (home / "img" / "0001.png").unlink(),
            r"img/0001\.png is missing: .*rect\.txt has 3 lines, and there are 2 frames",
        ),
        (
            lambda home: (home / "img" / "0003.png").unlink(),
            r"img/0003\.png is missing: .*rect\.txt has 3 lines, and there are 2 frames",
        ),
        (
            lambda home: [path.rename(path.with_stem("a" + path.stem)) for path in _two(home)],
            r"rect\.txt:3: 3 lines and 2 frames beside them; one of them is not whole",
        ),
        (lambda home: (home / "groundtruth_rect.txt").write_text(""), "is empty"),
        (
            lambda home: (home / "img" / "0002.png").unlink(),
            r"0002\.png is missing, before 0003\.png",
        ),
        (lambda home: (home / "img" / "0001.png").write_bytes(b"%!PS"), "cannot be read as an im"),
        (lambda home: (home / "groundtruth_rect.txt").unlink(), "lacks groundtruth_rect"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(an_otb(tmp_path))
    with pytest.raises(DataError, match=words) as caught:
        layouts.otb(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_none_are_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"holds nothing|is missing"):
            layouts.shots_in(wrong)
    with pytest.raises(DataError, match="Tracking, small needs a data root; point"):
        QUICK.load(None)


def test_sequences_of_the_benchmark_that_begin_late_are_cut(tmp_path: Path) -> None:
    home = tmp_path / "Freeman4"  # frames 1 ... 283 of 297
    for number in range(284):
        frame(home / "img" / f"{number + 1:04d}.png", size=(4, 4), at=(0, 0))
    (home / "groundtruth_rect.txt").write_text("1,1,2,2\n" * 283)
    (shot,) = layouts.otb(tmp_path)
    assert len(shot.paths) == 283
    assert shot.paths[-1].name == "0283.png"


@pytest.mark.parametrize("number", [300, 770])
def test_a_missing_end_of_a_range_is_named(tmp_path: Path, number: int) -> None:
    home = tmp_path / "David"  # frames 300 ... 770
    for each in range(299, 772):
        path = home / "img" / f"{each:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (home / "groundtruth_rect.txt").write_text("1,1,2,2\n" * 471)
    (home / "img" / f"{number:04d}.png").unlink()
    wanted = rf"{number:04d}\.png is missing"  # before 0301.png, or of 471 lines and 470 frames
    with pytest.raises(DataError, match=wanted):
        layouts.otb(tmp_path)


@pytest.mark.parametrize(("number", "named"), [(1, "00000001"), (3, "00000003")])
def test_a_missing_end_of_got10ks_and_vots_frames_is_named(
    tmp_path: Path, number: int, named: str
) -> None:
    for home in (tmp_path / "GOT-10k_Train_000001", tmp_path / "bag"):
        a_sequence(home, "11,11,6,6\n" * 3)
        (home / f"{number:08d}.png").unlink()
        with pytest.raises(DataError, match=rf"{home.name}/{named}\.png is missing: .* 3 lines"):
            layouts.shots_in(tmp_path)
        shutil.rmtree(home)


def test_a_sequence_without_frames_says_so(tmp_path: Path) -> None:
    a_sequence(tmp_path / "bag", "11,11,6,6\n")
    (tmp_path / "bag" / "00000001.png").unlink()
    with pytest.raises(DataError, match=r"groundtruth\.txt:1: 1 lines and 0 frames .*\.jpg"):
        layouts.shots_in(tmp_path)


def test_a_crop_is_scaled_about_its_centre_and_filled_with_the_mean() -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:, 4:] = 200
    same = crop(pixels, np.array([4.0, 4.0]), 8, 8)
    assert np.array_equal(same, pixels)
    # The left half lies outside: mean 100; then come the dark and the bright half.
    left = crop(pixels, np.array([0.0, 4.0]), 16, 16)
    assert (
        left[8, [0, 7, 8, 11, 12, 15]].tolist() == [[100] * 3] * 2 + [[0] * 3] * 2 + [[200] * 3] * 2
    )
    twice = crop(pixels, np.array([4.0, 4.0]), 8, 16)
    assert twice[8, [0, 6, 9, 15], 0].tolist() == [0, 0, 200, 200]


def test_the_padded_side_of_a_square_is_twice_its_own() -> None:
    # sqrt((s + .5 2s)^2) = 2 s; of 30 x 10: sqrt((30 + 20)(10 + 20)).
    assert padded_side(np.array([7.0, 7.0])) == 14
    assert padded_side(np.array([30.0, 10.0])) == np.sqrt(50 * 30)


def test_a_pair_holds_the_template_in_its_upper_left_corner() -> None:
    template, search = np.full((2, 2, 3), 7, np.uint8), np.full((4, 4, 3), 9, np.uint8)
    pair = paired(template, search)
    assert pair.shape == (6, 4, 4)
    assert pair[:3, :2, :2].min() == 7
    assert pair[:3].sum() == 3 * 4 * 7
    assert pair[3:].min() == 9


def _white(pair: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return left, top, right and bottom of what is white, from the centre of the search."""
    rows, columns = np.nonzero(pair[3] > 127)
    edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)
    return edges - pair.shape[-1] / 2


def test_labels_of_pairs_lie_where_the_target_is_seen(tmp_path: Path) -> None:
    an_otb(tmp_path)
    pair = Pair(template=(3, 32, 32), search=(3, 64, 64))
    drawn = sets.pairs(layouts.otb(tmp_path), 20, pair)
    images = np.array([drawn.read(place).transpose(2, 0, 1) for place in range(20)])
    assert images.shape == (20, 6, 64, 64)
    for image, label in zip(images, drawn.labels, strict=True):
        inside = np.clip(label, -32, 32)
        # An edge lies within a pixel of the search of where it is seen, and a blurred one
        # half a pixel of the frame, 64 / (2 * 12 * .77) / 2 pixels of it, further.
        assert _white(image) == pytest.approx(inside, abs=1 + 64 / (2 * 12 / 1.3) / 2)
    # The template shows the target in its middle: 6 of 12 pixels.
    assert (images[:, 0, 16, 16] == 255).all()
    assert (images[:, 0, 2, 2] == 0).all()
    # Shifts reach .4 of the template's side, 12.8 pixels, and are not all alike.
    middles = (drawn.labels[:, :2] + drawn.labels[:, 2:]) / 2
    assert 6 < np.abs(middles).max() <= 0.4 * 32 + 1e-4


def test_pairs_are_the_same_for_the_same_seed_and_taken_in_order(tmp_path: Path) -> None:
    an_otb(tmp_path)
    shots = layouts.otb(tmp_path)
    once, again, other = (sets.pairs(shots, 5, PAIR, seed=seed) for seed in (1, 1, 2))
    assert once.templates == again.templates
    assert np.array_equal(once.labels, again.labels)
    assert not np.array_equal(once.labels, other.labels)
    chosen = once.take(np.array([3, 1]))
    assert np.array_equal(chosen.labels, once.labels[[3, 1]])
    assert np.array_equal(chosen.read(0), once.read(3))


def test_pairs_are_others_in_each_epoch_and_the_same_in_each_training(tmp_path: Path) -> None:
    an_otb(tmp_path)
    begun = sets.pairs(layouts.otb(tmp_path), 8, PAIR)
    later = begun.renewed(3, seed=1)
    again = sets.pairs(layouts.otb(tmp_path), 8, PAIR).renewed(0, seed=1).renewed(3, seed=1)
    assert np.array_equal(later.labels, again.labels)
    assert (later.templates, later.searches) == (again.templates, again.searches)
    others = [begun, begun.renewed(2, seed=1), begun.renewed(3, seed=2)]
    # Shifts and scales are real numbers: no pair comes twice.
    assert not any((later.labels[:, None] == each.labels).all(-1).any() for each in others)
    few = begun.take(np.array([5, 2])).renewed(3, seed=1)
    assert np.array_equal(few.labels, later.labels[[5, 2]])
    assert np.array_equal(few.read(1), later.read(2))


def test_an_epoch_of_a_training_is_fed_with_its_own_pairs(tmp_path: Path) -> None:
    an_otb(tmp_path)
    begun = sets.pairs(layouts.otb(tmp_path), 6, PAIR)
    sampler = Sampler(samples=6, batch_size=3, seed=4)
    feed = Stream(
        begun, sampler=sampler, augmentation=floats_only, crops=False, device="cpu", workers=0
    )
    for number in (1, 0):
        expected = begun.renewed(number, seed=4)
        for seen in feed.epoch(number):
            places = seen.indices.numpy()
            assert np.array_equal(seen.labels.numpy(), expected.labels[places])
            shown = (seen.images * 255).round().numpy()
            assert np.array_equal(
                shown, [expected.read(place).transpose(2, 0, 1) for place in places]
            )


@pytest.mark.parametrize("few_images", [False, True])
def test_pairs_reach_the_processes_that_read_them(tmp_path: Path, *, few_images: bool) -> None:
    opened = sets._kept if few_images else sets.read
    drawn = sets.pairs(layouts.shots_in(an_otb(tmp_path)), 3, PAIR, opened=opened)
    there = pickle.loads(pickle.dumps(drawn))  # noqa: S301  our own
    assert np.array_equal(there.read(2), drawn.read(2))


def floats_only(images: Tensor, _: Generator) -> Tensor:
    return floats(images)


def test_one_pair_in_ten_shows_something_else_if_there_is_something(tmp_path: Path) -> None:
    for number in range(3):
        frame(tmp_path / f"{number}.png")
    shots = layouts.stills(tmp_path)
    labels = sets.pairs(shots, 600, PAIR).labels
    share = (labels == 0).all(1).mean()
    # Of draws one in ten, of which a third finds the same still again: .067 +- 3 x .0102.
    assert abs(share - 0.1 * 2 / 3) < 3 * np.sqrt(0.067 * 0.933 / 600)
    assert not (sets.pairs(shots[:1], 50, PAIR).labels == 0).all(1).any()


def test_stills_are_validated_on_by_a_window_that_moves(tmp_path: Path) -> None:
    frame(tmp_path / "0.png")
    samples = sets.panned(layouts.stills(tmp_path), PAIR)
    assert len(samples) == 20
    assert samples.groups is not None
    assert samples.groups.tolist() == [0] * 20
    frames = [samples.inputs[place] for place in range(20)]
    assert {each.shape for each in frames} == {(18, 24, 3)}  # .6 of 30 and of 40
    moved = samples.labels[:, :2] - samples.labels[0, :2]
    starts = samples.inputs.windows[:, :2]
    assert np.array_equal(moved, starts[0] - starts)  # the window goes right, the patch left
    later = samples.take(np.array([5, 7]))
    assert np.array_equal(later.inputs[1], frames[7])


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    for number in range(12):
        frame(tmp_path / f"{number:02d}.png")
    shots = layouts.stills(tmp_path)
    train, held = sets.parted(shots)
    assert [shot.name for shot in held] == ["09.png"]
    assert len(train) == 11
    assert held[0] not in train
    with pytest.raises(DataError, match="one more is held out"):
        sets.parted(shots[:1])


def test_a_still_of_several_things_is_held_out_with_all_of_them(tmp_path: Path) -> None:
    box = np.array([[2.0, 2, 9, 9]])
    for number in range(12):
        frame(tmp_path / f"{number:02d}.png")
    shots = [
        layouts.Shot(name=f"{path.name} {thing}", paths=(path,), regions=box)
        for path in sorted(tmp_path.iterdir())
        for thing in "ab"
    ]
    train, held = sets.parted(shots)
    assert [shot.name for shot in held] == ["09.png a"]
    assert len(train) == 22
    assert not {shot.paths for shot in train} & {shot.paths for shot in held}
    with pytest.raises(DataError, match="one more is held out"):
        sets.parted(shots[:2])


def test_the_quick_set_reads_what_it_is_told_to(tmp_path: Path) -> None:
    quick = _quick(tmp_path)
    truth = tmp_path / "tracking" / "VOT" / "bag" / "groundtruth.txt"
    first = QUICK.provenance(tmp_path).fingerprint
    truth.write_text("1,2,5,2,5,8,1,8\n")
    assert QUICK.provenance(tmp_path).fingerprint != first
    splits = quick.load(tmp_path)
    assert len(splits.train) == 4
    assert splits.train.read(0).shape == (191, 191, 6)
    assert len(splits.test) == 4
    assert splits.test.groups.tolist() == [0, 0, 0, 1]
    assert splits.test.labels[3].tolist() == [1, 2, 4, 6]
    assert all(finding.ok for finding in quick.findings(tmp_path))
    frame(tmp_path / "tracking" / "OTB" / "Square" / "img" / "0003.png", size=(12, 12), at=(0, 0))
    wrong = [finding for finding in quick.findings(tmp_path) if not finding.ok]
    assert [Path(finding.path).name for finding in wrong] == ["0003.png"]
    assert "Square, frame 3: its box lies outside the frame of 12x12" in wrong[0].found
    an_otb(tmp_path / "tracking" / "OTB")
    (tmp_path / "images" / "imagenet_full_size" / "1.png").write_bytes(b"nothing")
    assert [finding.ok for finding in quick.findings(tmp_path)] == [False, True, True]


def _quick(root: Path) -> sets.TrackingSet:
    for number in range(3):
        frame(root / "images" / "imagenet_full_size" / f"{number}.png")
    an_otb(root / "tracking" / "OTB")
    frame(root / "tracking" / "VOT" / "bag" / "00000001.png")
    (root / "tracking" / "VOT" / "bag" / "groundtruth.txt").write_text("1,2,5,2,5,9,1,9\n")
    return sets.TrackingSet(
        card=QUICK.card,
        test=QUICK.test,  # type: ignore[attr-defined]  # the class behind the protocol
        folder="images/imagenet_full_size",
        pairs=4,
        few_images=True,
    )


def test_a_preview_draws_no_more_pairs_than_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many, drawn = replace(_quick(tmp_path), pairs=400_000), list[int]()
    draw = sets.pairs
    with monkeypatch.context() as patch:
        patch.setattr(sets, "pairs", lambda shots, n, *a: drawn.append(n) or draw(shots, n, *a))
        sheet(many, tmp_path)
    assert drawn == [10]
    first = many.first_pairs(tmp_path, 10)
    assert np.array_equal(first.labels, replace(many, pairs=12).load(tmp_path).train.labels[:10])


def test_a_preview_draws_the_truth_in_green_and_a_trackers_boxes_in_red(tmp_path: Path) -> None:
    quick = _quick(tmp_path)
    plain = np.asarray(sheet(quick, tmp_path))
    theirs = np.array([[20.0, 12, 6, 6]] * 4)
    beside = np.asarray(sheet(quick, tmp_path, theirs=theirs))
    # The last row but one is the OTB sequence; its frames are 148 pixels wide, 3.7 a pixel.
    tile = slice(-2 * (111 + 4), -(111 + 4) - 4), slice(150, 150 + 148)
    truth, ours = (37, 37), (44, 74)  # row and column of the upper left corners
    for page, shown in ((plain, False), (beside, True)):
        first = page[tile]
        assert tuple(first[truth]) == TRUTH
        assert (tuple(first[ours]) == OURS) == shown


def test_sequences_are_verified_and_shown_where_nothing_trains(tmp_path: Path) -> None:
    quick = _quick(tmp_path)
    whole = np.asarray(sheet(quick, tmp_path))
    shutil.rmtree(tmp_path / "images")
    missing, tested = quick.findings(tmp_path)
    assert (missing.ok, tested.ok) == (False, True)
    assert "imagenet_full_size is missing" in missing.found
    assert tested.found == "4 decode"
    alone = np.asarray(sheet(quick, tmp_path))
    # Both sequences as before, each a row of 111 and 4 pixels; no rows of pairs, and a line why.
    rows = 2 * (111 + 4)
    assert np.array_equal(alone[-rows:, 150:298], whole[-rows:, 150:298])
    assert len(alone) == len(whole) - 2 * (148 + 4) + 18
    with pytest.raises(DataError, match="imagenet_full_size is missing"):
        quick.load(tmp_path)  # a run needs both
    with pytest.raises(DataError, match="imagenet_full_size is missing"):
        quick.provenance(tmp_path)
    shutil.rmtree(tmp_path / "tracking")
    assert [finding.ok for finding in quick.findings(tmp_path)] == [False, False]
    with pytest.raises(DataError, match="OTB is missing"):
        sheet(quick, tmp_path)


def test_what_trains_is_verified_where_no_sequence_is(tmp_path: Path) -> None:
    quick = _quick(tmp_path)
    shutil.rmtree(tmp_path / "tracking" / "VOT")
    trains, missing = quick.findings(tmp_path)
    assert (trains.ok, missing.ok) == (True, False)
    assert "tracking/VOT is missing" in missing.found


def test_boxes_of_other_frames_or_of_no_tracker_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"boxes \[3, 4\] are not of these 4 frames"):
        sheet(_quick(tmp_path), tmp_path, theirs=np.zeros((3, 4)))
    with pytest.raises(SpecError, match="no sequences"):
        sheet(DIGITS, None, theirs=np.zeros((3, 4)))
    np.savez(tmp_path / "kept.npz", predictions=np.arange(8.0).reshape(2, 1, 4))
    assert predicted(tmp_path / "kept.npz").tolist() == [[4, 5, 6, 7]]
    (tmp_path / "other.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="holds no predictions"):
        predicted(tmp_path / "other.npz")


def test_the_real_sequences_have_a_box_a_frame() -> None:
    root = os.environ.get("SNN_DISTILL_DATA")
    if not root or not Path(root, "tracking").is_dir():
        pytest.skip("SNN_DISTILL_DATA names no folder with tracking/")
    samples = sets.tested(QUICK.test(Path(root)), PAIR)  # type: ignore[attr-defined]  # the class behind the protocol
    assert samples.labels.shape == (len(samples.inputs), 4)
    assert (samples.labels[:, 2:] > 0).all()
    height, width = samples.inputs[0].shape[:2]
    assert (samples.labels[0] >= 0).all()
    assert samples.labels[0, 0] + samples.labels[0, 2] <= width
    assert samples.labels[0, 1] + samples.labels[0, 3] <= height
