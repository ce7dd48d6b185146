"""Getting, checking and looking at data sets; a server on this machine stands for publishers."""

import hashlib
import io
import os
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from harness.cli.data import data_app
from harness.contracts.dataset import (
    Archive,
    Dataset,
    DatasetCard,
    Provenance,
    PublishedFile,
    Samples,
    Splits,
)
from harness.contracts.errors import DataError
from harness.data import tools as data_tools
from harness.data.preview import sheet
from suites.datasets import (
    cifar10,
    cifar10_dvs,
    cifar100,
    digits,
    fashion_mnist,
    imagenet,
    mnist,
    tiny_imagenet,
)
from suites.datasets._cifar import CifarBinary
from suites.datasets._events import EventSet
from suites.datasets._idx import IdxImages
from tests.event_files import tonic_cifar10_dvs_zip

RUNNER = CliRunner()


def refusal(action: Callable[[], object]) -> str:
    """Return the message of the DataError that ``action`` must raise: one line."""
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def silent(_file: str, _done: int, _total: int | None) -> None:
    """Watch no progress."""


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def published(path: str, content: bytes) -> PublishedFile:
    return PublishedFile(path=path, size_bytes=len(content), md5=md5(content))


def records(labels: list[int], seed: int) -> bytes:
    """Return the bytes of a CIFAR-10 file."""
    chance = np.random.default_rng(seed)
    return b"".join(bytes([label]) + chance.bytes(3072) for label in labels)


FILES = {
    "cifar-10-batches-bin/data_batch_1.bin": records([*range(10)] * 10, seed=1),
    "cifar-10-batches-bin/test_batch.bin": records([*range(10)], seed=2),
}


def tar_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


# A publisher


@dataclass
class Publisher:
    """What a server sends, and what it was asked for.

    ``stops_after``: it hangs up after so many bytes, once.
    """

    address: str = ""
    content: bytes = b""
    stops_after: int | None = None
    knows_ranges: bool = True
    status: int = 200
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    what = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            what.asked.append(asked)
            if what.status != 200:
                self.send_error(what.status)
                return
            start = int(asked.removeprefix("bytes=")[:-1]) if asked and what.knows_ranges else 0
            if start >= len(what.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(what.content) - start))
            self.end_headers()
            stop, what.stops_after = what.stops_after, None
            self.wfile.write(what.content[start:stop])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    what.address = f"http://127.0.0.1:{server.server_port}"
    yield what
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def small(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> CifarBinary:
    """Return a CIFAR-10 of two files, which ``data fetch`` gets from ``publisher``."""
    publisher.content = tar_of(FILES)
    real = cifar10.DATASET
    assert isinstance(real, CifarBinary)
    archive = Archive(
        url=f"{publisher.address}/cifar-10-binary.tar.gz",
        md5=md5(publisher.content),
        size_bytes=len(publisher.content),
        into=".",
    )
    files = tuple(published(*item) for item in FILES.items())
    made = replace(real, card=replace(real.card, files=files, archives=(archive,)))
    monkeypatch.setattr(data_tools, "load", lambda _name: made)
    return made


def fetch(root: Path | None) -> data_tools.Fetched:
    return data_tools.fetch("small", root, progress=silent)


def files_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


FETCHED = {"cifar-10-binary.tar.gz", *FILES}


# Fetch


def test_a_fetched_set_loads_and_nothing_else_is_left(small: CifarBinary, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    root = tmp_path / "new" / "root"
    fetched = data_tools.fetch("small", root, progress=lambda *step: told.append(step))
    assert files_in(root) == FETCHED
    assert fetched.archives == (root / "cifar-10-binary.tar.gz",)
    assert len(small.load(root).test) == 10
    size = small.card.archives[0].size_bytes
    assert told[-1] == ("cifar-10-binary.tar.gz", size, size)


def test_what_is_there_is_not_fetched_again(
    small: CifarBinary, publisher: Publisher, tmp_path: Path
) -> None:
    assert fetch(tmp_path).archives
    assert fetch(tmp_path).archives == ()
    (tmp_path / "cifar-10-batches-bin/test_batch.bin").unlink()
    assert fetch(tmp_path).archives  # unpacked again, from the archive that is here
    assert len(publisher.asked) == 1
    assert len(small.load(tmp_path).test) == 10


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_download_goes_on(
    small: CifarBinary, publisher: Publisher, tmp_path: Path, *, knows_ranges: bool
) -> None:
    publisher.stops_after, publisher.knows_ranges = 200_000, knows_ranges
    message = refusal(partial(fetch, tmp_path))
    part = tmp_path / "cifar-10-binary.tar.gz.part"
    assert str(part) in message
    kept = part.stat().st_size
    assert files_in(tmp_path) == {part.name}
    fetch(tmp_path)
    assert 0 < kept <= 200_000
    assert publisher.asked == [None, f"bytes={kept}-"]
    assert files_in(tmp_path) == FETCHED
    assert len(small.load(tmp_path).test) == 10


def test_a_download_that_had_all_come_is_checked_and_used(
    small: CifarBinary, publisher: Publisher, tmp_path: Path
) -> None:
    (tmp_path / "cifar-10-binary.tar.gz.part").write_bytes(publisher.content)
    fetch(tmp_path)
    assert files_in(tmp_path) == FETCHED
    assert len(small.load(tmp_path).test) == 10


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("damage", ["one flipped byte", "truncated"])
def test_another_content_is_refused_and_not_kept(
    publisher: Publisher, tmp_path: Path, damage: str
) -> None:
    expected = md5(publisher.content)
    flipped = bytes([publisher.content[40] ^ 1])
    publisher.content = (
        publisher.content[:40] + flipped + publisher.content[41:]
        if damage == "one flipped byte"
        else publisher.content[:-5]
    )
    message = refusal(partial(fetch, tmp_path))
    assert expected in message
    assert publisher.address in message
    assert files_in(tmp_path) == set()


@pytest.mark.usefixtures("small")
def test_a_dead_link_is_named(publisher: Publisher, tmp_path: Path) -> None:
    publisher.status = 404
    message = refusal(partial(fetch, tmp_path))
    assert publisher.address in message
    assert "404" in message


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["cifar-10-binary.tar.gz", "cifar-10-batches-bin/test_batch.bin"])
def test_a_file_in_the_way_is_named_and_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"somebody's")
    message = refusal(partial(fetch, tmp_path))
    assert str(tmp_path / name) in message
    assert "move it away" in message
    assert (tmp_path / name).read_bytes() == b"somebody's"
    assert files_in(tmp_path) <= {name, "cifar-10-binary.tar.gz"}


