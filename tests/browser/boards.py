"""A board with everything a page must bear."""

from dataclasses import replace

from harness.contracts.row import Row
from harness.contracts.suite import Suite
from harness.report import leaderboard, to_html
from tests.report.rows import (
    BUDGET,
    SUITE,
    board_rows,
    right,
    teacher,
    with_cell,
    with_provenance,
    wrong,
)

SCRIPT = "<script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>"
LINK = "[free](javascript:alert(1)) | a \x1b[31mred\x1b[0m | \ud800"


def rows() -> list[Row]:
    """Return rows on which names, errors and notes try to be more than text."""
    hostile = with_provenance(right(f"evil {SCRIPT}", 300, spikes=3), data_notes=(SCRIPT, LINK))
    return [*board_rows(), hostile, wrong("failing", "failed", f"{SCRIPT} {LINK}")]


def page() -> str:
    suite = replace(SUITE, caution=f"Mind {SCRIPT} {LINK}", remarks={"better": SCRIPT})
    return _html(rows(), suite)


def page_of_parameters() -> str:
    """Return a page of methods whose names hold commas, none of which has a number."""
    rows = [
        with_cell(wrong("kd", "diverged", "loss is nan", seed=0), params=params)
        for params in ({"a": 2, "b": 1}, {"a": 2, "b": 3}, {"a": 4, "b": 1})
    ]
    return _html(rows)


def page_of_two_budgets() -> str:
    """Return a page on which the longer budget is better, and all energies are close."""
    small = [
        right("direct", 300, spikes=2486),
        right("dist", 310, spikes=2490),
        right("kd", 320, spikes=2501),
    ]
    longer = {"recipe_name": "longer", "recipe": replace(BUDGET, epochs=2 * BUDGET.epochs)}
    rows = [*small, *(with_cell(row, **longer) for row in small)]
    return _html(rows)


def _html(rows: list[Row], suite: Suite = SUITE) -> str:
    return to_html(leaderboard(rows, suite=suite, teachers=[teacher()]), command="nox -s report")
