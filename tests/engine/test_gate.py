"""A board says in its first line what it does not support, unless its baseline is good."""

from dataclasses import replace

import pytest

from harness.contracts.row import Row
from harness.contracts.suite import Literature
from harness.engine.publish import cautioned
from tests.report.rows import SUITE, right

# 360 and 380 of 400: the mean is 92.5 %.
ROWS: list[Row] = [right("direct", 360, seed=0), right("direct", 380, seed=1)]
KNOWN = Literature(accuracy=0.93, timesteps=2, margin=0.006, where="table 1, the same network")


def test_a_baseline_within_the_margin_of_the_literature_needs_no_caution() -> None:
    assert cautioned(replace(SUITE, literature=KNOWN), ROWS).caution == ""


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS, "`direct` reached 92.50 % at T = 2, where the literature has 93.00 % (table 1"),
        ([right("logit_kd", 400)], "`direct` has no row at T = 2"),
    ],
)
def test_one_that_falls_short_or_is_not_there_is_told(rows: list[Row], words: str) -> None:
    short = replace(KNOWN, margin=0.004)
    found = cautioned(replace(SUITE, literature=short), rows).caution
    assert found.startswith(words)
    assert found.endswith("these rows support no order of methods.")


def test_a_suite_that_knows_no_literature_says_so_unless_it_has_words_of_its_own() -> None:
    assert "is not known here" in cautioned(SUITE, ROWS).caution
    own = replace(SUITE, caution="A smoke test.", literature=replace(KNOWN, accuracy=0.99))
    assert cautioned(own, ROWS).caution == "A smoke test."
