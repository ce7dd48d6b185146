"""Sets that lie in a data root in more than one way."""

import hashlib
import os
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.contracts.dataset import (
    Dataset,
)
from suites.datasets import (
    cifar10,
    cifar100,
    fashion_mnist,
)
from suites.datasets._cifar import CifarBinary
from suites.datasets._idx import IdxImages
from tests.data.publishing import (
    published,
    refusal,
)

# CIFAR for Python


def written_by_python_2(entries: dict[bytes, NDArray[np.uint8] | list[int]]) -> bytes:
    """Return a pickle as Python 2 wrote it: protocol 2, byte strings, NumPy's old names."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value  # BINSTRING

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)  # BININT

    def array(value: NDArray[np.uint8]) -> bytes:
        dtype = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR("
        dtype += number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        start += b"(" + number(0) + b"t" + text(b"b") + b"tR"
        shape = b"(" + b"".join(map(number, value.shape)) + b"t"
        return start + b"(" + number(1) + shape + dtype + b"\x89" + text(value.tobytes()) + b"tb"

    body = b""
    for key, value in entries.items():
        listed = isinstance(value, list)
        body += text(key)
        body += b"](" + b"".join(map(number, value)) + b"e" if listed else array(np.asarray(value))
    return b"\x80\x02}(" + text(b"batch_label") + text(b"batch 1 of 1") + body + b"u."


def pickled(real: Dataset, folder: str, label_key: bytes) -> tuple[CifarBinary, dict[str, bytes]]:
    """Return a CIFAR set whose pickled layout is the content that is returned with it."""
    assert isinstance(real, CifarBinary)
    assert real.python is not None
    chance = np.random.default_rng(0)
    contents = {}
    for name, count in (("one", 100), ("test", 10)):
        pixels = chance.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [number % 10 for number in range(count)]
        entries: dict[bytes, Any] = {b"coarse_labels": [7] * count, label_key: labels}
        contents[f"{folder}/{name}"] = written_by_python_2(entries | {b"data": pixels})
    files = tuple(published(*item) for item in contents.items())
    return replace(real, python=replace(real.python, files=files)), contents


PICKLED = {
    "cifar10": (cifar10.DATASET, "cifar-10-batches-py", b"labels"),
    "cifar100": (cifar100.DATASET, "cifar-100-python", b"fine_labels"),
}


def put(root: Path, contents: dict[str, bytes]) -> None:
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


@pytest.mark.parametrize("name", sorted(PICKLED))
def test_pickled_batches_hold_what_the_binary_ones_hold(tmp_path: Path, name: str) -> None:
    small, contents = pickled(*PICKLED[name])
    put(tmp_path, contents)
    splits = small.load(tmp_path)
    assert splits.test.labels.tolist() == list(range(10))
    assert splits.train.inputs.shape == (90, 3, 32, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (100, 3072), dtype=np.uint8)
    assert np.array_equal(splits.train.inputs[0].ravel(), pixels[0])
    assert all(finding.ok for finding in small.findings(tmp_path))


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_a_pickle_is_not_opened_unless_its_checksum_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    monkeypatch.chdir(tmp_path)
    small, contents = pickled(*PICKLED["cifar10"])
    put(tmp_path, contents | {"cifar-10-batches-py/test": pickle.dumps(_Bomb())})
    assert "expected MD5" in refusal(partial(small.load, tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_runs_nothing_even_if_somebody_declares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json
    import pickle

    monkeypatch.chdir(tmp_path)
    small, contents = pickled(*PICKLED["cifar10"])
    bomb = pickle.dumps(_Bomb())
    put(tmp_path, contents | {"cifar-10-batches-py/test": bomb})
    entry = {"sha256": hashlib.sha256(bomb).hexdigest(), "note": "trust me"}
    (tmp_path / "cifar-10-batches-py/VARIANT.json").write_text(json.dumps({"test": entry}))
    assert "no pickled batch" in refusal(partial(small.load, tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_without_either_layout_the_binary_one_is_asked_for(tmp_path: Path) -> None:
    small, _ = pickled(*PICKLED["cifar10"])
    assert "cifar-10-batches-bin" in refusal(partial(small.load, tmp_path))


# Fashion-MNIST


def test_fashion_mnist_is_read_where_torchvision_puts_it(tmp_path: Path) -> None:
    real = fashion_mnist.DATASET
    assert isinstance(real, IdxImages)
    labels = np.tile(np.arange(10, dtype=np.uint8), 10)
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28), dtype=np.uint8)
    arrays = [images, labels, images[:20], labels[:20]]
    contents = []
    for array in arrays:
        header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, dtype=">u4").tobytes()
        contents.append(header + array.tobytes())
    paths = [file.path for file in real.card.files]
    small = replace(
        real,
        card=replace(real.card, files=tuple(map(published, paths, contents))),
    )
    names = [path.rpartition("/")[2] for path in paths]
    put(tmp_path, {f"FashionMNIST/raw/{n}": c for n, c in zip(names, contents, strict=True)})
    assert len(small.load(tmp_path).train) == 90
    assert real.card.class_names[9] == "ankle boot"
