"""CPU seconds of a board of 10,000 rows, from files to tables and page, and how much memory.

``python -m benchmarks.boards`` prints what ``harness report`` takes over them.
"""

import gc
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, cast

from benchmarks._processes import ROOT, answer_of
from benchmarks._timing import LESS
from harness import discovery, report, results
from harness.contracts.row import Row
from harness.contracts.suite import Suite
from harness.statistics import wilson_interval

ROWS = 10_000


@lru_cache
def rows(many: int = ROWS, seeds: int = 20) -> tuple[list[Row], list[Row]]:
    """Return so many rows and their teachers, made of those that are published of digits.

    They come again with other seeds, and once there are ``seeds`` as other methods; other
    accuracies and counts, so that no two of them are alike.
    """
    known = results.published("digits", results=ROOT / "results")
    found = _again(list(known.rows.values()), seeds // 5)
    return [next(found) for _ in range(many)], list(known.teachers.values())


def _again(known: list[Row], rounds: int) -> Iterator[Row]:
    for turn in count():
        for place, row in enumerate(known):
            plain = json.loads(row.to_json())
            plain["cell_id"] = ""
            plain["cell"]["seed"] += 5 * (turn % rounds)
            plain["cell"]["method"] += f"_{turn // rounds}" if turn >= rounds else ""
            if plain.get("metrics"):
                _move(plain, (7 * place + 3 * turn) % 11 - 5, turn)
            yield Row.from_json(json.dumps(plain).encode())


def _move(plain: dict[str, Any], samples: int, counts: int) -> None:
    """Let so many samples more be right, and so many accumulates fewer be counted."""
    metrics = plain["metrics"]
    trials = metrics["n_test"]
    right = min(trials, max(0, round(metrics["score"] * trials) + samples))
    interval = wilson_interval(right, trials)
    metrics |= {"score": right / trials}
    metrics |= {"score_low": interval.low, "score_high": interval.high}
    if metrics.get("score_by_step"):
        metrics["score_by_step"][-1] = right / trials
    for layer in plain["ledger"]["layers"].values() if plain.get("ledger") else ():
        if "ac" in layer["counts"]:
            layer["counts"]["ac"][-1] = max(0, layer["counts"]["ac"][-1] - counts)


@lru_cache
def _published() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder in which so many rows of methods that exist are published."""
    folder = tempfile.TemporaryDirectory()
    made, teachers = rows(seeds=ROWS)
    known = results.published("digits", results=ROOT / "results")
    results.write(Path(folder.name) / "digits", results.Published(), made, teachers, known.code)
    for name in ("verified.jsonl", f"digits/{results.TUNING}"):
        shutil.copy(ROOT / "results" / name, Path(folder.name) / name)
    return folder


class Report:
    """``harness report`` over 10,000 published rows, from the start of its process to its files."""

    version = "1"
    timeout = 600
    unit = f"CPU s, {LESS}"

    def setup(self) -> None:
        self.results = _published().name

    def track_tables(self) -> float:
        return self._report("--no-page")

    def track_tables_and_page(self) -> float:
        return self._report()

    def _report(self, *options: str) -> float:
        before = os.times()
        with tempfile.TemporaryDirectory() as out:
            given = ("report", "digits", "--results", self.results, "--out", out, *options)
            answer_of("harness", *given)
        after = os.times()
        ours, theirs = ((at.children_user + at.children_system) for at in (after, before))
        return ours - theirs


class Board:
    """Markdown, CSV, JSON, LaTeX and the page of 10,000 rows, from rows in memory to files."""

    version = "2"
    timeout = 600
    timer = time.process_time
    number = 1
    repeat = (1, 3, 60.0)
    warmup_time = 0

    def setup(self) -> None:
        self.rows, self.teachers = rows()
        self.results = Path(_published().name)
        gc.disable()  # as the verbs do

    def teardown(self) -> None:
        gc.enable()

    def time_read(self) -> None:
        results.published("digits", results=self.results)

    def time_tables(self) -> None:
        self._write(page=False)

    def time_tables_and_page(self) -> None:
        self._write(page=True)

    def peakmem_tables_and_page(self) -> None:
        self._write(page=True)

    def _write(self, *, page: bool) -> None:
        suite = cast("Suite", discovery.load("suites", "digits"))
        with tempfile.TemporaryDirectory() as folder:
            board = report.leaderboard(self.rows, suite=suite, teachers=self.teachers)
            report.write_board(board, Path(folder), command="nothing", page=page)


if __name__ == "__main__":
    report_ = Report()
    report_.setup()
    print(f"tables           {report_.track_tables():6.2f} {Report.unit}")
    print(f"tables and page  {report_.track_tables_and_page():6.2f} {Report.unit}")
