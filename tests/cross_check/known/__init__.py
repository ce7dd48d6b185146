"""Where other meters are known to be wrong, a file a tool.

Each is a strict expected failure: once it no longer fails the session is red, and the
entry goes. The second table of docs/metering.md is made of them.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Known:
    """A figure that is derived by hand and that another tool does not give.

    Attributes:
        name: What is counted, in what.
        truth: The figure; its derivation stands beside it.
        says: What the tool gives instead, so that it fails for the reason stated.
        theirs: Asks the tool.
        reason: Why, with the public issue if there is one.
        ours: Asks our meter; None where no count is in question.
    """

    name: str
    truth: float
    says: float | type[Exception]
    theirs: Callable[[], float]
    reason: str
    ours: Callable[[], float] | None = None
