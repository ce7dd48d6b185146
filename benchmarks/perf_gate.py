"""Whether this checkout is slower than another commit, measured by turns on this machine.

    python -m benchmarks.perf_gate BASE [--only NAME ...] [--rounds 15] [--tolerance 0.05]

Two processes, one for each commit, run the same few benchmarks one after the other, round
after round; BASE lies in a temporary git worktree. Judged is the ratio of each round, this
checkout's seconds over those of BASE: its median, with a 95 % bootstrap interval. Slower is
what is slower by more than the tolerance at the interval's lower end.

Exit codes: 0 nothing is slower, 1 something is, 2 bad input, 3 not everything was measured,
or nothing, and what was is not slower, 4 a benchmark crashed or hung.
"""

import argparse
import json
import os
import runpy
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import IO

from benchmarks import _gate_work
from benchmarks._processes import ROOT, end_tidily_if_stopped, search_path
from benchmarks._timing import LESS, interval
from benchmarks.table import columns

PATIENCE_S = 2.0
FEWEST_ROUNDS = 5  # of which the interval of a median is worth a word


class Exit(IntEnum):
    """What the shell is told."""

    OK = 0
    SLOWER = 1
    BAD_INPUT = 2
    NOTHING = 3
    CRASHED = 4


WORDS = {
    Exit.OK: "nothing is slower",
    Exit.SLOWER: "something is slower",
    Exit.NOTHING: f"something, or all, was not measured in {FEWEST_ROUNDS} rounds",
    Exit.CRASHED: "something crashed; its words are above",
}


class CrashedError(Exception):
    """A benchmark did not come back with a number."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One benchmark at both commits.

    Attributes:
        name: Of the benchmark.
        then: Seconds at BASE, round by round.
        now: Here.
        crash: Where it crashed and why; empty if it did not.
    """

    name: str
    then: list[float] = field(default_factory=list)
    now: list[float] = field(default_factory=list)
    crash: str = ""

    @property
    def ratios(self) -> list[float]:
        """Seconds here over seconds at BASE, round by round."""
        return [now / then for now, then in zip(self.now, self.then, strict=True)]

    @property
    def judged(self) -> bool:
        """Whether there were rounds enough."""
        return not self.crash and len(self.now) >= FEWEST_ROUNDS

    def slower(self, tolerance: float) -> bool:
        """Return whether it is slower by more than ``tolerance``, beyond doubt."""
        return self.judged and interval(self.ratios)[0] > 1 + tolerance

    def cells(self, tolerance: float) -> tuple[str, ...]:
        """Return the columns of the table."""
        if self.crash:
            return self.name, "", "", "", f"crashed {self.crash}"
        if not self.judged:
            return self.name, "", "", "", f"only {len(self.now)} rounds"
        low, high = interval(self.ratios)
        verdict = "SLOWER" if self.slower(tolerance) else "faster" if high < 1 else "as fast"
        return (
            self.name,
            f"{1000 * statistics.median(self.then):.1f}",
            f"{1000 * statistics.median(self.now):.1f}",
            f"{statistics.median(self.ratios):.3f} [{low:.3f}, {high:.3f}]",
            verdict,
        )


def verdict(found: Sequence[Compared], tolerance: float) -> Exit:
    """Return the worst that happened: a crash, a regression, or a benchmark without a verdict."""
    if any(one.crash for one in found):
        return Exit.CRASHED
    if any(one.slower(tolerance) for one in found):
        return Exit.SLOWER
    return Exit.OK if found and all(one.judged for one in found) else Exit.NOTHING


@contextmanager
def checked_out(base: str, repository: Path) -> Iterator[Path]:
    """Yield a temporary folder with ``base`` checked out."""
    with tempfile.TemporaryDirectory(prefix="perf-gate-") as scratch:
        folder = Path(scratch, "base")
        git = ("git", "-C", str(repository), "worktree")
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), base], check=True)  # noqa: S603
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)  # noqa: S603


