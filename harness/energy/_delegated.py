"""Mechanism models that SpikingJelly 2.0 computes from a running network, not from counts.

Not rewritten: SpikingJelly holds them to 786 and 216 cases of the original sources.
They map shapes onto a chip, so a ledger cannot feed them; hand them the network itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from harness.contracts.ledger import Ledger
from harness.energy._bill import Baseline, Bill, missing

Estimate = Callable[[Any, Any], Any]  # (network, stimulus) -> SpikingJelly's report


@dataclass(frozen=True, kw_only=True)
class Delegated:
    """A model that SpikingJelly computes.

    Attributes:
        title: Whose it is.
        file: Of this folder; names the function to call instead.
    """

    title: str
    file: str

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:  # noqa: ARG002  counts do not do
        """Return a missing bill: the model needs the network, not its counts."""
        reason = f"needs the network itself: call harness.energy.{self.file}.bill_network"
        return missing(name, reason, source=self.title)

    def baseline_pj(
        self,
        ledger: Ledger,  # noqa: ARG002  counts do not do
        kind: Baseline,  # noqa: ARG002
        /,
        *,
        artificial: Ledger | None,  # noqa: ARG002
    ) -> float | None:
        """Return None; bill the artificial network itself instead."""
        return None


def estimated(
    estimate: Callable[[], Estimate],
    network: Any,
    stimulus: Any,
    *,
    name: str,
    samples: int,
) -> Bill:
    """Return SpikingJelly's figure for one sample, or why there is none.

    Args:
        estimate: Imports SpikingJelly's function; called only if it is installed.
        network: Of SpikingJelly's own neurons, reset and in evaluation mode.
        stimulus: What ``network`` is called with, once.
        name: Of the model.
        samples: In ``stimulus``.
    """
    if find_spec("spikingjelly") is None:
        return missing(name, "spikingjelly is not installed", source="SpikingJelly 2.0")
    try:
        report = estimate()(network, stimulus)
    except ValueError as error:  # how SpikingJelly refuses what it cannot map
        return missing(name, f"SpikingJelly refuses: {error}", source="SpikingJelly 2.0")
    about = report.model_info
    return Bill(
        model=name,
        source=", ".join(about.source_urls),
        by_category=_per_sample(_parts(report), samples),
        unpriced=tuple(report.warnings),
        assumptions=(
            f"{about.model_id} ({about.fidelity}), {about.technology_nm} nm, {about.precision}",
            f"covers {about.scope}",
        ),
    )


def _parts(report: Any) -> Mapping[str, float]:
    if hasattr(report, "breakdown_pj"):
        parts: Mapping[str, float] = report.breakdown_pj
        return parts
    return {"compute": report.energy_compute_pj, "memory": report.energy_memory_pj}


def _per_sample(parts: Mapping[str, float], samples: int) -> dict[str, float]:
    return {name: pj / samples for name, pj in parts.items()}
