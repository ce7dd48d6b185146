"""Windows over untrimmed videos: what they show and ask, and files that are spoilt."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.contracts.dataset import Dataset, DatasetProvenance, Verifiable
from harness.contracts.errors import DataError
from harness.data.preview import Filmed, sheet
from suites.datasets import epic100_oad, thumos14_oad, thumos14_simulated
from suites.datasets._oad import (
    AHEAD,
    LABELS,
    NO_CLASS,
    Layout,
    Shape,
    anticipated,
    classes_of,
    detected,
    held_out,
    joined,
    refuse_short,
)

STREAMS = (("rgb", 2), ("flow", 3))
LAYOUT = Layout(
    card=thumos14_oad.CARD, folders=("here", "there"), streams=STREAMS, columns=4, ignored=3
)
LENGTHS = {"a": 5, "b": 9}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two videos: feature ``10 v + f`` in every channel, class ``f % 4`` in frame ``f``."""
    home = tmp_path / "here"
    for number, (name, length) in enumerate(LENGTHS.items()):
        frames = np.arange(length)
        for stream, width in ((LABELS, 0), *STREAMS):
            (home / stream).mkdir(parents=True, exist_ok=True)
            features = np.repeat((10 * number + frames)[:, None], max(width, 1), axis=1)
            content = features.astype(np.float32) if width else np.eye(4)[frames % 4]
            np.save(home / stream / f"{name}.npy", content)
    return home


def test_a_frame_that_shows_the_ignored_class_counts_nowhere() -> None:
    target = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [0, 0, 0]])
    # Column 1 is ignored, so what was column 2 is class 1.
    assert classes_of(target, ignored=1).tolist() == [
        [0, NO_CLASS],
        [NO_CLASS, NO_CLASS],
        [NO_CLASS, NO_CLASS],
        [1, NO_CLASS],
        [0, 1],
        [NO_CLASS, NO_CLASS],
    ]


def test_videos_of_one_class_a_frame_and_of_two_stand_together() -> None:
    videos = joined(["a", "b"], [np.array([[0]]), np.array([[1, 2], [0, NO_CLASS]])])
    assert videos.begins.tolist() == [0, 1, 3]
    assert videos.classes.tolist() == [[0, NO_CLASS], [1, 2], [0, NO_CLASS]]


def test_a_window_shows_its_own_video_and_zeros_before_it(folder: Path) -> None:
    videos = LAYOUT.videos(folder, ["a", "b"])
    frames = LAYOUT.frames(folder, videos)
    samples = detected(videos, frames, videos.take(["b"]), shape=Shape(length=3, work=2))
    assert samples.inputs.shape == (9, 3, 5)
    # The first window of b ends at its first frame, 10; before it there is nothing, not a's end.
    shown = samples.inputs[np.arange(9)]
    assert shown[:3, :, 0].tolist() == [[0, 0, 10], [0, 10, 11], [10, 11, 12]]
    assert shown[0].any(1).tolist() == [False, False, True]
    assert (shown == shown[:, :, :1]).all()  # both streams, side by side
    assert samples.groups is not None
    assert samples.groups.tolist() == [1] * 9


def test_a_window_asks_about_its_newest_frames_and_those_ahead(folder: Path) -> None:
    videos = LAYOUT.videos(folder, ["a", "b"])
    frames = LAYOUT.frames(folder, videos)
    samples = detected(videos, frames, videos.take(["a"]), shape=Shape(length=3, work=2))
    assert samples.labels.shape == (5, 2 + AHEAD, 1)
    # Video a shows classes 0, 1, 2, ignored, 0; frames past its end are not b's.
    past = [NO_CLASS] * AHEAD
    assert samples.labels[0, :, 0].tolist() == [NO_CLASS, 0, 1, 2, NO_CLASS, 0, *past[4:]]
    assert samples.labels[4, :, 0].tolist() == [NO_CLASS, 0, *past]


def test_windows_are_taken_from_a_first_frame_on_in_steps(folder: Path) -> None:
    videos = LAYOUT.videos(folder, ["a", "b"])
    frames = LAYOUT.frames(folder, videos)
    both = videos.take(["a", "b"])
    samples = detected(videos, frames, both, shape=Shape(length=2, work=2), first=1, step=3)
    assert samples.inputs[np.arange(5)][:, 1, 0].tolist() == [1, 4, 11, 14, 17]