@dataclass(frozen=True, kw_only=True)
class Side:
    """A process that runs benchmarks at one commit, and how it is called in words."""

    name: str
    process: subprocess.Popen[str]

    def seconds(self, benchmark: str, limit_s: float) -> float:
        """Return how long one run took.

        Raises:
            CrashedError: If it raised, died or took longer than ``limit_s``.
        """
        asked, answers = self._pipes()
        try:
            print(benchmark, file=asked, flush=True)
            came, _, _ = select.select([answers], [], [], limit_s)
            if not came:
                raise CrashedError(f"{self.name}: nothing for {limit_s:.0f} s")
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise CrashedError(f"{self.name}: its process ended with code {self.process.wait()}")
        said = json.loads(line)
        if "error" in said:
            raise CrashedError(f"{self.name}: {said['error']}")
        return float(said["seconds"])

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        asked, answers = self.process.stdin, self.process.stdout
        assert asked is not None
        assert answers is not None
        return asked, answers


@contextmanager
def started(name: str, root: Path, work: Path) -> Iterator[Side]:
    """Yield a side that sees ``root`` first, and end it afterwards."""
    with subprocess.Popen(  # noqa: S603  our own file
        [sys.executable, "-P", str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": search_path(str(root))},
        start_new_session=True,
    ) as process:
        try:
            yield Side(name=name, process=process)
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Let a worker go: it ends with its input, and if it hangs, with all that it started."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def compare(
    name: str, then: Side, now: Side, *, rounds: int, limit_s: float, deadline: float
) -> Compared:
    """Run one benchmark by turns until ``rounds`` or the ``deadline`` of ``time.monotonic``."""
    taken: dict[str, list[float]] = {then.name: [], now.name: []}
    try:
        for turn in range(rounds):
            if time.monotonic() > deadline:
                break
            for side in (then, now) if turn % 2 == 0 else (now, then):
                taken[side.name].append(side.seconds(name, limit_s))
    except CrashedError as error:
        return Compared(name=name, crash=f"{error}")
    return Compared(name=name, then=taken[then.name], now=taken[now.name])


def gate(
    base: str,
    names: Sequence[str],
    *,
    repository: Path,
    work: Path,
    rounds: int,
    limit_s: float,
    minutes: float,
) -> Iterator[Compared]:
    """Yield every benchmark, compared; each in two processes of its own."""
    share_s = 60 * minutes / max(1, len(names))
    with checked_out(base, repository) as folder:
        for name in names:
            with ExitStack() as both:
                then = both.enter_context(started(f"at {base}", folder, work))
                now = both.enter_context(started("here", repository, work))
                yield compare(
                    name,
                    then,
                    now,
                    rounds=rounds,
                    limit_s=limit_s,
                    deadline=time.monotonic() + share_s,
                )


def known(base: str, repository: Path) -> bool:
    """Return whether ``base`` names a commit."""
    asked = ["git", "-C", str(repository), "rev-parse", "--verify", "-q", f"{base}^{{commit}}"]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0  # noqa: S603


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("base", metavar="BASE", help="a commit, branch or tag")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=", ".join(_gate_work.WORK))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds one run may take")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="shared by the benchmarks equally"
    )
    parser.add_argument("--repository", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument(
        "--work", type=Path, default=Path(_gate_work.__file__), help=argparse.SUPPRESS
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = parsed(arguments)
    end_tidily_if_stopped()
    if not known(asked.base, asked.repository):
        print(f"error: {asked.base!r} is no commit of {asked.repository}", file=sys.stderr)
        return Exit.BAD_INPUT
    there_are = runpy.run_path(str(asked.work))["WORK"]
    names = [name for name in there_are if asked.only is None or name in asked.only]
    head = ("benchmark", f"ms at {asked.base}", "ms here", f"ratio, {LESS}", "")
    found = []
    for one in gate(
        asked.base,
        names,
        repository=asked.repository,
        work=asked.work,
        rounds=asked.rounds,
        limit_s=asked.limit,
        minutes=asked.minutes,
    ):
        found.append(one)
        print(f"{one.name}: {one.cells(asked.tolerance)[-1]}", file=sys.stderr, flush=True)
    print("\n".join(columns([head, *(one.cells(asked.tolerance) for one in found)])))
    outcome = verdict(found, asked.tolerance)
    print(f"\n{WORDS[outcome]}")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
