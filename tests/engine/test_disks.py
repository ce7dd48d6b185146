"""A disk that is full or read-only, and a clock that jumps: a clear error, and nothing lost."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.contracts.errors import StoreError
from harness.engine import scheduler, watch
from harness.store import Store
from tests.engine.test_runs import _cells, _ends, making

ROOT = Path(__file__).parents[2]
ALONE = ("unshare", "--user", "--map-root-user", "--mount")
MOUNT = ("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs")


def _may_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*ALONE, *MOUNT, str(folder)], check=False, capture_output=True)
    return tried.returncode == 0


def test_a_disk_that_is_full_or_read_only_loses_nothing(tmp_path: Path) -> None:
    if not _may_mount(tmp_path):
        pytest.skip("this machine lets nobody mount a small disk of his own")
    script = tmp_path / "on_a_small_disk.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\n"
        "from tests.engine import test_disks\n"
        f"if __name__ == '__main__':\n    test_disks.on_a_small_disk(Path(sys.argv[1]))\n"
    )
    runs = tmp_path / "runs"
    runs.mkdir()
    done = subprocess.run(
        [*ALONE, sys.executable, str(script), str(runs)], check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"mended\n"


def on_a_small_disk(runs: Path) -> None:
    """Run in a process that may mount: fill the disk, make it read-only, then larger."""
    subprocess.run([*MOUNT, str(runs)], check=True)
    cells, store = _cells(40), Store(runs)
    with pytest.raises(StoreError, match=r"No space left on device|cells in a row met a failure"):
        _ends(cells, runs, making, slots=1)
    kept = _rows(store)
    assert 3 < len(kept) < len(cells)
    assert not list(runs.rglob(".row.json.*")), "no half of a row"
    _remount(runs, "ro")
    with pytest.raises(StoreError, match=r"cannot write .*Read-only file system; .*another folder"):
        _ends(cells, runs, making, slots=1)
    _remount(runs, "rw,size=8m")
    due = [cell for cell in cells if cell.cell_id not in kept]
    assert {end.row.status for end in _ends(due, runs, making, slots=1)} == {"ok"}
    after = _rows(store)
    assert len(after) == len(cells)
    assert {cell_id: after[cell_id] for cell_id in kept} == kept
    print("mended")


def _rows(store: Store) -> dict[str, bytes]:
    """Return the rows with numbers, to the byte."""
    return {
        row.cell_id: (store.folder(row.cell) / "row.json").read_bytes()
        for row in store.rows("digits")
        if row.status == "ok"
    }


def _remount(folder: Path, options: str) -> None:
    subprocess.run([MOUNT[0], "-o", f"remount,{options}", str(folder)], check=True)


def test_a_clock_that_is_put_back_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = iter(range(10**6, 0, -1))  # each look at it is a day before the one before

    def put_back() -> int:
        return next(jumps) * 86_400 * 10**9

    monkeypatch.setattr(scheduler.time, "time_ns", put_back)
    monkeypatch.setattr(scheduler.time, "time", lambda: put_back() / 1e9)
    cells = _cells(4)
    for _ in range(2):
        ends = _ends(cells, tmp_path, making, until_s=time.monotonic() + 120)
        assert [end.row.status for end in ends] == ["ok"] * 4
    for cell in cells:
        row = Store(tmp_path).load(cell)
        assert row is not None
        first, second = sorted((Store(tmp_path).folder(cell)).glob("log-*.txt"))
        assert str(first.relative_to(tmp_path)) == row.provenance.log_path, "made last"
        assert second.exists()
        assert watch.log_of(Store(tmp_path), cell.cell_id) == first