def test_features_that_are_mapped_are_those_of_the_files(folder: Path) -> None:
    videos = LAYOUT.videos(folder, ["a", "b"])
    frames = LAYOUT.frames(folder, videos)
    assert frames.shape == (14, 5)
    assert len(frames) == 14
    taken = frames[np.array([[13, 0], [4, 5]])]
    assert taken.dtype == np.float32
    assert taken[:, :, 0].tolist() == [[18, 0], [4, 10]]
    assert frames[np.zeros(0, dtype=np.int64)].shape == (0, 5)


def test_an_action_is_anticipated_from_where_it_begins() -> None:
    shows = np.array([[NO_CLASS], [2], [2], [1], [NO_CLASS], [1]])
    videos = joined(["a", "b"], [shows, shows])
    frames = np.arange(12, dtype=np.float32)[:, None]
    samples = anticipated(videos, frames, np.array([1]), shape=Shape(length=4, work=1), before=2)
    # Class 2 begins at frame 1, class 1 at 3 and 5; two frames before, the first is not yet.
    assert samples.inputs[np.arange(3)][:, :, 0].tolist() == [
        [0, 0, 0, 0],
        [0, 0, 6, 7],
        [6, 7, 8, 9],
    ]
    assert samples.labels[:, 2, 0].tolist() == [2, 1, 1]


def test_two_actions_of_one_frame_are_anticipated_once() -> None:
    shows = np.array([[NO_CLASS, NO_CLASS], [0, 1], [1, 0], [1, 2]])
    videos = joined(["a"], [shows])
    frames = np.zeros((4, 1), dtype=np.float32)
    samples = anticipated(videos, frames, np.array([0]), shape=Shape(length=1, work=1), before=1)
    # At 2 both go on, in another order; at 3 one is new.
    assert samples.labels[:, 1].tolist() == [[0, 1], [1, 2]]


def test_every_tenth_video_by_name_is_held_out() -> None:
    names = [f"v{number:02}" for number in range(25)]
    train, validation = held_out(names[::-1])
    assert validation == ["v09", "v19"]
    assert sorted(train + validation) == names


def spoilt_width(folder: Path) -> str:
    np.save(folder / "flow/b.npy", np.zeros((9, 4), dtype=np.float32))
    return r"flow/b\.npy is float32 \[9, 4\]; expected numbers \[L, 3\]"


def spoilt_length(folder: Path) -> str:
    np.save(folder / "rgb/b.npy", np.zeros((8, 2), dtype=np.float32))
    return r"rgb/b\.npy has 8 frames and its labels 9"


def spoilt_content(folder: Path) -> str:
    (folder / "rgb/a.npy").write_bytes(b"no array")
    return r"rgb/a\.npy cannot be read"


def spoilt_objects(folder: Path) -> str:
    np.save(folder / "rgb/a.npy", np.array([[{}, {}]] * 5), allow_pickle=True)
    return r"rgb/a\.npy cannot be read"


def missing(folder: Path) -> str:
    (folder / "flow/a.npy").unlink()
    return r"flow/a\.npy is missing"


def spoilt_labels(folder: Path) -> str:
    np.save(folder / LABELS / "a.npy", np.zeros((5, 22)))
    return rf"{LABELS}/a\.npy is float64 \[5, 22\]; expected numbers \[L, 4\]"


def no_frame(folder: Path) -> str:
    np.save(folder / LABELS / "a.npy", np.zeros((0, 4)))
    return rf"{LABELS}/a\.npy has no frame"


def label(value: float) -> Callable[[Path], str]:
    """Return what puts a value into column 2 of frame 3 of video a."""

    def spoil(folder: Path) -> str:
        change(folder / LABELS / "a.npy", (3, 2), value)
        return rf"{LABELS}/a\.npy: frame 3 has {value} in column 2; labels are 0 or 1"

    return spoil


def no_label(folder: Path) -> str:
    np.save(folder / LABELS / "a.npy", np.zeros((5, 4)))
    return rf"{LABELS}/a\.npy: no frame shows any class"


def all_features(value: float) -> Callable[[Path], str]:
    def spoil(folder: Path) -> str:
        np.save(folder / "flow/b.npy", np.full((9, 3), value))
        shown = str(value).replace("+", r"\+")
        return rf"flow/b\.npy: frame 0 holds {shown} in channel 0; features must be finite"

    return spoil


def change(path: Path, place: tuple[int, int], value: float) -> None:
    content = np.load(path).astype(np.float64)
    content[place] = value
    np.save(path, content)


