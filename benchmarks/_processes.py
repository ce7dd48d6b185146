"""Benchmarks in processes of their own, which must find this package wherever they start.

asv imports the benchmarks from a temporary folder and by a finder of its own, so a child that
it starts sees the project and not this package.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def answer_of(module: str, *arguments: str) -> str:
    """Return what ``python -m module`` prints.

    Raises:
        CalledProcessError: If it fails; its words are on this process's stderr.
    """
    done = subprocess.run(  # noqa: S603  our own modules
        [sys.executable, "-m", module, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # What is freed goes back at once; else a peak is that of the allocator's gaps.
        env={**os.environ, "PYTHONPATH": search_path(), "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return done.stdout


def end_tidily_if_stopped() -> None:
    """Let a SIGTERM, as ``timeout`` sends it, run what stands under ``finally``."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def search_path(*first: str) -> str:
    """Return a PYTHONPATH: ``first``, what there is, and the root of this project."""
    known = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*first, *([known] if known else []), str(ROOT)])


def peak_mb() -> float:
    """Return the most memory that this process has had.

    Not ``ru_maxrss``: that of a new process begins at its parent's.
    """
    return _status_mb("VmHWM")


def growth_mb(action: Callable[[], object]) -> float | None:
    """Return how much more memory ``action`` needs at its peak than there is before it.

    None where the system keeps no peak that can be begun anew: elsewhere than on Linux.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak, from now on
    except OSError:
        return None
    before = _status_mb("VmRSS")
    action()
    return max(0.0, peak_mb() - before)


def _status_mb(field: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"{field}:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
