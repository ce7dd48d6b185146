"""An exact meter of any torch model: ``measure(model, stimulus)``.

Importing this package imports no torch; using ``measure`` does.
"""

from typing import TYPE_CHECKING, Any

from harness.contracts.ledger import Ledger, Policy

if TYPE_CHECKING:
    from harness.meter.run import measure

__all__ = ["Ledger", "Policy", "measure"]


def __getattr__(name: str) -> Any:
    if name != "measure":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from harness.meter.run import measure

    return measure
