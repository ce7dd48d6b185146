"""A teacher from elsewhere has to be there before anything that it teaches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.contracts.errors import StoreError
from harness.contracts.suite import TeacherSpec
from harness.engine import worker
from harness.engine.cell import teacher_of
from harness.engine.grid import load_suite
from harness.engine.teachers import identity_of
from harness.results import Published
from harness.store import PREDICTIONS, Store
from tests.engine.evidence import TEACHERS_CELL, kept
from tests.report.rows import TEACHER


def test_one_that_was_not_imported_is_named_with_the_command_that_does(tmp_path: Path) -> None:
    suite = replace(load_suite("cifar10"), teacher=TeacherSpec(model="resnet20"))
    with pytest.raises(StoreError, match="teacher import FILE --model resnet20 --dataset cifar10"):
        identity_of(suite, "some split", Store(tmp_path), Published())


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "has no predictions of the teacher "), (b"no zip", "holds no predictions: ")],
)
def test_one_whose_predictions_are_gone_or_damaged_is_named_and_fails_nobody(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    kept(tmp_path, TEACHERS_CELL, weights=b"teacher")
    path = Store(tmp_path).folder(TEACHERS_CELL) / PREDICTIONS
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=words) as found:
        teacher_of(Store(tmp_path), TEACHER, "tiny", torch.device("cpu"))
    assert worker.describe(found.value)[0] == "machine", "run again by the same command"
