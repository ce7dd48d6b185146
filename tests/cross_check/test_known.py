"""Known disagreements: ours is what is derived by hand, theirs is still what it was."""

import pytest

from tests.cross_check import report
from tests.cross_check.known import Known

KNOWN = {f"{tool}: {item.name}": item for tool, known in report.KNOWN.items() for item in known}
ANSWERED = {name: item for name, item in KNOWN.items() if not isinstance(item.says, type)}


@pytest.mark.parametrize(
    "item", [item for item in KNOWN.values() if item.ours], ids=lambda item: item.name
)
def test_our_meter_counts_what_is_derived_by_hand(item: Known) -> None:
    assert item.ours is not None
    assert item.ours() == item.truth


@pytest.mark.parametrize("item", ANSWERED.values(), ids=ANSWERED)
def test_the_tool_is_wrong_for_the_reason_stated(item: Known) -> None:
    assert item.theirs() == item.says


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(
            item,
            id=name,
            marks=pytest.mark.xfail(
                strict=True,
                raises=item.says if isinstance(item.says, type) else AssertionError,
                reason=item.reason,
            ),
        )
        for name, item in KNOWN.items()
    ],
)
def test_the_tool_gives_the_figure_that_is_derived_by_hand(item: Known) -> None:
    assert item.theirs() == item.truth
