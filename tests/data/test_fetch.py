"""Getting data sets; a server on this machine stands for publishers."""

import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.cli.data import data_app
from harness.contracts.dataset import (
    DatasetProvenance,
)
from harness.contracts.errors import DataError
from harness.data import catalogue
from harness.data import fetch as fetching
from harness.data import verify as verifying
from suites.datasets import (
    cifar10_dvs,
)
from suites.datasets._cifar import CifarBinary
from suites.datasets._events import EventSet
from tests.data.publishing import (
    FETCHED,
    RUNNER,
    Events,
    Publisher,
    fetch,
    files_in,
    md5,
    refusal,
    silent,
    tar_of,
    zip_of,
)
from tests.event_files import tonic_cifar10_dvs_zip


def test_a_fetched_set_loads_and_nothing_else_is_left(small: CifarBinary, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    root = tmp_path / "new" / "root"
    fetched = fetching.fetch("small", root, progress=lambda *step: told.append(step))
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

    monkeypatch.setattr("harness.data.fetch._Resuming._receive", full)
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
    message = refusal(partial(fetching.fetch, "imagenet", tmp_path, progress=silent))
    assert "register at https://image-net.org" in message
    assert fetching.fetch("digits", None, progress=silent).archives == ()


def test_a_part_of_what_needs_a_person_is_no_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Partly(Events):
        def provenance(self, root: Path | None, /) -> DatasetProvenance:
            if root is None:
                raise DataError("it needs a data root")
            return DatasetProvenance(fingerprint="0", notes=("a subset",))

    monkeypatch.setattr(fetching, "load", lambda _name: Partly())
    assert "without a person" in refusal(partial(fetch, tmp_path))


@pytest.mark.parametrize("with_root", [True, False])
def test_digits_as_events_need_nothing_either_and_say_that_they_are_simulated(
    tmp_path: Path, *, with_root: bool
) -> None:
    root = tmp_path if with_root else None
    fetched = fetching.fetch("digits_events", root, progress=silent)
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
    for module in (catalogue, fetching, verifying):
        monkeypatch.setattr(module, "load", lambda _name: made)
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
    message = refusal(partial(fetching.unpack, archive, root))
    assert str(archive) in message
    assert files_in(tmp_path) == {f"root/{archive.name}"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    assert "link" in refusal(partial(fetching.unpack, tmp_path / "a.tar", tmp_path))
    assert files_in(tmp_path) == {"a.tar"}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    assert "link" in refusal(partial(fetching.unpack, tmp_path / "a.zip", tmp_path))


@pytest.mark.parametrize(("name", "pack"), [("a.tar.gz", tar_of), ("a.zip", zip_of)])
def test_a_truncated_archive_leaves_nothing_behind(
    tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    content = pack({"a": os.urandom(5000), "b": os.urandom(5000)})
    (tmp_path / name).write_bytes(content[:7000])
    message = refusal(partial(fetching.unpack, tmp_path / name, tmp_path))
    assert str(tmp_path / name) in message
    assert files_in(tmp_path) == {name}
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_an_archive_without_a_telling_name_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "7712788-abc").write_bytes(zip_of({"inside": b"1"}))
    fetching.unpack(tmp_path / "7712788-abc", tmp_path)
    (tmp_path / "plain.gz").write_bytes(b"\x1f\x8b no archive")
    fetching.unpack(tmp_path / "plain.gz", tmp_path)
    assert files_in(tmp_path) == {"7712788-abc", "plain.gz", "inside"}


def test_a_zip_within_an_archive_is_unpacked_where_it_lies(tmp_path: Path) -> None:
    inner = {"cats/1": b"one", "cats/2": b"two"}
    for name, pack in (("a.zip", zip_of), ("b.tar.gz", tar_of)):
        (tmp_path / name).write_bytes(pack({f"in-{name}/cats.zip": zip_of(inner), "beside": b""}))
        fetching.unpack(tmp_path / name, tmp_path)
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
    message = refusal(partial(fetching.unpack, root / "a.zip", root))
    assert str(root / "a.zip") in message
    assert ".unpacking" not in message.replace(str(root / "a.zip"), "")
    assert [path.name for path in tmp_path.rglob("*")] == ["root", "a.zip"]
