"""Data sets: read as published, split as promised, and refused if a byte differs."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.contracts.dataset import Dataset, PublishedFile, Samples, Splits
from harness.contracts.errors import DataError
from harness.data import checksums
from suites.datasets import _idx, cifar10, cifar100, digits, mnist
from suites.datasets._cifar import CifarBinary
from suites.datasets._idx import IdxImages
from suites.datasets._splits import last_tenth_of_each_class

ALL = {"digits": digits, "cifar10": cifar10, "cifar100": cifar100, "mnist": mnist}

# SHA-256 of pixels and labels, and of the int64 file positions, of each part.
GOLDEN_TRAIN = "2c5c6b1f050838cb23ee71421d8e7e1f00585e11308efc0b7ff7fa3c4d9784d4"
GOLDEN_VALIDATION = "296946680a4392e8d026e486df1f7da0ba9c510b012b089a267d804259ae5dd4"
GOLDEN_TEST = "9f2cccc08f4250cd2454aefd778f01ef009c0d67243b3cb98d6cd4c6143e6761"
GOLDEN_PLACES = [
    "5ae2e2726cc7d414f588318baa5aef56756df5d8323f2a50c355d8573ce5504b",
    "75938d0a4641484bfb926bc5d19c874c53494c086f905a12dffb4f220d1abc02",
    "be7d94131013b0c08ffb4b2ab992fa12a0a43bca5342b8ce6c1f3435548e6dca",
]


def refusal(action: Callable[[], object]) -> str:
    """Return the message of the DataError that ``action`` must raise: one line."""
    with pytest.raises(DataError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


# Files in the official formats, small, with checksums of their own


def published(path: str, content: bytes) -> PublishedFile:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return PublishedFile(path=path, size_bytes=len(content), md5=md5)


def write(root: Path, files: dict[str, bytes]) -> tuple[PublishedFile, ...]:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return tuple(published(path, content) for path, content in files.items())


def cifar_records(
    labels: NDArray[np.integer], pixels: NDArray[np.uint8], *, coarse: bool = False
) -> bytes:
    """Return the bytes of a CIFAR file; coarse labels are all 7."""
    columns = [np.full((len(labels), 1), 7)] if coarse else []
    columns += [labels[:, None], pixels.reshape(len(labels), -1)]
    return np.concatenate(columns, axis=1).astype(np.uint8).tobytes()


def small_cifar(root: Path, *, classes: int = 10, coarse: bool = False) -> CifarBinary:
    """Write two training files of 10 images a class each, and a test file of 1 a class."""
    real = (cifar100 if coarse else cifar10).DATASET
    assert isinstance(real, CifarBinary)
    folder, chance = real.folders[0], np.random.default_rng(0)
    files = {}
    for name, each in (("one.bin", 10), ("two.bin", 10), ("test.bin", 1)):
        labels = chance.permutation(np.repeat(np.arange(classes), each))
        pixels = chance.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        files[f"{folder}/{name}"] = cifar_records(labels, pixels, coarse=coarse)
    return replace(real, card=replace(real.card, files=write(root, files)))


def idx(array: NDArray[np.uint8]) -> bytes:
    """Return the bytes of an idx file of unsigned bytes."""
    header = bytes((0, 0, 8, array.ndim))
    return header + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


def small_mnist(root: Path, *, zipped: bool = False) -> IdxImages:
    real = mnist.DATASET
    assert isinstance(real, IdxImages)
    labels = np.tile(np.arange(10, dtype=np.uint8), 10)
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    contents = [idx(images), idx(labels), idx(images[:20]), idx(labels[:20])]
    files = dict(zip((file.path for file in real.card.files), contents, strict=True))
    card = replace(real.card, files=tuple(published(*item) for item in files.items()))
    if zipped:
        files = {f"{path}.gz": gzip.compress(content) for path, content in files.items()}
    write(root, files)
    return replace(real, card=card)


SMALL: dict[str, Callable[[Path], CifarBinary | IdxImages]] = {
    "cifar10": small_cifar,
    "cifar100": lambda root: small_cifar(root, classes=100, coarse=True),
    "mnist": small_mnist,
    "zipped mnist": lambda root: small_mnist(root, zipped=True),
}


@pytest.fixture(params=sorted(SMALL))
def small(request: pytest.FixtureRequest, tmp_path: Path) -> CifarBinary | IdxImages:
    return SMALL[request.param](tmp_path)


def on_disk(root: Path, file: PublishedFile) -> Path:
    plain = root / file.path
    return plain if plain.exists() else plain.with_name(f"{plain.name}.gz")


def declare(path: Path, sha256: str, note: str = "one pixel was lost") -> None:
    name = path.name.removesuffix(".gz")
    entry = {name: {"sha256": sha256, "note": note}}
    (path.parent / "VARIANT.json").write_text(json.dumps(entry))


# What the readers return


def test_cifar_pixels_and_labels_arrive_where_the_format_puts_them(tmp_path: Path) -> None:
    small = small_cifar(tmp_path)
    raw = (tmp_path / small.card.files[-1].path).read_bytes()
    test = small.load(tmp_path).test
    assert test.inputs.shape == (10, 3, 32, 32)
    for number, (image, label) in enumerate(zip(test.inputs, test.labels, strict=True)):
        record = raw[number * 3073 : (number + 1) * 3073]
        assert label == record[0]
        assert image[0, 0, 1] == record[2]  # red: row 0, column 1
        assert image[1, 2, 3] == record[1 + 1024 + 2 * 32 + 3]  # green: row 2, column 3
        assert image[2, 31, 31] == record[3072]  # blue: the last


def test_cifar100_takes_the_fine_label_and_not_the_coarse_one(tmp_path: Path) -> None:
    small = small_cifar(tmp_path, classes=100, coarse=True)
    test = small.load(tmp_path).test
    assert sorted(test.labels) == list(range(100))  # every coarse label is 7
    raw = (tmp_path / small.card.files[-1].path).read_bytes()
    assert test.inputs[1, 0, 0, 0] == raw[3074 + 2]


def test_training_files_follow_one_another_and_the_last_tenth_is_held_out(tmp_path: Path) -> None:
    small = small_cifar(tmp_path)
    splits = small.load(tmp_path)
    raw = b"".join((tmp_path / file.path).read_bytes() for file in small.card.files[:2])
    records = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    held_out = [np.flatnonzero(records[:, 0] == label)[-2:] for label in range(10)]
    places = np.sort(np.concatenate(held_out))  # 20 a class
    assert np.array_equal(splits.validation.labels, records[places, 0])
    assert np.array_equal(splits.validation.inputs.reshape(20, -1), records[places, 1:])
    rest = np.delete(records, places, axis=0)
    assert np.array_equal(splits.train.inputs.reshape(180, -1), rest[:, 1:])


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_reads_the_same_zipped_or_not(tmp_path: Path, *, zipped: bool) -> None:
    splits = small_mnist(tmp_path, zipped=zipped).load(tmp_path)
    assert splits.train.inputs.shape == (90, 1, 28, 28)
    assert np.array_equal(splits.validation.labels, np.arange(10))
    assert np.array_equal(splits.test.labels, np.tile(np.arange(10), 2))


def test_samples_are_writable_bytes_with_int64_labels(
    small: CifarBinary | IdxImages, tmp_path: Path
) -> None:
    splits = small.load(tmp_path)
    for part in (splits.train, splits.validation, splits.test):
        assert part.inputs.dtype == np.uint8
        assert part.labels.dtype == np.int64
        assert part.inputs.flags.writeable
        assert part.inputs.shape[1:] == small.card.image.shape


@settings(deadline=None, max_examples=50)
@given(labels=st.lists(st.integers(0, 4), max_size=120))
def test_the_last_tenth_is_stratified_and_follows_file_order(labels: list[int]) -> None:
    array = np.array(labels, dtype=np.int64)
    held_out = last_tenth_of_each_class(array)
    for label in range(5):
        chosen = held_out[array == label]
        tenth = len(chosen) // 10
        assert chosen.tolist() == [False] * (len(chosen) - tenth) + [True] * tenth


# Where the files may lie


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_files_are_found_in_every_place_that_the_set_names(name: str, tmp_path: Path) -> None:
    made = SMALL[name](tmp_path / "made")
    for number, folder in enumerate(made.folders):
        root = tmp_path / str(number)
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
        source = (tmp_path / "made" / made.card.files[0].path).parent
        if folder == ".":
            root = source
        else:
            (root / folder).symlink_to(source)
        assert len(made.load(root).train) > 0


def test_the_data_root_may_be_read_only(small: CifarBinary | IdxImages, tmp_path: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    small.load(tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before


# Refusals


def test_without_a_data_root_the_message_says_how_to_give_one(
    small: CifarBinary | IdxImages,
) -> None:
    for action in (small.load, small.provenance):
        message = refusal(partial(action, None))
        for word in (small.card.title, small.card.url, "--data-root", "SNN_DISTILL_DATA"):
            assert word in message


def test_a_data_root_that_is_no_folder_is_named(
    small: CifarBinary | IdxImages, tmp_path: Path
) -> None:
    assert str(tmp_path / "nowhere") in refusal(lambda: small.load(tmp_path / "nowhere"))


def test_a_root_without_the_set_names_every_place_that_was_searched(
    small: CifarBinary | IdxImages, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    message = refusal(lambda: small.provenance(tmp_path / "empty"))
    for folder in small.folders:
        assert str(tmp_path / "empty" / folder) in message
    assert small.card.url in message


def test_one_missing_file_is_named(small: CifarBinary | IdxImages, tmp_path: Path) -> None:
    for file in small.card.files[1:]:
        path = on_disk(tmp_path, file)
        kept = path.read_bytes()
        path.unlink()
        for action in (small.load, small.provenance):
            message = refusal(partial(action, tmp_path))
            assert "is missing" in message
            assert str(tmp_path / file.path) in message
            assert small.card.url in message
        path.write_bytes(kept)


@settings(deadline=None, max_examples=10)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    root = tmp_path_factory.mktemp("flipped")
    small = small_cifar(root)
    file = small.card.files[0]
    content = bytearray((root / file.path).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    (root / file.path).write_bytes(content)
    small.provenance(root)  # it promises to be cheap, and cannot see this
    message = refusal(lambda: small.load(root))
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for word in (str(root / file.path), file.md5, found, small.card.url, "SNN_DISTILL_DATA"):
        assert word in message


def test_a_truncated_file_is_found_without_reading_it(tmp_path: Path) -> None:
    small = small_cifar(tmp_path)
    file = small.card.files[1]
    path = tmp_path / file.path
    path.write_bytes(path.read_bytes()[:-1])
    for action in (small.load, small.provenance):
        message = refusal(partial(action, tmp_path))
        assert str(path) in message
        assert file.size_bytes is not None
        assert f"{file.size_bytes}" in message
        assert f"{file.size_bytes - 1}" in message


@pytest.mark.parametrize("damage", ["truncated", "flipped", "not gzip at all"])
def test_a_damaged_zip_is_named(tmp_path: Path, damage: str) -> None:
    small = small_mnist(tmp_path, zipped=True)
    path = on_disk(tmp_path, small.card.files[0])
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 255
    else:
        content = bytearray(b"<html>moved</html>")
    path.write_bytes(content)
    message = refusal(lambda: small.load(tmp_path))
    assert str(path) in message
    assert small.card.url in message


def test_the_real_sets_refuse_files_of_the_right_size_and_wrong_content(tmp_path: Path) -> None:
    for module in (cifar10, cifar100):
        for file in module.DATASET.card.files:
            path = tmp_path / file.path
            path.parent.mkdir(exist_ok=True)
            with path.open("wb") as empty:
                empty.truncate(file.size_bytes)  # takes no space on the disk
        module.DATASET.provenance(tmp_path)  # so it did not read them
        assert module.DATASET.card.files[0].md5 in refusal(partial(module.DATASET.load, tmp_path))


# Declared variants


def varied(small: CifarBinary | IdxImages, root: Path) -> tuple[Path, str]:
    """Change one pixel of the last training file's pixels; return the file and its SHA-256."""
    path = on_disk(root, small.card.files[0])
    zipped = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if zipped else path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(content)) if zipped else bytes(content))
    return path, hashlib.sha256(content).hexdigest()