@pytest.mark.parametrize(
    "spoil",
    [
        label(7.0),
        label(-1.0),
        label(0.5),
        label(float("nan")),
        no_label,
        all_features(float("nan")),
        all_features(float("-inf")),
        all_features(1e300),
        spoilt_width,
        spoilt_length,
        spoilt_content,
        spoilt_objects,
        missing,
        spoilt_labels,
        no_frame,
    ],
)
def test_a_file_that_is_not_what_it_must_be_is_named_in_one_line(
    folder: Path, spoil: Callable[[Path], str]
) -> None:
    expected = spoil(folder)
    with pytest.raises(DataError, match=expected) as told:
        LAYOUT.frames(folder, LAYOUT.videos(folder, ["a", "b"]))
    assert "\n" not in str(told.value)
    assert thumos14_oad.CARD.url in str(told.value)


def test_a_frame_without_any_class_is_ambiguous_and_no_mistake(folder: Path) -> None:
    change(folder / LABELS / "a.npy", (2, 2), 0)
    videos = LAYOUT.videos(folder, ["a"])
    assert videos.classes[:, 0].tolist() == [0, 1, NO_CLASS, NO_CLASS, 0]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32])
def test_labels_are_read_in_every_type_that_numbers_come_in(
    folder: Path, dtype: type[np.generic]
) -> None:
    before = LAYOUT.videos(folder, ["a"]).classes
    path = folder / LABELS / "a.npy"
    np.save(path, np.load(path).astype(dtype))
    assert np.array_equal(LAYOUT.videos(folder, ["a"]).classes, before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e39])
def test_a_window_names_the_frame_whose_features_are_not_finite(folder: Path, value: float) -> None:
    change(folder / "flow/b.npy", (6, 1), value)
    videos = LAYOUT.videos(folder, ["a", "b"])
    frames = LAYOUT.frames(folder, videos)
    samples = detected(videos, frames, videos.take(["b"]), shape=Shape(length=3, work=2))
    assert np.isfinite(samples.inputs[np.arange(6)]).all()
    shown = str(value).replace("+", r"\+")
    with pytest.raises(
        DataError, match=rf"flow/b\.npy: frame 6 holds {shown} in channel 1;"
    ) as told:
        samples.inputs[np.array([2, 7])]
    assert "\n" not in str(told.value)


def test_verifying_reads_every_number_of_every_file(folder: Path) -> None:
    found = list(LAYOUT.findings(folder.parent, lambda _: ["a", "b"], work=5))
    assert [finding.ok for finding in found] == [True] * 6
    assert found[0].found == found[0].expected.replace("L", "5") == "0 and 1 [5, 4]"
    assert found[4].found == found[4].expected == "finite numbers [9, 2]"
    change(folder / LABELS / "a.npy", (1, 0), 7)
    change(folder / "rgb/b.npy", (5, 1), float("nan"))
    np.save(folder / "flow/b.npy", np.zeros((8, 3)))
    found = list(LAYOUT.findings(folder.parent, lambda _: ["a", "b"], work=6))
    wrong = {"/".join(Path(each.path).parts[-2:]): each.found for each in found if not each.ok}
    assert list(wrong) == [f"{LABELS}/a.npy", "rgb/b.npy", "flow/b.npy"]
    assert "frame 1 has 7.0 in column 0" in wrong[f"{LABELS}/a.npy"]
    assert "frame 5 holds nan in channel 1" in wrong["rgb/b.npy"]
    assert "has 8 frames and its labels 9" in wrong["flow/b.npy"]
    change(folder / LABELS / "a.npy", (1, 0), 0)
    first = next(LAYOUT.findings(folder.parent, lambda _: ["a", "b"], work=6))
    assert "has 5 frames, and a window asks about 6" in first.found


def test_verifying_a_set_with_a_video_too_few_checks_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, home, name in (
        (thumos14_oad, "THUMOS", f"{thumos14_oad.TRAIN}0000001"),
        (epic100_oad, "EK100", "P50_01"),
    ):
        monkeypatch.setattr(module, "LAYOUT", replace(module.LAYOUT, streams=STREAMS))
        written(tmp_path / home, [name], module.LAYOUT, frames=40)
        missing, *others = cast("Verifiable", module.DATASET).findings(tmp_path)
        assert not missing.ok
        assert "published" in missing.found
        assert [finding.ok for finding in others] == [True] * 3


