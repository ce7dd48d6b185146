"""Files made to break a reader: each is one line that names it, and nothing of it runs."""

import gzip
import io
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from harness.cli.data import data_app
from harness.contracts.errors import DataError
from harness.data import catalogue
from harness.data import verify as verifying
from harness.data.events.cache import Decoder, cut
from harness.data.events.framing import Framing, frames
from harness.data.events.recording import Recording
from harness.data.fetch import unpack
from suites.datasets import _folder, fashion_mnist, nmnist
from suites.datasets._events_formats import (
    cifar10_dvs,
    gesture_aedat3,
    gesture_npy,
    nmnist_bin,
)
from suites.datasets._folder import ImageFiles
from suites.datasets._idx import IdxImages
from tests.data.publishing import RUNNER, files_in, published, refusal
from tests.data.test_layouts import PICKLED, pickled, put, written_by_python_2
from tests.event_files import (
    nmnist_under,
    noise,
    write_aedat2,
    write_aedat3,
    write_gesture_npy,
    write_nmnist_bin,
)

# Photographs

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n"


def png_of(width: int, height: int) -> bytes:
    """Return a few bytes that claim to be so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _one(folder: Path, content: bytes) -> ImageFiles:
    (folder / "a.JPEG").write_bytes(content)
    sizes = np.array([len(content)])
    return ImageFiles(folder=folder, names=np.array([b"a.JPEG"]), sizes=sizes, labels=0 * sizes)


def _read_by_every_way(files: ImageFiles) -> list[str]:
    finding, _ = _folder.findings(files)
    assert not finding.ok
    ways = (partial(files.read, 0, chance=None), partial(_folder.pixels, files, (3, 64, 64)))
    return [finding.found, *map(refusal, ways)]


def test_postscript_called_jpeg_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript would run")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", started)
    for words in _read_by_every_way(_one(tmp_path, EPS)):
        assert "a.JPEG cannot be read as an image: cannot identify" in words


@pytest.mark.parametrize("side_px", [12_000, 60_000])  # Pillow warns of one, refuses the other
def test_an_image_too_large_for_a_photograph_is_named_and_not_decoded(
    tmp_path: Path, side_px: int
) -> None:
    for words in _read_by_every_way(_one(tmp_path, png_of(side_px, side_px))):
        assert "a.JPEG" in words
        assert "pixels" in words


def test_an_image_of_another_shape_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("its size is in its head")

    monkeypatch.setattr(Image.Image, "convert", decoded)
    words = refusal(partial(_folder.pixels, _one(tmp_path, png_of(65, 64)), (3, 64, 64)))
    assert "has 65x64 pixels, expected 64x64" in words


# Archives


def _zip(*, flags: int = 0, method: int = 0) -> bytes:
    """Return a zip of one member whose heads say something else."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "hello")
    content = bytearray(packed.getvalue())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<HH", content, content.find(magic) + place, flags, method)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "why"),
    [(_zip(flags=1), "encrypted"), (_zip(method=99), "compression method is not supported")],
)
def test_a_zip_that_cannot_be_opened_is_named_and_leaves_nothing(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / "it.zip").write_bytes(content)
    words = refusal(partial(unpack, tmp_path / "it.zip", tmp_path))
    assert "it.zip cannot be unpacked" in words
    assert why in words
    assert "move the archive away" in words
    assert files_in(tmp_path) == {"it.zip"}


class _Endless(io.RawIOBase):
    """A gzip that never ends."""

    sent = 0

    def read(self, size: int = -1) -> bytes:
        assert size > 0, "all of it was asked for"
        self.sent += size
        return bytes(size)


def test_a_gzip_is_opened_no_further_than_its_file_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = _Endless()
    monkeypatch.setattr(gzip, "open", lambda _path: bomb)
    real = fashion_mnist.DATASET
    assert isinstance(real, IdxImages)
    file = published(real.card.files[0].path, bytes(100))
    small = replace(real, card=replace(real.card, files=(file,)))
    put(tmp_path, {f"{small.folders[0]}/{Path(file.path).name}.gz": b"never read"})
    (finding,) = small.findings(tmp_path)
    assert "has more than the 100 bytes expected" in finding.found
    assert bomb.sent == 101


# Labels


