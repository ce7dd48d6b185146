"""A reader sees the old file or the whole new one; nothing is lost."""

import errno
import os
from pathlib import Path

import pytest

from harness import store
from harness.contracts.errors import StoreError
from tests.contracts.test_row import CELL


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store.write_json(tmp_path / "a" / "row.json", {"b": 1, "a": [None, 0.1]})
    assert (tmp_path / "a" / "row.json").read_text() == '{"a": [null, 0.1], "b": 1}\n'
    assert store.read_json(tmp_path / "a" / "row.json") == {"a": [None, 0.1], "b": 1}


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert store.read_json(tmp_path / "none.json") is None


def test_a_full_disk_leaves_the_old_file_and_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "row.json"
    store.write_json(path, {"old": 1})

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"row\.json: No space left on device; make room"):
        store.write_json(path, {"new": 2})
    assert store.read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("renamed", [False, True])
def test_a_rename_that_a_network_loses_leaves_one_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, renamed: bool
) -> None:
    """The answer of a file server may be lost before or after it did what it was asked."""
    path = tmp_path / "row.json"
    store.write_json(path, {"old": 1})
    replace = os.replace

    def torn(source: str, target: Path) -> None:
        if renamed:
            replace(source, target)
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "replace", torn)
    with pytest.raises(StoreError, match=r"row\.json: Stale file handle"):
        store.write_json(path, {"new": 2})
    assert store.read_json(path) == ({"new": 2} if renamed else {"old": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_who_has_a_cell_alone_finds_nothing_half_written(tmp_path: Path) -> None:
    whole = store.Store(tmp_path)
    folder = whole.folder(CELL)
    killed = [".checkpoint.safetensors.6f9c1t88", ".row.json.a_b0c1d2"]
    kept = ["row.json", "checkpoint.safetensors", "log-1.txt"]
    for name in (*killed, *kept):
        store.write_text(folder / name, "")
    holder = whole.claim(CELL)
    assert holder is not None
    assert {path.name for path in folder.iterdir()} == {*kept, "lock"}
    store.write_text(folder / killed[0], "")  # as its holder does
    assert whole.claim(CELL) is None
    assert (folder / killed[0]).exists()
    holder.close()


def test_file_and_name_are_synced_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def seen(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    store.write_json(tmp_path / "row.json", {"a": 1})
    [file, folder] = synced
    assert file.startswith(".row.json.")
    assert folder == tmp_path.name


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def refuse(_file: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(StoreError, match="Permission denied"):
        store.write_atomically(tmp_path / "x", refuse)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ['{"half": ', "[1]", ""])
def test_a_damaged_file_is_named_not_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / "row.json").write_text(text)
    with pytest.raises(StoreError, match=r"row\.json .*delete it to run its cell again"):
        store.read_json(tmp_path / "row.json")


def test_infinity_and_nan_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_json(tmp_path / "row.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