def test_a_declared_variant_is_accepted_and_its_note_reported(
    small: CifarBinary | IdxImages, tmp_path: Path
) -> None:
    official = small.provenance(tmp_path)
    assert official.notes == ()
    path, sha256 = varied(small, tmp_path)
    declare(path, sha256)
    small.load(tmp_path)
    provenance = small.provenance(tmp_path)
    assert provenance.notes == (f"{path.name.removesuffix('.gz')}: one pixel was lost",)
    assert provenance.fingerprint != official.fingerprint


def test_a_variant_must_match_its_own_declaration(
    small: CifarBinary | IdxImages, tmp_path: Path
) -> None:
    path, sha256 = varied(small, tmp_path)
    declare(path, "0" * 64)
    message = refusal(lambda: small.load(tmp_path))
    for word in (str(path), "0" * 64, sha256, small.card.files[0].md5):
        assert word in message


def test_a_declaration_excuses_no_other_file(
    small: CifarBinary | IdxImages, tmp_path: Path
) -> None:
    path, sha256 = varied(small, tmp_path)
    declare(path.with_name("other"), sha256)
    assert str(path) in refusal(lambda: small.load(tmp_path))


def test_a_declaration_beside_the_published_file_is_refused(tmp_path: Path) -> None:
    small = small_cifar(tmp_path)
    path = tmp_path / small.card.files[0].path
    declare(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert "delete that entry" in refusal(lambda: small.load(tmp_path))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"one.bin": "abc"}', 'one.bin: input should be an object, got "abc"'),
        ('{"one.bin": {"sha256": "abc", "note": "why"}}', "one.bin.sha256"),
        (json.dumps({"one.bin": {"sha256": "A" * 64, "note": "why"}}), "[0-9a-f]{64}"),
        (json.dumps({"one.bin": {"sha256": "0" * 65, "note": "why"}}), "one.bin.sha256"),
        (json.dumps({"one.bin": {"sha256": "0" * 64, "note": " "}}), "one.bin.note"),
        (json.dumps({"one.bin": {"sha256": "0" * 64}}), "one.bin.note: field required"),
        (json.dumps({"one.bin": {"sha256": "0" * 64, "note": "a", "md5": ""}}), "one.bin.md5"),
    ],
)
def test_a_malformed_declaration_is_named(tmp_path: Path, text: str, why: str) -> None:
    small = small_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-bin" / "VARIANT.json"
    path.write_text(text)
    message = refusal(lambda: small.provenance(tmp_path))
    assert str(path) in message
    assert why in message