@pytest.mark.parametrize("label", [10, 300, -1])
def test_a_label_of_no_class_is_named_with_its_file(label: int) -> None:
    small, _ = pickled(*PICKLED["cifar10"])
    content = written_by_python_2({b"labels": [label], b"data": np.zeros((1, 3072), np.uint8)})
    words = refusal(partial(small._unpickled, content, "test_batch"))
    assert f"test_batch: label {label} found; CIFAR-10 has labels 0 to 9" in words
    assert "get it again" in words


@pytest.mark.parametrize("labels", [[0, 0], [[0]], [0.5], [], ["a"]])
def test_labels_that_are_not_one_whole_number_an_image_are_refused(labels: list[Any]) -> None:
    small, _ = pickled(*PICKLED["cifar10"])
    batch = pickle.dumps({b"labels": labels, b"data": [[0] * 3072]})
    words = refusal(partial(small._unpickled, batch, "test_batch"))
    assert "test_batch: 1 images and labels" in words
    assert "expected a whole number an image" in words


# Recordings

WRITERS: dict[str, tuple[Callable[[Path, NDArray[Any]], None], Decoder]] = {
    "aedat3": (write_aedat3, gesture_aedat3),
    "aedat2": (write_aedat2, cifar10_dvs),
    "nmnist": (write_nmnist_bin, nmnist_bin),
    "npy": (write_gesture_npy, gesture_npy),
}


def _framed(decode: Decoder, path: Path) -> None:
    recording = Recording(name=path.name, path=path)
    framing = Framing(timesteps=2, sensor=(128, 128), size=(128, 128), by="time")
    for sample, name in cut(decode(recording, recording.read()), recording):
        frames(sample, framing, name=name)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_recording_without_events_is_named(tmp_path: Path, kind: str) -> None:
    write, decode = WRITERS[kind]
    write(tmp_path / "none.npy", noise(0))
    assert "none.npy" in refusal(partial(_framed, decode, tmp_path / "none.npy"))


def _npy(dtype: str, shape: str) -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({shape})}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + b"\xff" * 64


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_npy("<i8", "1000000000000, 4"), "Unable to allocate"),
        (_npy("<c16", "1, 4"), "complex128"),
        (_npy("<U1", "1, 4"), "<U1"),
        (_npy("<M8[s]", "1, 4"), "datetime64"),
        (_npy("<f8", "1, 4"), "no address"),  # NaN
        (_npy("<u4", "1, 4"), "no address"),  # x = 2**32 - 1 would become -1
        (b"PK\x03\x04" + bytes(30), "no NumPy array"),
        (b"\x93NUMPY\x01\x00\x02\x00((", "no NumPy array"),
    ],
)
def test_an_array_that_is_no_events_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "0.npy").write_bytes(content)
    words = refusal(partial(_framed, gesture_npy, tmp_path / "0.npy"))
    assert "0.npy cannot be read" in words
    assert why in words


@pytest.mark.parametrize("kind", WRITERS)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_changed_recording_is_read_or_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    write, decode = WRITERS[kind]
    path = tmp_path_factory.mktemp("changed") / "it.npy"
    write(path, noise(20))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 80))
        length = data.draw(st.integers(0, 8))
        content[place : place + length] = data.draw(st.binary(max_size=8))
    path.write_bytes(content)
    try:
        _framed(decode, path)
    except DataError as error:
        assert "it.npy" in str(error)  # noqa: PT017  it may be read, too
    finally:
        shutil.rmtree(path.parent)


# Summaries


def test_verifying_many_recordings_ends_in_a_line_a_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = nmnist_under(tmp_path, train=10, test=1)
    for module in (catalogue, verifying):
        monkeypatch.setattr(module, "load", lambda _name: nmnist.DATASET)
    arguments = ["verify", "nmnist", "--data-root", str(folder)]
    told = RUNNER.invoke(data_app, arguments)
    assert told.exit_code == 0
    assert told.stdout.splitlines() == [
        "Train/*.bin: 100 files: 100 ok",
        "Test/*.bin: 10 files: 10 ok",
    ]
    (folder / "Test/3/00001.bin").write_bytes(b"odd")
    told = RUNNER.invoke(data_app, arguments)
    assert told.exit_code == 1
    assert "Test/*.bin: 10 files: 9 ok, 1 WRONG" in told.stdout.splitlines()
