"""The documentation quotes what the script prints, and its examples run."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cross_check import report

PAGE = (Path(__file__).parents[2] / "docs" / "metering.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [report.five_tools, report.disagreements])
def test_the_tables_are_what_the_script_prints(table: Callable[[], str]) -> None:
    assert table() in PAGE, "run python -m tests.cross_check.report and paste it"


def test_the_examples_run_and_say_what_their_comments_say() -> None:
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec("".join(examples), names)  # noqa: S102  our own documentation
    assert eval("measured.steps, measured.samples", names) == (4, 6)  # noqa: S307  likewise
    assert eval("measured.tally()['ac'].shape", names) == (6, 4)  # noqa: S307
    assert eval("measured.coverage, measured.uncounted", names) == (1.0, ())  # noqa: S307