@pytest.mark.usefixtures("small")
def test_a_full_disk_is_known_before_the_download(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(free=10))
    message = refusal(partial(fetch, tmp_path))
    assert "10 bytes free" in message
    assert publisher.asked == []


@pytest.mark.usefixtures("small")
def test_a_disk_that_fills_up_leaves_what_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: object, answer: Any, _done: int) -> None:
        answer.close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.data.tools._Resuming._receive", full)
    message = refusal(partial(fetch, tmp_path))
    assert "No space left" in message
    assert "room" in message


@pytest.mark.usefixtures("small")
def test_a_root_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "root"
    blocked.write_text("a file, which even the superuser cannot write a folder into")
    message = refusal(partial(fetch, blocked))
    assert str(blocked) in message
    assert "--data-root" in message


@pytest.mark.usefixtures("small")
def test_a_read_only_root_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser writes where modes forbid it, so the refusal is the file system's here.
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    message = refusal(partial(fetch, tmp_path))
    assert "Read-only file system" in message
    assert str(tmp_path) in message


@pytest.mark.usefixtures("small")
def test_no_root_is_asked_for() -> None:
    assert "--data-root" in refusal(partial(fetch, None))


def test_imagenet_needs_a_person_and_digits_need_nothing(tmp_path: Path) -> None:
    message = refusal(partial(data_tools.fetch, "imagenet", tmp_path, progress=silent))
    assert "register at https://image-net.org" in message
    assert data_tools.fetch("digits", None, progress=silent).archives == ()


def test_a_part_of_what_needs_a_person_is_no_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Partly(Events):
        def provenance(self, root: Path | None, /) -> Provenance:
            if root is None:
                raise DataError("it needs a data root")
            return Provenance(fingerprint="0", notes=("a subset",))

    monkeypatch.setattr(data_tools, "load", lambda _name: Partly())
    assert "without a person" in refusal(partial(fetch, tmp_path))


