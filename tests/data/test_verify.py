"""Holding files against what was published."""

import json
import os
from pathlib import Path

import pytest

from harness.cli.data import data_app
from harness.contracts.dataset import Finding
from harness.contracts.errors import DataError
from harness.data import catalogue
from harness.data import verify as verifying
from harness.data.verify import Tally
from suites.datasets import (
    digits,
)
from suites.datasets._cifar import CifarBinary
from tests.data.publishing import RUNNER, fetch, md5


def test_verify_says_per_file_what_was_expected_and_found(
    small: CifarBinary, tmp_path: Path
) -> None:
    fetch(tmp_path)
    assert all(finding.ok for finding in verifying.verify("small", tmp_path))
    bad = tmp_path / small.card.files[1].path
    content = bytearray(bad.read_bytes())
    content[100] ^= 1
    bad.write_bytes(content)
    good, wrong = verifying.verify("small", tmp_path)
    assert (good.ok, wrong.ok) == (True, False)
    assert small.card.files[1].md5 in wrong.expected
    assert md5(bytes(content)) in wrong.found
    assert str(bad) in wrong.found


def test_a_set_that_cannot_tell_its_files_apart_is_verified_as_a_whole() -> None:
    (finding,) = verifying.verify("digits", None)
    assert finding.ok
    assert digits.DATASET.provenance(None).fingerprint in finding.expected


def test_the_command_lines_verify_fails_if_a_file_differs(
    small: CifarBinary, tmp_path: Path
) -> None:
    fetch(tmp_path)
    arguments = ["verify", "small", "--data-root", str(tmp_path)]
    told = RUNNER.invoke(data_app, arguments)
    assert told.exit_code == 0
    assert told.output.splitlines() == ["cifar-10-batches-bin/*.bin: 2 files: 2 ok"]
    every = RUNNER.invoke(data_app, [*arguments, "--verbose"]).output
    assert every.count("ok    ") == every.count("expected") == 2
    (tmp_path / small.card.files[0].path).write_bytes(b"x")
    told = RUNNER.invoke(data_app, arguments)
    assert told.exit_code == 1
    wrong, _expected, _found, summary = told.output.splitlines()
    assert wrong.startswith("WRONG")
    assert small.card.files[0].path in wrong
    assert summary == "cifar-10-batches-bin/*.bin: 2 files: 1 ok, 1 WRONG"
    as_json = RUNNER.invoke(data_app, [*arguments, "--json"]).output.splitlines()
    assert [json.loads(line)["ok"] for line in as_json] == [False, True]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_real_files_verify(name: str) -> None:
    root = os.environ.get("SNN_DISTILL_DATA")
    if not root:
        pytest.skip("SNN_DISTILL_DATA is not set")
    try:
        notes = catalogue.load(name).provenance(Path(root)).notes
    except DataError as error:
        pytest.skip(str(error))
    found = list(verifying.verify(name, Path(root)))
    assert all(finding.ok for finding in found)
    # A declared deviation is reported, and nothing else is.
    assert sum("deviates as declared" in finding.found for finding in found) == len(notes)


def test_files_are_counted_by_outermost_folder_and_ending(tmp_path: Path) -> None:
    tally = Tally(tmp_path)
    for path in ("Train/0/1.bin", "Train/1/2.bin", "Train/1/notes.txt", "Test/0/3.bin"):
        said = Finding(path=str(tmp_path / path), expected="", found="", ok="2.bin" not in path)
        tally.add(said)
    tally.add(Finding(path="digits", expected="", found="", ok=True))
    assert list(tally.lines()) == [
        "Train/*.bin: 2 files: 1 ok, 1 WRONG",
        "Train/*.txt: 1 file: 1 ok",
        "Test/*.bin: 1 file: 1 ok",
        "digits: 1 file: 1 ok",
    ]
