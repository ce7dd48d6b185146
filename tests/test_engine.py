"""Cells that go wrong become rows; what was finished is kept whatever happens."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.projects import copied

# Each is a method file; what it does instead of learning, and the row it must become.
BAD = {
    "raising": ("raise RuntimeError('planned')", "failed", "RuntimeError: planned"),
    "aborting": ("os.abort()", "failed", "killed by SIGABRT"),
    "leaving": ("sys.exit(0)", "failed", "SystemExit: 0"),
    "vanishing": ("os._exit(7)", "failed", "exited with code 7 without a row"),
    "slipping_away": ("os._exit(0)", "failed", "exited with code 0 without a row"),
    "hanging": ("time.sleep(600)", "timeout", "raise --timeout"),
    "killed": ("os.kill(os.getpid(), 9)", "oom", "lower --jobs"),
    "starving": ("torch.empty(2**57)", "oom", "can't allocate memory"),
    "diverging": ("yield from descend(student, lesson, nan)", "diverged", "became nan after 64"),
    "unable": ("raise UnsupportedError('no spikes here')", "skipped", "no spikes here"),
}
SOURCE = """
import os, sys, time
from dataclasses import dataclass
import torch
from harness.contracts.errors import UnsupportedError
from harness.training import descend

def nan(output, answer, labels):
    return output.logits.sum() * float("nan")

def slowly(output, answer, labels):
    time.sleep(0.2)
    return output.logits.square().mean()

@dataclass(frozen=True)
class Bad:
    def fit(self, student, lesson, /):
        {action}
        yield

METHOD = Bad()
"""
FEW = ("--timesteps", "1", "--seeds", "0", "--backends", "reference")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with the bad methods beside the good ones."""
    folder = copied(tmp_path_factory.mktemp("project"))
    slow = "yield from descend(student, lesson, slowly); return"
    for name, action in {"slow": slow, **{name: bad[0] for name, bad in BAD.items()}}.items():
        file = folder / "suites" / "methods" / f"{name}.py"
        file.write_text(SOURCE.format(action=action))
    suite = folder / "suites" / "digits.py"
    suite.write_text(re.sub(r"epochs=\d+", "epochs=2", suite.read_text()))
    return folder


def _start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _run(project: Path, *words: str) -> tuple[int, str]:
    process = _start(project, *words)
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


@pytest.fixture(scope="module")
def rows(project: Path) -> dict[str, dict[str, Any]]:
    methods = ",".join(["direct", *BAD, "logit_kd"])
    words = ("run", "digits", "--methods", methods, *FEW, "--timeout", "12")
    code, told = _run(project, *words)
    assert code == 1, told
    found = [json.loads(file.read_text()) for file in project.glob("runs/digits/*/row.json")]
    return {row["cell"]["method"]: row for row in found}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_cell_becomes_a_row_with_its_status_and_reason(
    rows: dict[str, dict[str, Any]], name: str
) -> None:
    _, status, words = BAD[name]
    assert rows[name]["status"] == status
    assert words in str(rows[name]["error"])
    assert "metrics" not in rows[name]