def test_a_video_shorter_than_what_is_asked_about_is_named(folder: Path) -> None:
    videos = LAYOUT.videos(folder, ["a", "b"])
    refuse_short(videos, folder, 5)
    with pytest.raises(DataError, match=r"a\.npy has 5 frames, and a window asks about 6"):
        refuse_short(videos, folder, 6)


def test_a_root_without_the_set_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for .*here/target_perframe.*unpack them as here/"):
        LAYOUT.find(tmp_path)
    with pytest.raises(DataError, match="needs a data root"):
        LAYOUT.find(None)
    (tmp_path / "there" / LABELS).mkdir(parents=True)
    assert LAYOUT.find(tmp_path) == tmp_path / "there"


def test_the_identity_is_of_names_and_sizes(folder: Path) -> None:
    before = LAYOUT.provenance(folder, ["a", "b"])
    assert LAYOUT.provenance(folder, ["a", "b"]) == before
    np.save(folder / "rgb/a.npy", np.zeros((6, 2), dtype=np.float32))
    assert LAYOUT.provenance(folder, ["a", "b"]) != before
    (folder / "rgb/a.npy").unlink()
    with pytest.raises(DataError, match=r"rgb/a\.npy is missing"):
        LAYOUT.provenance(folder, ["a", "b"])


def test_a_set_with_fewer_videos_than_published_is_refused(tmp_path: Path) -> None:
    (tmp_path / LABELS).mkdir()
    np.save(tmp_path / LABELS / "video_validation_0000051.npy", np.zeros((5, 22)))
    with pytest.raises(DataError, match=r"1 files video_validation_\*\.npy; 200 were published"):
        thumos14_oad.named(tmp_path)


# What is simulated, from labels that the test makes itself.


