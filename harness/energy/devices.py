"""Published prices of an event on a chip, conflicting citations side by side.

Which of two readings of Loihi's table is right is not ours to settle: every citation is a
model of its own. Of most chips (TrueNorth, SENECA, ODIN, Tianjic, ...) a synaptic event has
a published price and a neuron's step has none, so no sample on them has a total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.contracts.ledger import Ledger
from harness.energy._bill import Baseline, Bill, Evidence, Grade, Price, gaps, occurs

_KERAS_SPIKING = "keras-spiking"


def _event(
    value: float,
    source: str,
    *,
    grade: Grade = "assumed",
    evidence: Evidence = "secondary",
) -> Price:
    return Price(value=value, unit="pJ/event", source=source, grade=grade, evidence=evidence)


@dataclass(frozen=True, kw_only=True)
class Device:
    """What one citation says of one chip.

    Attributes:
        title: The chip.
        synapse: An event at a synapse.
        update: A neuron's step without a spike.
        spiking_update: A neuron's step with a spike; as ``update`` if None.
        multiplies: Whether a multiply-accumulate costs the same as an event.
        note: What a reader must know.
    """

    title: str
    synapse: Price
    update: Price
    spiking_update: Price | None = None
    multiplies: bool = False
    note: str = ""

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample costs on the chip. Static power is *not* included."""
        accumulates = [ledger.mean(item) for item in ("ac", "and_ac")]
        events = sum(count for count in accumulates if count is not None)
        macs = ledger.mean("mac", encode="cached")
        by_category = {"synapses": events * self.synapse.value}
        if self.multiplies:
            by_category["mac"] = 0.0 if macs is None else macs * self.synapse.value
        unpriced = ["ac was not counted"] if accumulates[0] is None else []
        if occurs(macs) and not self.multiplies:
            many = f"{np.mean(macs):g} multiply-accumulates a sample"
            unpriced.append(f"{many}, which the chip cannot do")
        neurons = self._neurons_pj(ledger)
        if neurons is None:
            unpriced.append("neuron updates")
        else:
            by_category["neurons"] = neurons
        return Bill(
            model=name,
            source=self.synapse.source,
            by_category=by_category,
            unpriced=(*unpriced, *gaps(ledger)),
            assumptions=self._assumptions(),
        )

    def baseline_pj(
        self,
        ledger: Ledger,  # noqa: ARG002  no chip here runs artificial networks
        kind: Baseline,  # noqa: ARG002
        /,
        *,
        artificial: Ledger | None,  # noqa: ARG002
    ) -> float | None:
        """Return None: the artificial network runs on other chips."""
        return None

    def _neurons_pj(self, ledger: Ledger) -> float | None:
        """Return the neurons' share; a neuron compares once a step."""
        steps, spikes = ledger.mean("compare"), ledger.mean("spikes")
        if steps is None or spikes is None:
            return None
        active = self.update if self.spiking_update is None else self.spiking_update
        return (steps - spikes) * self.update.value + spikes * active.value

    def _assumptions(self) -> tuple[str, ...]:
        said = f"{self.title}: {self.synapse.value:g} pJ a synaptic event, {self.synapse.grade}"
        notes = (self.note,) if self.note else ()
        return (said, *notes, "every comparison is one neuron update", "not included: static power")


MODELS: Mapping[str, Device] = {
    "loihi_davies_2018": Device(
        title="Loihi",
        synapse=_event(23.6, "Davies et al. 2018, table 2", grade="simulated"),
        update=_event(52.0, "Davies et al. 2018, table 2", grade="simulated", evidence="memory"),
        spiking_update=_event(
            81.0, "Davies et al. 2018, table 2", grade="simulated", evidence="memory"
        ),
        note="the table is captioned pre-silicon; it is often quoted as measured",
    ),
    "loihi_keras_spiking": Device(
        title="Loihi",
        synapse=_event(27.1, _KERAS_SPIKING, grade="simulated", evidence="read"),
        update=_event(81.0, _KERAS_SPIKING, grade="simulated", evidence="read"),
        note="23.6 + 3.5 pJ of the same pre-silicon table",
    ),
    "spinnaker_hoppner_2019": Device(
        title="SpiNNaker",
        synapse=_event(13_300.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
        update=_event(26_000.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
    ),
    "spinnaker_2_hoppner_2019": Device(
        title="SpiNNaker 2",
        synapse=_event(450.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
        update=_event(2_190.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
    ),
    **{
        name: Device(
            title=title,
            synapse=_event(value, f"Degnan et al. 2015 in {_KERAS_SPIKING}"),
            update=_event(value, f"Degnan et al. 2015 in {_KERAS_SPIKING}"),
            multiplies=True,
        )
        for name, title, value in (
            ("cpu_degnan_2015", "CPU", 8_600.0),
            ("gpu_degnan_2015", "GPU", 300.0),
            ("arm_degnan_2015", "ARM", 900.0),
        )
    },
}