@pytest.mark.parametrize("with_root", [True, False])
def test_digits_as_events_need_nothing_either_and_say_that_they_are_simulated(
    tmp_path: Path, *, with_root: bool
) -> None:
    root = tmp_path if with_root else None
    fetched = data_tools.fetch("digits_events", root, progress=silent)
    assert fetched.archives == ()
    assert fetched.provenance_notes[0].startswith("simulated")
    options = ["--data-root", str(root)] if with_root else []
    told = RUNNER.invoke(
        data_app, ["fetch", "digits_events", *options], env={"SNN_DISTILL_DATA": None}
    )
    assert told.exit_code == 0
    assert "digits_events is there already: nothing needs to be fetched" in told.output
    assert "note: simulated" in told.output


def test_cifar10_dvs_is_unpacked_from_one_zip_a_class_within_a_zip(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cifar10_dvs.DATASET
    assert isinstance(real, EventSet)
    publisher.content = tonic_cifar10_dvs_zip(cifar10_dvs.CLASSES, numbers=range(8, 20))
    archive = replace(
        real.card.archives[0],
        url=f"{publisher.address}/ndownloader/files/38023437",
        md5=md5(publisher.content),
    )
    made = replace(real, card=replace(real.card, archives=(archive,)))
    monkeypatch.setattr(data_tools, "load", lambda _name: made)
    fetched = fetch(tmp_path)
    assert fetched.provenance_notes == ("a subset of CIFAR10-DVS: 120 of 10,000 recordings",)
    recordings = {
        f"CIFAR10DVS/{name}/cifar10_{name}_{number}.aedat4"
        for name in cifar10_dvs.CLASSES
        for number in range(8, 20)
    }
    (kept,) = fetched.archives
    assert files_in(tmp_path) == {kept.relative_to(tmp_path).as_posix(), *recordings}
    (tmp_path / min(recordings)).unlink()
    fetch(tmp_path)  # from the archive that is here
    assert files_in(tmp_path) > recordings
    assert len(publisher.asked) == 1
    pytest.importorskip("aedat")
    monkeypatch.setenv("SNN_DISTILL_CACHE", str(tmp_path / "cache"))
    splits = made.load(tmp_path, timesteps=4)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 120
    assert all(finding.ok for finding in made.findings(tmp_path))


# Unpack


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "..\\outside"])
def test_a_member_outside_is_refused_before_anything_is_unpacked(
    tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    archive = root / ("a.zip" if pack is zip_of else "a.tar.gz")
    archive.write_bytes(pack({"harmless": b"1", name: b"2"}))
    message = refusal(partial(data_tools.unpack, archive, root))
    assert str(archive) in message
    assert files_in(tmp_path) == {f"root/{archive.name}"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    assert "link" in refusal(partial(data_tools.unpack, tmp_path / "a.tar", tmp_path))
    assert files_in(tmp_path) == {"a.tar"}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    assert "link" in refusal(partial(data_tools.unpack, tmp_path / "a.zip", tmp_path))


@pytest.mark.parametrize(("name", "pack"), [("a.tar.gz", tar_of), ("a.zip", zip_of)])
def test_a_truncated_archive_leaves_nothing_behind(
    tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    content = pack({"a": os.urandom(5000), "b": os.urandom(5000)})
    (tmp_path / name).write_bytes(content[:7000])
    message = refusal(partial(data_tools.unpack, tmp_path / name, tmp_path))
    assert str(tmp_path / name) in message
    assert files_in(tmp_path) == {name}
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_an_archive_without_a_telling_name_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "7712788-abc").write_bytes(zip_of({"inside": b"1"}))
    data_tools.unpack(tmp_path / "7712788-abc", tmp_path)
    (tmp_path / "plain.gz").write_bytes(b"\x1f\x8b no archive")
    data_tools.unpack(tmp_path / "plain.gz", tmp_path)
    assert files_in(tmp_path) == {"7712788-abc", "plain.gz", "inside"}


def test_a_zip_within_an_archive_is_unpacked_where_it_lies(tmp_path: Path) -> None:
    inner = {"cats/1": b"one", "cats/2": b"two"}
    for name, pack in (("a.zip", zip_of), ("b.tar.gz", tar_of)):
        (tmp_path / name).write_bytes(pack({f"in-{name}/cats.zip": zip_of(inner), "beside": b""}))
        data_tools.unpack(tmp_path / name, tmp_path)
        assert (tmp_path / f"in-{name}" / "cats" / "2").read_bytes() == b"two"
        assert not list(tmp_path.rglob("cats.zip"))


@pytest.mark.parametrize("damage", ["one flipped byte", "truncated", "outside"])
def test_a_bad_zip_within_an_archive_is_named_and_leaves_nothing(
    tmp_path: Path, damage: str
) -> None:
    good = zip_of({"dog/1": b"wuff" * 100})
    inner = {
        "one flipped byte": good[:60] + bytes([good[60] ^ 1]) + good[61:],
        "truncated": good[:-5],
        "outside": zip_of({"../../1": b"wuff"}),
    }[damage]
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.zip").write_bytes(zip_of({"cat.zip": zip_of({"cat/1": b"1"}), "dog.zip": inner}))
    message = refusal(partial(data_tools.unpack, root / "a.zip", root))
    assert str(root / "a.zip") in message
    assert ".unpacking" not in message.replace(str(root / "a.zip"), "")
    assert [path.name for path in tmp_path.rglob("*")] == ["root", "a.zip"]


# Verify


def test_verify_says_per_file_what_was_expected_and_found(
    small: CifarBinary, tmp_path: Path
) -> None:
    fetch(tmp_path)
    assert all(finding.ok for finding in data_tools.verify("small", tmp_path))
    bad = tmp_path / small.card.files[1].path
    content = bytearray(bad.read_bytes())
    content[100] ^= 1
    bad.write_bytes(content)
    good, wrong = data_tools.verify("small", tmp_path)
    assert (good.ok, wrong.ok) == (True, False)
    assert small.card.files[1].md5 in wrong.expected
    assert md5(bytes(content)) in wrong.found
    assert str(bad) in wrong.found


def test_a_set_that_cannot_tell_its_files_apart_is_verified_as_a_whole() -> None:
    (finding,) = data_tools.verify("digits", None)
    assert finding.ok
    assert digits.DATASET.provenance(None).fingerprint in finding.expected


def test_the_command_lines_verify_fails_if_a_file_differs(
    small: CifarBinary, tmp_path: Path
) -> None:
    fetch(tmp_path)
    arguments = ["verify", "small", "--data-root", str(tmp_path)]
    assert RUNNER.invoke(data_app, arguments).exit_code == 0
    (tmp_path / small.card.files[0].path).write_bytes(b"x")
    told = RUNNER.invoke(data_app, arguments)
    assert told.exit_code == 1
    assert "WRONG" in told.output


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_real_files_verify(name: str) -> None:
    root = os.environ.get("SNN_DISTILL_DATA")
    if not root:
        pytest.skip("SNN_DISTILL_DATA is not set")
    try:
        notes = data_tools.load(name).provenance(Path(root)).notes
    except DataError as error:
        pytest.skip(str(error))
    found = list(data_tools.verify(name, Path(root)))
    assert all(finding.ok for finding in found)
    # A declared deviation is reported, and nothing else is.
    assert sum("deviates as declared" in finding.found for finding in found) == len(notes)


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


# Cards and sheets

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


@dataclass(frozen=True)
class Events:
    """Frames in which class 0 is all OFF in the upper left, class 1 all ON in the lower right."""

    recorded: bool = False

    @property
    def card(self) -> DatasetCard:
        return replace(digits.DATASET.card, title="Events", classes=2, shape=(2, 8, 8))

    def provenance(self, _root: Path | None, /) -> Provenance:
        return Provenance(fingerprint="0", notes=("made up",))

    def load(self, _root: Path | None, /, *, timesteps: int = 1) -> Splits:
        inputs = np.zeros((2, timesteps, 2, 8, 8), dtype=np.uint8)
        inputs[0, :, 0, :4, :4] = inputs[1, :, 1, 4:, 4:] = 3
        part = Samples(inputs=inputs, labels=np.arange(2))
        return Splits(train=part, validation=part, test=part)


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