def declared_content(small: CifarBinary | IdxImages, root: Path, place: int, content: bytes) -> str:
    """Put ``content`` in the place of a file, declare it, and return why it is refused."""
    path = root / small.card.files[place].path
    path.write_bytes(content)
    declare(path, hashlib.sha256(content).hexdigest())
    return refusal(lambda: small.load(root))


def test_a_variant_with_half_a_record_is_refused(tmp_path: Path) -> None:
    message = declared_content(small_cifar(tmp_path), tmp_path, 0, bytes(3073 + 1))
    assert "3074" in message
    assert "3073" in message


def test_a_variant_with_a_label_outside_the_classes_is_refused(tmp_path: Path) -> None:
    message = declared_content(small_cifar(tmp_path), tmp_path, 0, bytes([10]) + bytes(3072))
    assert "label 10" in message


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08", b"\0\0\x08\1\0\0", idx(np.zeros((3, 2), np.uint8))[:-1], b"\0\0\x0d\1" * 9],
)
def test_bytes_that_are_no_idx_file_are_refused(content: bytes) -> None:
    assert "labels.idx" in refusal(lambda: _idx.decoded(content, "labels.idx"))


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path) -> None:
    labels = idx(np.zeros(99, np.uint8))
    assert "belong together" in declared_content(small_mnist(tmp_path), tmp_path, 1, labels)