def test_good_cells_beside_bad_ones_finish(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["direct"]["status"] == "ok"
    assert rows["logit_kd"]["status"] == "ok"


def test_no_cell_is_told_what_another_did(
    project: Path, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    # Of two cells at once, some of the good ones came after bad ones, in their processes or not.
    code, told = _run(
        project, "run", "digits", "--methods", "logit_kd", *FEW, "--out", str(tmp_path)
    )
    assert code == 0, told
    assert "2 cells in" in told  # a teacher is one
    assert "cells an hour" in told
    [file] = tmp_path.glob("digits/*/row.json")
    alone, beside = json.loads(file.read_text()), rows["logit_kd"]
    assert alone["ledger"] == beside["ledger"]
    assert alone["canary"] == beside["canary"]


def test_two_runs_at_once_on_one_folder_do_every_cell_once(
    project: Path, rows: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    words = ("run", "digits", "--methods", "direct,logit_kd", *FEW, "--jobs", "1")
    both = [_start(project, *words, "--out", str(tmp_path)) for _ in range(2)]
    told = ["".join(process.communicate(timeout=300)) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert all("3 cells in" in words for words in told), told  # a teacher is one
    assert len(list(tmp_path.glob("*/*/log-*"))) == 3
    for file in tmp_path.glob("digits/*/row.json"):
        made = json.loads(file.read_text())
        alone = rows[made["cell"]["method"]]
        assert made["ledger"] == alone["ledger"]
        assert made["canary"] == alone["canary"]
    assert len(list(tmp_path.glob("*/*/row.json"))) == 3


def test_failed_cells_are_left_alone_until_asked(
    project: Path,
    rows: dict[str, dict[str, Any]],
) -> None:
    words = ("run", "digits", "--methods", "raising,direct", *FEW)
    code, told = _run(project, *words)
    assert code == 1
    assert "--retry-failed" in told
    before = _log_path(rows["raising"])
    code, told = _run(project, *words, "--retry-failed")
    assert code == 1
    [row] = [
        json.loads(file.read_text())
        for file in project.glob("runs/digits/*/row.json")
        if '"method": "raising"' in file.read_text()
    ]
    assert _log_path(row) != before


def _log_path(row: dict[str, Any]) -> str:
    return str(row["provenance"]["log_path"])


def test_the_table_shows_failures_and_never_a_zero(
    project: Path, rows: dict[str, dict[str, Any]]
) -> None:
    assert rows
    code, told = _run(project, "report", "digits", "--results", "published")
    assert code == 0, told
    assert not (project / "published").exists()
    table = (project / "runs" / "digits" / "leaderboard.md").read_text()
    assert "diverged" in table
    assert "timeout" in table


@pytest.fixture
def _heard() -> Iterator[None]:
    """Let what is started here hear a key and a closed terminal: in the background it would not."""
    hearing = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    usual = {number: signal.signal(number, handler) for number, handler in hearing.items()}
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_cut_short_loses_nothing_and_goes_on(
    project: Path, tmp_path: Path, signal_: signal.Signals
) -> None:
    out = tmp_path / "runs"
    words = ("run", "digits", "--methods", "direct,hanging", *FEW, "--out", str(out))
    process = _start(project, *words)
    _wait_until(lambda: bool(list(out.glob("digits/*/row.json"))), process)
    [finished] = out.glob("digits/*/row.json")
    content = finished.read_bytes()
    process.send_signal(signal_)
    process.communicate(timeout=30)
    assert finished.read_bytes() == content
    assert not [file for file in out.rglob(".*") if file.is_file() and file.suffix == ".json"]
    code, told = _run(project, *words, "--timeout", "3")
    assert "1 fresh" not in told  # the cell that hung is run, the finished one is not
    assert not re.search("^[a-z]+ +direct ", told, re.MULTILINE)
    assert code == 1
    assert finished.read_bytes() == content
    _nothing_left(out)


@pytest.mark.usefixtures("_heard")
def test_a_key_while_libraries_are_imported_ends_quietly(project: Path, tmp_path: Path) -> None:
    process = _start(project, "run", "digits", "--methods", "direct", *FEW, "--out", str(tmp_path))
    _wait_until(lambda: any(map(_has_begun, _servers(process.pid))), process)
    os.killpg(process.pid, signal.SIGINT)
    told = "".join(process.communicate(timeout=60))
    assert "Traceback" not in told
    assert "interrupted; finished cells are kept" in told
    assert process.returncode == 128 + signal.SIGINT


def _servers(parent: int) -> list[Path]:
    """Return where the system tells of the fork servers of a run."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = [Path("/proc") / child for child in children]
    return [each for each in found if b"forkserver" in (each / "cmdline").read_bytes()]


def _has_begun(server: Path) -> bool:
    """Return whether torch is being imported there, which takes seconds."""
    return "libtorch" in (server / "maps").read_text()


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize(
    ("signal_", "all_of_them"), [(signal.SIGTERM, True), (signal.SIGHUP, False)]
)
def test_a_run_that_a_system_ends_writes_down_what_it_has(
    project: Path, tmp_path: Path, signal_: signal.Signals, *, all_of_them: bool
) -> None:
    words = ("run", "digits", "--methods", "slow", *FEW, "--out", str(tmp_path))
    process = _start(project, *words)
    _wait_until(lambda: _begun(tmp_path), process)
    # A batch system tells every process of the group, the fork server among them.
    (os.killpg if all_of_them else os.kill)(process.pid, signal_)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal_
    assert "interrupted; finished cells are kept, 1 partly (resume with the same command)" in err
    [kept] = tmp_path.glob("digits/*/checkpoint.safetensors")
    _nothing_left(tmp_path)
    code, told = _run(project, *words)
    assert code == 0, told
    assert "1 cells in" in told
    assert not kept.exists()


def _begun(out: Path) -> bool:
    """Return whether a student has learnt something."""
    return any('"samples": 0' not in file.read_text() for file in out.glob("digits/*/lock"))


def _wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _nothing_left(out: Path) -> None:
    """Fail if a process that writes under ``out`` still runs."""
    for stat in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            assert str(out) not in str(stat.readlink())
        except OSError:
            continue
