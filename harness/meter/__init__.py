"""An exact meter of any torch model: ``measure(model, stimulus)``."""

from harness.contracts.ledger import Ledger, Policy
from harness.meter.run import measure

__all__ = ["Ledger", "Policy", "measure"]
