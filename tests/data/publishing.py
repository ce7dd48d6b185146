"""A publisher of data sets on this machine, and a small set that it has."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.contracts.dataset import (
    Archive,
    DatasetCard,
    DatasetProvenance,
    PublishedFile,
    Samples,
    Splits,
)
from harness.contracts.errors import DataError
from harness.data import catalogue
from harness.data import fetch as fetching
from harness.data import verify as verifying
from suites.datasets import (
    cifar10,
    digits,
)
from suites.datasets._cifar import CifarBinary

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
    for module in (catalogue, fetching, verifying):
        monkeypatch.setattr(module, "load", lambda _name: made)
    return made


def fetch(root: Path | None) -> fetching.Fetched:
    return fetching.fetch("small", root, progress=silent)


def files_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


FETCHED = {"cifar-10-binary.tar.gz", *FILES}


@dataclass(frozen=True)
class Events:
    """Frames in which class 0 is all OFF in the upper left, class 1 all ON in the lower right."""

    recorded: bool = False

    @property
    def card(self) -> DatasetCard:
        card = digits.DATASET.card
        return replace(card, title="Events", classes=2, input=replace(card.image, shape=(2, 8, 8)))

    def provenance(self, _root: Path | None, /) -> DatasetProvenance:
        return DatasetProvenance(fingerprint="0", notes=("made up",))

    def load(self, _root: Path | None, /, *, timesteps: int = 1) -> Splits:
        inputs = np.zeros((2, timesteps, 2, 8, 8), dtype=np.uint8)
        inputs[0, :, 0, :4, :4] = inputs[1, :, 1, 4:, 4:] = 3
        part = Samples(inputs=inputs, labels=np.arange(2))
        return Splits(train=part, validation=part, test=part)