# The digits


def hashes(samples: Samples) -> str:
    return hashlib.sha256(samples.inputs.tobytes() + samples.labels.tobytes()).hexdigest()


def test_the_digits_and_their_split_are_the_same_for_ever() -> None:
    splits = digits.DATASET.load(None)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        1074,
        179,
        544,
    ]
    assert hashes(splits.train) == GOLDEN_TRAIN
    assert hashes(splits.validation) == GOLDEN_VALIDATION
    assert hashes(splits.test) == GOLDEN_TEST


def test_the_places_of_the_digits_are_the_same_for_ever() -> None:
    grey, labels = digits.source()
    inputs = ((grey * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    parts = digits.parts(inputs, labels)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(1797))
    assert [hashlib.sha256(part.tobytes()).hexdigest() for part in parts] == GOLDEN_PLACES


def test_the_digits_split_is_stratified() -> None:
    splits = digits.DATASET.load(None)
    counts = [np.bincount(p.labels) for p in (splits.train, splits.validation, splits.test)]
    total = sum(counts)
    assert np.array_equal(counts[0], 6 * total // 10)
    assert np.array_equal(counts[0] + counts[1], 7 * total // 10)


def test_no_digit_is_in_two_parts() -> None:
    splits = digits.DATASET.load(None)
    seen = [
        {image.tobytes() for image in part.inputs}
        for part in (splits.train, splits.validation, splits.test)
    ]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 1797


def test_the_digits_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    grey, labels = digits.source()
    monkeypatch.setattr(Path, "is_file", lambda _: False)  # a release that keeps them elsewhere
    expected_grey, expected_labels = digits.source()
    assert np.array_equal(grey, expected_grey)
    assert np.array_equal(labels, expected_labels)


def test_the_digits_keep_their_17_grey_levels() -> None:
    splits = digits.DATASET.load(None)
    levels = np.unique(splits.train.inputs)
    assert levels.tolist() == [int(255 * v / 16 + 0.5) for v in range(17)]


def test_other_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grey, labels = digits.source()
    labels = labels.copy()
    labels[0] = 9
    monkeypatch.setattr(digits, "source", lambda: (grey, labels))
    assert "SHA-256" in refusal(lambda: digits.DATASET.load(None))


def test_without_scikit_learn_the_digits_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda _: None)
    assert "scikit-learn" in refusal(lambda: digits.DATASET.load(None))


# The cards


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_card_says_whom_to_cite_and_where_to_get_it(name: str) -> None:
    card = ALL[name].DATASET.card
    assert all((card.title, card.citation, card.licence, card.url, card.split))
    assert len(card.image.mean) == len(card.image.std) == card.image.shape[0]


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_data_set_can_be_asked_about_without_torch_or_scikit_learn(name: str) -> None:
    code = (
        f"import sys; from suites.datasets.{name} import DATASET; DATASET.card; "
        "sys.exit(bool({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The real files

Real = Callable[[str], tuple[Dataset, Path]]


@pytest.fixture(scope="session")
def real() -> Real:
    """Return a data set and its root, or skip if the real files are not here."""

    def find(name: str) -> tuple[Dataset, Path]:
        root = os.environ.get("SNN_DISTILL_DATA")
        if not root:
            pytest.skip("SNN_DISTILL_DATA is not set")
        dataset: Dataset = ALL[name].DATASET
        assert isinstance(dataset, CifarBinary | IdxImages)
        try:
            checksums.find(Path(root), dataset.card, folders=dataset.folders)
        except DataError as error:
            pytest.skip(str(error))
        return dataset, Path(root)

    return find


def channel_statistics(splits: Splits) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of all training images, exactly, in [0, 1]."""
    parts = (splits.train.inputs, splits.validation.inputs)
    channels = parts[0].shape[1]
    levels = np.arange(256) / 255
    histogram = np.array(
        [sum(np.bincount(p[:, c].ravel(), minlength=256) for p in parts) for c in range(channels)]
    )
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ levels
    return mean, np.sqrt(share @ levels**2 - mean**2)


@pytest.mark.parametrize(
    ("name", "first_train", "first_test"),
    [("cifar10", [6, 9, 9, 4, 1], [3, 8, 8, 0, 6]), ("cifar100", [19, 29, 0, 11, 1], [49, 33, 72])],
)
def test_real_cifar_has_its_classes_labels_and_statistics(
    real: Real, name: str, first_train: list[int], first_test: list[int]
) -> None:
    dataset, root = real(name)
    splits = dataset.load(root)
    classes = dataset.card.classes
    for part, count in ((splits.train, 45_000), (splits.validation, 5_000), (splits.test, 10_000)):
        assert part.inputs.shape == (count, 3, 32, 32)
        assert np.bincount(part.labels).tolist() == [count // classes] * classes
    assert splits.train.labels[: len(first_train)].tolist() == first_train
    assert splits.test.labels[: len(first_test)].tolist() == first_test
    mean, std = channel_statistics(splits)
    assert np.round(mean, 4).tolist() == list(dataset.card.image.mean)
    assert np.round(std, 4).tolist() == list(dataset.card.image.std)


def test_real_mnist_has_its_classes_labels_and_statistics(real: Real) -> None:
    dataset, root = real("mnist")
    splits = dataset.load(root)
    assert splits.train.inputs.shape[1:] == (1, 28, 28)
    assert len(splits.train) + len(splits.validation) == 60_000
    counts = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert np.array_equal(np.bincount(splits.validation.labels), counts // 10)
    assert splits.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    mean, std = channel_statistics(splits)
    assert np.round(mean, 4).tolist() == list(dataset.card.image.mean)
    assert np.round(std, 4).tolist() == list(dataset.card.image.std)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist"])
def test_a_real_deviation_is_reported_and_never_hidden(real: Real, name: str) -> None:
    dataset, root = real(name)
    notes = dataset.provenance(root).notes
    assert isinstance(dataset, CifarBinary | IdxImages)
    place = checksums.find(root, dataset.card, folders=dataset.folders)
    deviating = [
        file.path.rpartition("/")[2]
        for file in dataset.card.files
        if hashlib.md5(place.read(file), usedforsecurity=False).hexdigest() != file.md5
    ]
    assert [note.partition(":")[0] for note in notes] == deviating


def test_the_statistics_of_the_digits_are_those_of_the_training_part() -> None:
    splits = digits.DATASET.load(None)
    levels = splits.train.inputs / 255
    assert np.round(levels.mean(), 4) == digits.DATASET.card.image.mean[0]
    assert np.round(levels.std(), 4) == digits.DATASET.card.image.std[0]
