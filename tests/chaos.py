"""Kill a run again and again, at any moment, and see that it ends as if nobody had.

``python -m tests.chaos --kills 20``. Exit code 1 if a number of a row, a decision or a weight
is another than in a run that nobody killed, if too much was done twice, or if all was done before
so many kills.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from harness.contracts.row import Row
from harness.engine.compare import unlike
from harness.store import CHECKPOINT, PREDICTIONS

# Own loops, stages, a teacher that learns, random numbers in a step, state outside of modules.
METHODS = "bidirectional,bkdsnn,direct,distilling_spikes,stdp,tssd"
MOST = 1.3  # times the work of the run that nobody kills


def start(out: Path, jobs: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "run", "digits", "--again", "--untuned"),
            *("--methods", METHODS, "--timesteps", "2", "--backends", "norse"),
            *("--seeds", "0,1", "--jobs", str(jobs), "--out", str(out)),
            *("--checkpoint-every", "0.1s"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed_once(out: Path, jobs: int, chance: random.Random) -> float | None:
    """Kill the whole tree a moment after it has written something, or one time of four at once.

    Return how many seconds of its cells were in vain, or None if it had ended before.
    """
    before, begun_s, run = written(out), time.time(), start(out, jobs)
    in_start = chance.random() < 0.25
    while run.poll() is None and written(out) == before and not in_start:
        time.sleep(0.02)
    time.sleep(chance.uniform(0, 2))
    tree = descendants(run.pid)
    for pid in tree:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if run.wait() != -signal.SIGKILL:
        return None
    return sum(lost_s(folder, begun_s) for folder in out.glob("*/*"))


def descendants(pid: int) -> list[int]:
    """Return ``pid`` and all processes below it."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            below.setdefault(int(parent), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found.extend(below.get(one, []))
    return found


def written(out: Path) -> dict[Path, int]:
    """Return when each row and checkpoint was written."""
    found = {}
    for name in ("row.json", CHECKPOINT):
        for path in out.glob(f"*/*/{name}"):
            with suppress(FileNotFoundError):  # a checkpoint whose row is there now
                found[path] = path.stat().st_mtime_ns
    return found


def lost_s(folder: Path, since_s: float) -> float:
    """Return what a cell has done since ``since_s`` of which nothing is safe."""
    logs = [path.stat().st_mtime for path in folder.glob("log-*.txt")]
    begun = [int(path.stem.removeprefix("log-")) / 1e9 for path in folder.glob("log-*.txt")]
    if not logs or max(begun) < since_s or (folder / "row.json").exists():
        return 0.0
    safe = folder / CHECKPOINT
    return time.time() - max(*begun, safe.stat().st_mtime if safe.exists() else 0.0)


def differing(whole: Path, killed: Path) -> list[str]:
    """Return the cells that are not the same in both folders."""
    cells = {path.parent.relative_to(out) for out in (whole, killed) for path in rows(out)}
    return [str(cell) for cell in sorted(cells) if not same(whole / cell, killed / cell)]


def rows(out: Path) -> list[Path]:
    return sorted(out.glob("*/*/row.json"))


def same(one: Path, other: Path) -> bool:
    if not ((one / "row.json").exists() and (other / "row.json").exists()):
        return False
    first, second = (Row.from_json((cell / "row.json").read_bytes()) for cell in (one, other))
    if unlike(first, second) or first.canary != second.canary:
        return False
    decided = [np.load(cell / PREDICTIONS) for cell in (one, other)]
    weights = [(cell / "weights.safetensors").read_bytes() for cell in (one, other)]
    alike = [np.array_equal(decided[0][name], decided[1][name]) for name in decided[0].files]
    return weights[0] == weights[1] and all(alike)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)  # noqa: S311  no secret
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        start(whole, asked.jobs).wait()
        work_s = sum(seconds(path) for path in rows(whole))
        killing = iter(lambda: killed_once(killed, asked.jobs, chance), None)
        lost = list(islice(killing, asked.kills))
        start(killed, asked.jobs).wait()
        logs = [path.read_text(encoding="utf-8") for path in killed.glob("*/*/log-*.txt")]
        resumed = sum("goes on from" in log for log in logs)
        unequal, done = differing(whole, killed), 1 + sum(lost) / work_s
    kills = f"{len(lost)} of {asked.kills} kills before all was done"
    print(f"{kills}, {resumed} cells went on from checkpoints, {done:.2f} times the work")
    print(f"cells that are not the same: {', '.join(unequal) or 'none'}")
    return int(bool(unequal) or done > MOST or not resumed or len(lost) < asked.kills)


def seconds(path: Path) -> float:
    """Return how long a cell took, from its first line to its row."""
    row = Row.from_json(path.read_bytes())
    return path.stat().st_mtime - int(Path(str(row.provenance.log_path)).stem[4:]) / 1e9


if __name__ == "__main__":
    sys.exit(main())