def archive(path: Path, labels: dict[str, NDArray[np.int64]]) -> Path:
    """Write labels as they are packed, a class a frame."""
    bits = {
        key: np.packbits(np.eye(22, dtype=np.uint8)[shown], axis=1) for key, shown in labels.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **bits)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write twelve videos for training and two for test, of 40 frames and more."""
    draw = np.random.default_rng(0)
    labels = {}
    for number in range(14):
        part = "val/video_validation" if number < 12 else "test/video_test"
        shown = np.repeat(draw.integers(22, size=10 + number), 4)
        labels[f"{part}_{number:07}"] = shown
    archive(tmp_path / thumos14_simulated.ARCHIVES[0], labels)
    return tmp_path


def test_labels_are_unpacked_bit_for_bit(tmp_path: Path) -> None:
    shown = np.arange(22)
    videos = thumos14_simulated.packed(archive(tmp_path / "l.npz", {"test/video_test_1": shown}))
    assert videos.names == ("video_test_1",)
    assert videos.classes[:, 0].tolist() == [*range(21), NO_CLASS]


def test_simulated_features_are_the_same_every_time_and_say_so(root: Path) -> None:
    one, again = (thumos14_simulated.DATASET.load(root) for _ in range(2))
    assert np.array_equal(one.train.inputs[:5], again.train.inputs[:5])
    known = thumos14_simulated.DATASET.provenance(root)
    assert known == thumos14_simulated.DATASET.provenance(root)
    assert known.notes
    assert "simulated" in known.notes[0]
    assert "simulated" in thumos14_simulated.CARD.title
    assert one.test.inputs.shape[1:] == (thumos14_simulated.SHAPE.length, thumos14_simulated.WIDTH)


def test_a_preview_shows_one_video_over_time(root: Path) -> None:
    dataset = cast("Filmed", thumos14_simulated.DATASET)
    name, classes, features = dataset.film(root)
    videos = thumos14_simulated.packed(root / thumos14_simulated.ARCHIVES[0])
    shown = [
        len(np.unique(videos.classes[begin:end])) for begin, end in pairwise(videos.begins.tolist())
    ]
    number = videos.names.index(name)
    begin, end = videos.begins[number : number + 2]
    assert shown[number] == max(shown)
    assert np.array_equal(classes, videos.classes[begin:end])
    assert np.array_equal(features, thumos14_simulated.features(videos)[begin:end])
    page = np.asarray(sheet(thumos14_simulated.DATASET, root))
    # From below: 256 px of features, then bands of 24 px, each with 4 px below it.
    bands = page[: -(256 + 4), 150 : 150 + 960]
    present = [*np.unique(classes[classes >= 0])[:12].tolist()]
    rows = [*present, NO_CLASS] if (classes == NO_CLASS).any() else present
    middles = ((np.arange(len(classes)) + 0.5) * 960 / len(classes)).astype(int)
    for above, row in enumerate(reversed(rows)):
        band = bands[-(above * 28 + 16), middles]
        assert np.array_equal((band != 255).any(-1), classes[:, 0] == row)
        label = page[: -(256 + 4), :150][-(above * 28 + 28) :][:28]
        assert (label[:24] < 100).any()  # its name stands beside it
        assert (label[24:] == 255).all()


def test_features_of_a_preview_are_blue_below_their_mean_and_red_above() -> None:
    class Ramp:
        card = thumos14_simulated.CARD

        def film(self, _: object, /) -> tuple[str, NDArray[np.int64], NDArray[np.float32]]:
            ramp = np.linspace(-1, 1, 480, dtype=np.float32)
            still = np.full(480, 3, dtype=np.float32)
            return "ramp", np.zeros((480, 1), dtype=np.int64), np.stack([ramp, still, -ramp], 1)

        def provenance(self, _: object, /) -> DatasetProvenance:
            return DatasetProvenance(fingerprint="", notes=("simulated",))

    page = np.asarray(sheet(cast("Dataset", Ramp()), None)).astype(int)[-260:, 150 : 150 + 960]
    redder = page[..., 0] - page[..., 2]
    # Three features of 256 / 3 px: one rises, one stands still, one falls.
    # Mirrored, but for what rounding to a colour may do.
    assert redder[40, 20] == pytest.approx(redder[210, 940], abs=1)
    assert redder[40, 940] == pytest.approx(redder[210, 20], abs=1)
    assert redder[40, 20] < -90
    assert redder[40, 940] > 90
    assert (page[128] == 255).all()


def test_videos_for_training_validation_and_test_are_others(root: Path) -> None:
    parts = thumos14_simulated.DATASET.load(root)
    groups = [
        set(part.groups.tolist())
        for part in (parts.train, parts.validation, parts.test)
        if part.groups is not None
    ]
    assert [len(each) for each in groups] == [11, 1, 2]
    assert not groups[0] & groups[1]
    assert not (groups[0] | groups[1]) & groups[2]


def test_a_videos_features_depend_on_no_other_video(root: Path) -> None:
    whole = thumos14_simulated.packed(root / thumos14_simulated.ARCHIVES[0])
    begin, end = whole.begins[3:5]
    alone = replace(
        whole,
        names=whole.names[3:4],
        begins=np.array([0, end - begin]),
        classes=whole.classes[begin:end],
    )
    assert np.array_equal(
        thumos14_simulated.features(alone), thumos14_simulated.features(whole)[begin:end]
    )


def test_what_comes_rises_to_where_it_begins_and_ends_there() -> None:
    frames = thumos14_simulated.APPROACH + 4
    classes = np.zeros((frames, 1), dtype=np.int64)
    classes[-3:] = 2
    shown, coming, scene = thumos14_simulated.activity(classes, 3)
    begin = frames - 3
    rising = [(k + 1) / thumos14_simulated.APPROACH for k in range(thumos14_simulated.APPROACH)]
    assert coming[begin - thumos14_simulated.APPROACH : begin, 2] == pytest.approx(rising)
    assert not coming[begin:, 2].any()
    assert not coming[0, 2]
    assert (scene[:, 2] == 1).all()
    # Blurred: what is shown sums to the three frames but for what the end mirrors.
    assert shown.sum(1) == pytest.approx(np.ones(frames))
    assert 0 < shown[begin - 1, 2] < 0.5 < shown[begin, 2] < 1


def test_an_ambiguous_frame_shows_half_of_the_nearest_action() -> None:
    classes = np.array([[1]] * 20 + [[NO_CLASS]] * 30 + [[2]] * 20)
    shown, _, _ = thumos14_simulated.activity(classes, 3)
    # Borders at 20, 35 and 50; 7.5 frames are 3.75 deviations of the blur, beyond which is 1e-4.
    assert shown[20 + 7, 1:] == pytest.approx([0.5, 0], abs=1e-3)
    assert shown[20 + 22, 1:] == pytest.approx([0, 0.5], abs=1e-3)


def test_a_shown_class_is_nearer_to_its_own_prototype(root: Path) -> None:
    videos = thumos14_simulated.packed(root / thumos14_simulated.ARCHIVES[0])
    made = thumos14_simulated.features(videos)
    assert made.dtype == np.float32
    assert (made * 1024 == np.round(made * 1024)).all()
    background = videos.classes[:, 0] == 0
    action = videos.classes[:, 0] > 0
    # An action adds prototypes to what is otherwise the same kind of noise.
    assert (made[action] ** 2).mean() > (made[background] ** 2).mean()


def test_without_labels_the_message_says_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is made from the labels of THUMOS14, and there are none"):
        thumos14_simulated.DATASET.load(tmp_path)


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez(path, **{"test/video_test_1": np.zeros((4, 2), dtype=np.uint8)})
    with pytest.raises(DataError, match=r"labels\.npz: video_test_1 is uint8 \[4, 2\]"):
        thumos14_simulated.packed(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="holds no video"):
        thumos14_simulated.packed(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"labels\.npz cannot be read"):
        thumos14_simulated.packed(path)


# Both published sets as they lie, of fewer videos and narrower features.


def written(folder: Path, names: list[str], layout: Layout, *, frames: int) -> None:
    for stream, width in (*layout.streams, (LABELS, layout.columns)):
        (folder / stream).mkdir(parents=True)
        for number, name in enumerate(names):
            content = np.full((frames, width), number, dtype=np.float32)
            if stream == LABELS:
                content = np.zeros((frames, width), dtype=np.uint8)
                content[: frames // 2, layout.ignored] = 1
                content[frames // 2 :, 2 + number] = 1
            np.save(folder / stream / f"{name}.npy", content)


def test_thumos_is_read_as_it_is_distributed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumos14_oad, "VIDEOS", {thumos14_oad.TRAIN: 10, thumos14_oad.TEST: 2})
    monkeypatch.setattr(thumos14_oad, "LAYOUT", replace(thumos14_oad.LAYOUT, streams=STREAMS))
    names = [f"{thumos14_oad.TRAIN}{number:07}" for number in range(10)]
    names += [f"{thumos14_oad.TEST}{number:07}" for number in range(2)]
    written(tmp_path / "THUMOS", names, thumos14_oad.LAYOUT, frames=40)
    parts = thumos14_oad.DATASET.load(tmp_path)
    # Of nine videos the windows that end at 31 and 39; of the tenth, and of two, all.
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (9 * 2, 40, 2 * 40)
    assert parts.test.inputs.shape == (80, 1056, 5)
    # Video 10 is the first for test: class 12, once its ambiguous half is over.
    assert parts.test.labels[[0, 25], 31, 0].tolist() == [NO_CLASS, 12]
    assert parts.test.inputs[np.array([25])][0, -1].tolist() == [10.0] * 5
    assert len(thumos14_oad.DATASET.provenance(tmp_path).fingerprint) == 64
    name, classes, features = cast("Filmed", thumos14_oad.DATASET).film(tmp_path)
    assert (name, classes.shape, features.shape) == (names[0], (40, 1), (40, 5))


def test_epic_is_read_as_it_is_distributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epic100_oad, "TRAIN_VIDEOS", 10)
    monkeypatch.setattr(epic100_oad, "TEST_VIDEOS", 1)
    monkeypatch.setattr(epic100_oad, "LAYOUT", replace(epic100_oad.LAYOUT, streams=STREAMS))
    names = [f"P50_{number:02}" for number in range(10)] + ["P01_11"]
    written(tmp_path / "EK100", names, epic100_oad.LAYOUT, frames=30)
    parts = epic100_oad.DATASET.load(tmp_path)
    # Windows end at 19, 24 and 29 of nine videos; of the others, before the one action that
    # begins at frame 15: a second earlier, at 11.
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (9 * 3, 1, 1)
    assert parts.test.inputs.newest.tolist() == [30 * 10 + 11]
    # Column 12 of the labels is action 11, since background is none; asked at 4 frames ahead.
    assert parts.test.labels[0, 19 : 19 + 5, 0].tolist() == [*[NO_CLASS] * 4, 11]
    name, classes, features = cast("Filmed", epic100_oad.DATASET).film(tmp_path)
    # P01_11 is the first by name, and for test.
    assert (name, classes.max(), features[0].tolist()) == (names[0], 1, [0.0] * 5)
    (tmp_path / "EK100" / LABELS / "P01_11.npy").unlink()
    with pytest.raises(DataError, match="10 videos for training and 0 for test; 10 and 1 were"):
        epic100_oad.DATASET.load(tmp_path)
