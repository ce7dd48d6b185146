"""A teacher from elsewhere has to be there before anything that it teaches."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.contracts.errors import StoreError
from harness.contracts.suite import TeacherSpec
from harness.engine.grid import load_suite
from harness.engine.teachers import identity_of
from harness.results import Published
from harness.store import Store


def test_one_that_was_not_imported_is_named_with_the_command_that_does(tmp_path: Path) -> None:
    suite = replace(load_suite("cifar10"), teacher=TeacherSpec(model="resnet20"))
    with pytest.raises(StoreError, match="teacher import FILE --model resnet20 --dataset cifar10"):
        identity_of(suite, "some split", Store(tmp_path), Published())
