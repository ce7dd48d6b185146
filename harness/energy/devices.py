"""Published prices of an event on a chip, conflicting citations side by side.

Factors of 10 (TrueNorth), 295 (SpiNNaker) and 45 (SpiNNaker 2) between citations of one
chip are not ours to settle: every citation is a model of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.contracts.ledger import Ledger
from harness.energy._bill import Baseline, Bill, Evidence, Grade, Price, gaps, missing

_SENECA = "SENECA, table 3 (PMC10326429), which mixes measured and simulated figures"
_KERAS_SPIKING = "keras-spiking"
_SANA_FE = "SANA-FE, calibrated architecture file"


def _event(
    value: float,
    source: str,
    *,
    grade: Grade = "assumed",
    evidence: Evidence = "secondary",
    technology_nm: int | None = None,
) -> Price:
    return Price(
        value=value,
        unit="pJ/event",
        source=source,
        grade=grade,
        evidence=evidence,
        technology_nm=technology_nm,
    )


@dataclass(frozen=True, kw_only=True)
class Device:
    """What one citation says of one chip.

    Attributes:
        title: The chip.
        synapse: An event at a synapse; None if nobody publishes it.
        update: A neuron's step without a spike.
        spiking_update: A neuron's step with a spike; as ``update`` if None.
        multiplies: Whether a multiply-accumulate costs the same as an event.
        lacks: What the citation prices and a ledger does not count, a phrase each.
        note: What a reader must know.
    """

    title: str
    synapse: Price | None
    update: Price | None = None
    spiking_update: Price | None = None
    multiplies: bool = False
    lacks: tuple[str, ...] = ()
    note: str = ""

    def bill(self, ledger: Ledger, /, *, name: str) -> Bill:
        """Return what one sample costs on the chip. Static power is *not* included."""
        if self.synapse is None:
            reason = f"no price of a synaptic event is published; {self.note}"
            return missing(name, reason, source=self.title)
        accumulates = [ledger.mean(item) for item in ("ac", "and_ac")]
        events = sum(count for count in accumulates if count is not None)
        macs = ledger.mean("mac", encode="cached") or 0.0
        by_category = {"synapses": events * self.synapse.value}
        if self.multiplies:
            by_category["mac"] = macs * self.synapse.value
        unpriced = ["ac was not counted"] if accumulates[0] is None else []
        if macs and not self.multiplies:
            unpriced.append(f"{macs:g} multiply-accumulates a sample, which the chip cannot do")
        neurons = self._neurons_pj(ledger)
        if neurons is None:
            unpriced.append("neuron updates")
        else:
            by_category["neurons"] = neurons
        return Bill(
            model=name,
            source=self.synapse.source,
            by_category=by_category,
            unpriced=(*unpriced, *self.lacks, *gaps(ledger)),
            assumptions=self._assumptions(self.synapse),
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
        if self.update is None or steps is None or spikes is None:
            return None
        active = self.update if self.spiking_update is None else self.spiking_update
        return (steps - spikes) * self.update.value + spikes * active.value

    def _assumptions(self, synapse: Price) -> tuple[str, ...]:
        said = f"{self.title}: {synapse.value:g} pJ a synaptic event, {synapse.grade}"
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
    **{
        f"loihi_sana_fe_{kind}": Device(
            title=f"Loihi, {kind} connections",
            synapse=_event(value, _SANA_FE, grade="simulated", evidence="read"),
            update=_event(51.2 + 21.6, _SANA_FE, grade="simulated", evidence="read"),
            spiking_update=_event(51.2 + 21.6 + 69.3, _SANA_FE, grade="simulated", evidence="read"),
            lacks=("messages of 111 pJ and hops of 3.0 to 4.2 pJ, which need a placement",),
        )
        for kind, value in (("convolution", 24.0), ("sparse", 33.6), ("dense", 35.5))
    },
    "loihi_2": Device(title="Loihi 2", synapse=None, note="SENECA's table 3 says NA"),
    "truenorth_merolla_2014": Device(
        title="TrueNorth",
        synapse=_event(26.0, "Merolla et al. 2014, silicon", grade="measured"),
    ),
    "truenorth_akopyan_2015": Device(
        title="TrueNorth", synapse=_event(2.5, f"Akopyan et al. 2015 in {_SENECA}")
    ),
    "spinnaker_seneca": Device(title="SpiNNaker", synapse=_event(45.0, _SENECA)),
    "spinnaker_hoppner_2019": Device(
        title="SpiNNaker",
        synapse=_event(13_300.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
        update=_event(26_000.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
    ),
    "spinnaker_2_hoppner_2021": Device(
        title="SpiNNaker 2", synapse=_event(10.0, f"Hoppner et al. 2021 in {_SENECA}")
    ),
    "spinnaker_2_hoppner_2019": Device(
        title="SpiNNaker 2",
        synapse=_event(450.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
        update=_event(2_190.0, f"Hoppner et al. 2019 in {_KERAS_SPIKING}"),
    ),
    **{
        name: Device(title=title, synapse=_event(value, _SENECA))
        for name, title, value in (
            ("odin", "ODIN", 12.7),
            ("reckon", "ReckOn", 5.3),
            ("ubrain", "uBrain", 26.0),
            ("tianjic", "Tianjic", 1.54),
            ("neuronflow", "NeuronFlow", 20.0),
            ("seneca", "SENECA", 2.8),
        )
    },
    "anp_i": Device(
        title="ANP-I",
        synapse=_event(1.5, "ISSCC 2023, 22.6", grade="measured", technology_nm=28),
    ),
    "speck_xylo": Device(
        title="Speck and Xylo",
        synapse=None,
        note="Xylo Audio 2 measured 6.6 uJ an inference for a whole task (2406.15112)",
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
