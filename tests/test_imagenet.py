"""ImageNet and Tiny ImageNet: the official layouts, written here, and what is real if present."""

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from harness import discovery
from harness.contracts.dataset import Dataset
from harness.contracts.errors import DataError
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.data.encoding import direct
from harness.engine.resolve import build
from harness.engine.train import lesson_of
from harness.evaluation.evaluate import evaluate
from harness.neurons.activation import activation
from harness.training.descent import descend
from suites.datasets import imagenet, tiny_imagenet
from suites.datasets._folder import ImageFiles, by_synset, middle_box, random_box
from suites.datasets._synsets import ILSVRC2012, TINY
from suites.tasks.classification import TASK

CPU = torch.device("cpu")
SYNSETS = list(ILSVRC2012)
FEW = (SYNSETS[7], SYNSETS[500], SYNSETS[999])


def refusal(action: Callable[[], object]) -> str:
    """Return the message of the DataError that ``action`` must raise: one line."""
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def photograph(path: Path, size: tuple[int, int] = (40, 30), *, seed: int = 0) -> None:
    """Write a JPEG of smooth noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, "JPEG", quality=95)


def training_folders(folder: Path, synsets: tuple[str, ...] = FEW, each: int = 20) -> None:
    for synset in synsets:
        for number in range(each):
            photograph(folder / synset / f"{synset}_{number}.JPEG", (8, 6), seed=number)


def validation_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08}.JPEG"


def flat_validation(folder: Path, count: int = 6) -> None:
    for number in range(1, count + 1):
        photograph(folder / validation_name(number), (8, 6), seed=number)


def devkit(root: Path, order: list[str], count: int = 6) -> None:
    """Write meta.mat and the ground truth; class ``k`` of the kit is ``order[k - 1]``.

    As in the kit, inner nodes of the hierarchy follow the thousand classes, and image
    ``n`` shows class ``(n - 1) % 3 + 1``.
    """
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    table = np.empty((len(order) + 1, 1), dtype=fields)
    for number, synset in enumerate(order, start=1):
        table[number - 1, 0] = (np.array([[number]]), synset, ILSVRC2012[synset], np.array([[0]]))
    table[-1, 0] = (np.array([[len(order) + 1]]), "n00001740", "entity", np.array([[2]]))
    savemat(folder / "meta.mat", {"synsets": table})
    truth = "".join(f"{number % 3 + 1}\n" for number in range(count))
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)


# The layouts of ImageNet


def test_the_development_kit_labels_flat_images_through_its_own_numbers(tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    training_folders(root / "train")
    flat_validation(root / "val")
    # The kit's order is not the sorted one.
    devkit(root, [FEW[2], FEW[0], FEW[1]])
    splits = imagenet.DATASET.load(tmp_path)
    assert splits.test.labels.tolist() == [999, 7, 500, 999, 7, 500]
    assert np.bincount(splits.train.labels)[[7, 500, 999]].tolist() == [18, 18, 18]
    assert np.bincount(splits.validation.labels)[[7, 500, 999]].tolist() == [2, 2, 2]


@pytest.mark.parametrize("kind", ["tensorflow", "kaggle", "folders"])
def test_other_lists_and_class_folders_label_the_same_images(tmp_path: Path, kind: str) -> None:
    root = tmp_path / ("ILSVRC/Data/CLS-LOC" if kind == "kaggle" else "ILSVRC2012")
    training_folders(root / "train")
    shown = [FEW[1], FEW[2], FEW[0]]
    if kind == "folders":
        for number, synset in enumerate(shown, start=1):
            photograph(root / "val" / synset / validation_name(number))
        expected = [7, 500, 999]
    else:
        flat_validation(root / "val", 3)
        expected = [500, 999, 7]
    if kind == "tensorflow":
        text = "".join(f"{synset}\n" for synset in shown)
        (root / "imagenet_2012_validation_synset_labels.txt").write_text(text)
    if kind == "kaggle":
        with (tmp_path / "ILSVRC" / "LOC_val_solution.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["ImageId", "PredictionString"])
            for number, synset in enumerate(shown, start=1):
                table.writerow([validation_name(number)[:-5], f"{synset} 1 2 3 4 "])
    assert imagenet.DATASET.load(tmp_path).test.labels.tolist() == expected


def test_a_class_is_its_synsets_place_among_all_thousand(tmp_path: Path) -> None:
    training_folders(tmp_path, (SYNSETS[999], SYNSETS[0]), each=1)
    assert imagenet.DATASET.load(tmp_path).train.labels.tolist() == [0, 999]
    # As in every published table: tench, Egyptian cat, toilet tissue.
    assert [SYNSETS[0], SYNSETS[285], SYNSETS[999]] == ["n01440764", "n02124075", "n15075141"]
    assert (len(ILSVRC2012), len(TINY)) == (1000, 200)
    assert sorted(SYNSETS) == SYNSETS
    assert sorted(TINY) == list(TINY)


def test_an_incomplete_set_says_so_and_a_sample_says_that_its_parts_are_one(tmp_path: Path) -> None:
    training_folders(tmp_path, FEW[:2], each=1)
    notes = imagenet.DATASET.provenance(tmp_path).notes
    assert "2 of 1,281,167 images, 2 of 1,000 classes" in notes[0]
    assert "the same images" in notes[1]


def test_the_fingerprint_follows_names_and_lengths(tmp_path: Path) -> None:
    training_folders(tmp_path, each=2)
    before = imagenet.DATASET.provenance(tmp_path).fingerprint
    assert imagenet.DATASET.provenance(tmp_path).fingerprint == before
    path = tmp_path / FEW[0] / f"{FEW[0]}_0.JPEG"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    longer = imagenet.DATASET.provenance(tmp_path).fingerprint
    path.write_bytes(content)
    path.rename(path.with_name("other.JPEG"))
    assert len({before, longer, imagenet.DATASET.provenance(tmp_path).fingerprint}) == 3


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(1, 250), min_size=1, max_size=6))
def test_ten_of_each_class_are_held_out_or_a_tenth_if_that_is_less(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    files = ImageFiles(
        folder=Path(), names=np.zeros(len(labels), "S1"), sizes=labels, labels=labels
    )
    held_out = imagenet.held_out_of_each_class(files)
    for label, count in enumerate(counts):
        few = min(10, count // 10)
        assert held_out[labels == label].tolist() == [False] * (count - few) + [True] * few


# What is wrong with it


def whole(root: Path) -> Path:
    folder = root / "imagenet"
    training_folders(folder / "train", each=10)
    for synset in FEW:
        photograph(folder / "val" / synset / "a.JPEG")
    return folder


def test_a_missing_class_folder_is_named(tmp_path: Path) -> None:
    folder = whole(tmp_path)
    (folder / "train" / FEW[1]).rename(tmp_path / "elsewhere")
    message = refusal(partial(imagenet.DATASET.load, tmp_path))
    assert str(folder / "train" / FEW[1]) in message
    assert "unpack" in message


def test_a_set_that_lacks_a_few_classes_is_damaged_and_not_a_sample(tmp_path: Path) -> None:
    for synset in SYNSETS[:-1]:
        path = tmp_path / "val" / synset / "a.JPEG"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"never opened")
    (tmp_path / "val").rename(tmp_path / "imagenet")
    message = refusal(partial(imagenet.DATASET.load, tmp_path))
    assert "1 of 1000 class folders" in message


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "val").rename(folder / "elsewhere"), "val is missing"),
        (lambda folder: (folder / "train").rename(folder / "elsewhere"), "no train/"),
        (lambda folder: (folder / "train" / "n99999999").mkdir(), "n99999999"),
        (lambda folder: (folder / "train" / SYNSETS[3]).mkdir(), "holds no images"),
    ],
)
def test_a_wrong_layout_is_named(tmp_path: Path, harm: Callable[[Path], Any], words: str) -> None:
    harm(whole(tmp_path))
    assert words in refusal(partial(imagenet.DATASET.provenance, tmp_path))


@pytest.mark.parametrize("root", [None, "missing", "empty"])
def test_a_root_without_imagenet_says_how_a_person_gets_it(
    tmp_path: Path, root: str | None
) -> None:
    (tmp_path / "empty").mkdir()
    where = None if root is None else tmp_path / root
    message = refusal(partial(imagenet.DATASET.load, where))
    assert "register at https://image-net.org" in message


def test_flat_images_without_a_list_or_with_a_bad_one_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    training_folders(root / "train", each=1)
    flat_validation(root / "val", 3)
    assert "ILSVRC2012_devkit_t12" in refusal(partial(imagenet.DATASET.load, tmp_path))
    devkit(root, list(FEW), count=4)
    assert validation_name(4) in refusal(partial(imagenet.DATASET.load, tmp_path))
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"no matrix")
    assert "meta.mat" in refusal(partial(imagenet.DATASET.load, tmp_path))


@pytest.mark.parametrize("damage", ["truncated", "no image", "empty", "gone"])
def test_an_unreadable_image_is_named_when_it_is_read(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FEW[0] / "a.JPEG"
    photograph(path, (400, 300))
    files = by_synset(tmp_path, SYNSETS)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        left = {"truncated": content[: len(content) // 2], "no image": b"x" * 99, "empty": b""}
        path.write_bytes(left[damage])
    for chance in (None, np.random.default_rng(0)):
        message = refusal(partial(files.read, 0, chance=chance))
        assert str(path) in message
        assert "unpack it again" in message


def test_findings_name_what_does_not_decode(tmp_path: Path) -> None:
    training_folders(tmp_path, each=2)
    bad = tmp_path / FEW[1] / f"{FEW[1]}_0.JPEG"
    bad.write_bytes(bad.read_bytes()[:300])
    damaged, total = cast(Any, imagenet.DATASET).findings(tmp_path)
    assert (damaged.ok, damaged.path, total.ok) == (False, str(bad), False)
    assert "5 of 6 decode" in total.found


# Cuts


@settings(deadline=None, max_examples=100)
@given(width=st.integers(1, 900), height=st.integers(1, 900), seed=st.integers(0, 2**32))
def test_a_random_part_lies_in_the_image_and_keeps_its_proportions(
    width: int, height: int, seed: int
) -> None:
    left, upper, right, lower = random_box((width, height), np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    wide, tall = right - left, lower - upper
    # Sides are rounded to whole pixels, by at most half a pixel each.
    assert (wide - 0.5) / (tall + 0.5) <= 4 / 3 + 1e-9 or tall == 1
    assert (wide + 0.5) / (tall - 0.5) >= 3 / 4 - 1e-9 or wide == 1


def test_random_parts_have_eight_to_a_hundred_percent_of_the_area() -> None:
    chance = np.random.default_rng(0)
    boxes = np.array([random_box((600, 500), chance) for _ in range(2000)])
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 300_000
    assert shares.min() > 0.08 - 0.002  # sides of 155 px and more, rounded by half a pixel
    assert shares.max() <= 1
    # Uniform on [0.08, 1] is 0.54 on average; the largest parts often have no fitting shape.
    assert 0.45 < shares.mean() < 0.54


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (333, 500), (256, 256), (150, 132)])
def test_the_middle_is_what_scaling_first_and_cutting_afterwards_gives(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    photograph(tmp_path / FEW[0] / "a.JPEG", size)
    ours = by_synset(tmp_path, SYNSETS).read(0, chance=None)
    with Image.open(tmp_path / FEW[0] / "a.JPEG") as image:
        short = min(size)
        scaled = image.resize(
            (256 * size[0] // short, 256 * size[1] // short), Image.Resampling.BILINEAR
        )
    left, upper = (round((side - 224) / 2) for side in scaled.size)
    theirs = np.asarray(scaled.crop((left, upper, left + 224, upper + 224)))
    assert ours.shape == (224, 224, 3)
    # PIL computes both from the same taps; its box is a float32, so a tap may round apart.
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_the_middle_of_a_square_is_seven_eighths_of_it() -> None:
    # 512 -> 256 halves; 224 of 256 pixels, 16 off each side, are 32 of 512 off each side.
    assert middle_box((512, 512), side=224, short_side=256) == (32, 32, 480, 480)


def test_a_large_jpeg_is_decoded_smaller_and_still_shows_the_same(tmp_path: Path) -> None:
    photograph(tmp_path / FEW[0] / "a.JPEG", (1200, 900))
    files = by_synset(tmp_path, SYNSETS)
    for seed in range(8):
        ours = files.read(0, chance=np.random.default_rng(seed))
        box = random_box((1200, 900), np.random.default_rng(seed))
        with Image.open(files.path(0)) as image:
            plain = image.resize((224, 224), Image.Resampling.BILINEAR, box=box)
        # Both are low-pass filters of smooth content: a misplaced box would differ by 20.
        assert np.abs(ours.astype(float) - np.asarray(plain)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printers_colours_become_three_channels(tmp_path: Path, mode: str) -> None:
    (tmp_path / FEW[0]).mkdir()
    Image.new(mode, (300, 300)).save(tmp_path / FEW[0] / "a.JPEG", "JPEG")
    assert by_synset(tmp_path, SYNSETS).read(0, chance=None).shape == (224, 224, 3)


# Tiny ImageNet

TINY_FEW = (list(TINY)[3], list(TINY)[150])


def official_tiny(root: Path) -> Path:
    """Write the layout of tiny-imagenet-200.zip: 10 images a class, and 4 for validation."""
    folder = root / "tiny-imagenet-200"
    for synset in TINY_FEW:
        for number in range(10):
            path = folder / "train" / synset / "images" / f"{synset}_{number}.JPEG"
            photograph(path, (64, 64), seed=number)
        boxes = "".join(f"{synset}_{number}.JPEG\t0\t0\t62\t62\n" for number in range(10))
        (folder / "train" / synset / f"{synset}_boxes.txt").write_text(boxes)
    rows = ""
    for number in range(4):
        photograph(folder / "val" / "images" / f"val_{number}.JPEG", (64, 64), seed=number)
        rows += f"val_{number}.JPEG\t{TINY_FEW[number % 2]}\t0\t32\t44\t62\n"
    (folder / "val" / "val_annotations.txt").write_text(rows)
    return folder


def test_tiny_imagenets_annotations_label_its_validation_images(tmp_path: Path) -> None:
    official_tiny(tmp_path)
    splits = tiny_imagenet.DATASET.load(tmp_path)
    assert splits.test.labels.tolist() == [3, 150, 3, 150]
    assert splits.train.inputs.shape == (18, 3, 64, 64)
    assert splits.validation.labels.tolist() == [3, 150]
    with Image.open(tmp_path / "tiny-imagenet-200/val/images/val_2.JPEG") as image:
        assert np.array_equal(splits.test.inputs[2].transpose(1, 2, 0), np.asarray(image))
    assert "20 of 100,000 images" in tiny_imagenet.DATASET.provenance(tmp_path).notes[0]


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "val/val_annotations.txt").unlink(), "val_annotations.txt"),
        (lambda folder: (folder / "val/images/val_1.JPEG").unlink(), "val_1.JPEG"),
        (lambda folder: photograph(folder / "val/images/new.JPEG", (64, 64)), "new.JPEG"),
        (lambda folder: photograph(folder / "val/images/val_0.JPEG", (64, 63)), "64x63"),
        (lambda folder: (folder / "val/images/val_0.JPEG").write_bytes(b"x"), "val_0.JPEG"),
        (lambda folder: (folder / "train").rename(folder / "elsewhere"), "no class folder"),
    ],
)
def test_damage_to_tiny_imagenet_is_named(
    tmp_path: Path, harm: Callable[[Path], Any], words: str
) -> None:
    harm(official_tiny(tmp_path))
    assert words in refusal(partial(tiny_imagenet.DATASET.load, tmp_path))


# The real photographs


def real(dataset: Dataset[Any]) -> Path:
    root = os.environ.get("SNN_DISTILL_DATA")
    if not root:
        pytest.skip("SNN_DISTILL_DATA is not set")
    try:
        dataset.provenance(Path(root))
    except DataError as error:
        pytest.skip(str(error))
    return Path(root)


def test_real_photographs_run_a_training_step_and_an_evaluation() -> None:
    root = real(imagenet.DATASET)
    torch.set_num_threads(1)
    splits, card = imagenet.DATASET.load(root), imagenet.DATASET.card
    few = np.arange(4)
    recipe = Recipe(
        epochs=1,
        batch_size=4,
        augmentation=("resized_crop", "flip"),
        precision="bfloat16",
        learning_rate=0.01,
    )
    model = cast(Model, discovery.load("models", "sew_resnet18"))
    backend = cast(Any, discovery.load("backends", "spikingjelly"))
    neurons = activation(backend, NeuronSpec())
    student = build(model, neurons, card, seed=0, timesteps=1, device=CPU)
    before = [weight.detach().clone() for weight in student.parameters()]
    lesson = lesson_of(
        recipe,
        splits.train.take(few),
        card,
        presentation=direct(card),
        seed=0,
        teacher=None,
        device=CPU,
    )

    def loss(output: Any, _answer: object, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(output.logits.float().mean(0), labels)

    (progress,) = descend(student, lesson, loss)
    assert progress.samples == 4
    moved = [not torch.equal(*pair) for pair in zip(before, student.parameters(), strict=True)]
    assert any(moved)
    verdict = evaluate(
        student, splits.test.take(few), direct(card), CPU, "bfloat16", task=TASK, batch_size=4
    )
    assert verdict.predictions.shape == (1, 4)


@pytest.mark.parametrize("dataset", [imagenet.DATASET, tiny_imagenet.DATASET])
def test_real_photographs_decode_and_say_how_many_there_are(dataset: Dataset[Any]) -> None:
    root = real(dataset)
    assert all(finding.ok for finding in cast(Any, dataset).findings(root))
    splits = dataset.load(root)
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    if len(labels) < 100_000:
        assert any("is not whole" in note for note in dataset.provenance(root).notes)
    assert replace(dataset.card, class_names=()).classes > labels.max()
