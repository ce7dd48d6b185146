"""Every simulator obeys every law, and the laws can tell when one does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.neurons import conformance
from harness.neurons.conformance import (
    Case,
    Law,
    Outcome,
    conform,
    deviations_of,
    devices,
    laws,
)
from harness.neurons.spiking import SpikingNeuron

LAWS = {law.name: law for law in laws()}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_simulator_obeys(
    simulator: Backend, law: Law, device: str, request: pytest.FixtureRequest
) -> None:
    if reason := deviations_of(simulator.name).get(law.name):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    outcome = law(simulator, device=device)
    assert outcome.passed, outcome.detail
    assert outcome.cases > 0


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_decisions_and_membranes_are_the_oracles_at_every_length(
    simulator: Backend, steps: int
) -> None:
    cpu = torch.device("cpu")
    for spec, dtype in conformance.WITH_CONSTANTS:
        if simulator.unsupported(spec) is None:
            case = Case(backend=simulator, device=cpu, spec=spec, dtype=dtype)
            run = case.run(case.current(steps, 32, seed=steps))
            assert not case.decisions(run).wrong
            assert not case.within(run.membrane, run.path.v, run.path.v_error, of="v").wrong


# Simulators that are wrong in one way each. A law that lets them pass is no law.

Record = list[Tensor] | None


class Wrong(SpikingNeuron):
    """The reference's neuron, told ``misread`` and answering through ``change``."""

    def __init__(self, spec: NeuronSpec, misread: NeuronSpec, change: "Change") -> None:
        super().__init__(spec)
        neuron = reference().neuron(misread)
        self.change = change
        self.told = [neuron]  # a list: no part of this one's state
        self.seen: Tensor | None = None
        if hasattr(neuron, "w"):
            self.w = cast(nn.Parameter, neuron.w)

    def forward(self, current: Tensor, record: Record = None) -> Tensor:
        return self.change(self, current, record)

    def exact(self, current: Tensor, record: Record) -> Tensor:
        spikes: Tensor = self.told[0](current, record)
        return spikes


Change = Callable[[Wrong, Tensor, Record], Tensor]


@dataclass(frozen=True, kw_only=True)
class Flawed:
    """The reference with a flaw in what it is told, in the neuron, or when it is built."""

    misread: Callable[[NeuronSpec], NeuronSpec] = lambda spec: spec
    change: Change = Wrong.exact
    build: Callable[[nn.Module], nn.Module] = lambda neuron: neuron
    refusal: str | None = None
    name: str = "flawed"
    version: str = "1"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:  # noqa: ARG002  the contract's argument
        return self.refusal

    def neuron(self, spec: NeuronSpec, /) -> nn.Module:
        return self.build(Wrong(spec, self.misread(spec), self.change))


def reference() -> Backend:
    return cast(Backend, discovery.load("backends", "reference"))


def just_above(spec: NeuronSpec) -> NeuronSpec:
    """``v > v_threshold`` in float32, the type of the exact ties."""
    v_threshold = torch.tensor(spec.v_threshold)
    above = torch.nextafter(v_threshold, torch.tensor(torch.inf))
    return replace(spec, v_threshold=float(above))


def swapped(spec: NeuronSpec) -> NeuronSpec:
    return replace(spec, reset="zero" if spec.reset == "subtract" else "subtract")


def without_gain(spec: NeuronSpec) -> NeuronSpec:
    return replace(spec, scale_input=False)


def sharper(spec: NeuronSpec) -> NeuronSpec:
    return replace(spec, surrogate=replace(spec.surrogate, alpha=1.01 * spec.surrogate.alpha))


def attached(spec: NeuronSpec) -> NeuronSpec:
    return replace(spec, detach_reset=False)


def detached(spec: NeuronSpec) -> NeuronSpec:
    return replace(spec, detach_reset=True)


def leakier(spec: NeuronSpec) -> NeuronSpec:
    return replace(spec, tau=spec.tau * (1 - 1e-5))


def remembering(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    """Begin with the current that the last call of this shape ended with."""
    before, neuron.seen = neuron.seen, current.detach()[-1]
    if before is None or before.shape != current.shape[1:]:
        return neuron.exact(current, record)
    return neuron.exact(torch.cat([current[:1] + before, current[1:]]), record)


def deaf_to_nan(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current.nan_to_num(0.0), record)


def deaf_to_infinity(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(torch.where(current.isinf(), 0.0, current), record)


def eavesdropping(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current + 1e-3 * current.sum(1, keepdim=True), record)


def in_plain_memory(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current.contiguous(), record)


def by_storage(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    """Take the current for a plain one, whatever its strides."""
    stored = current.as_strided(current.shape, torch.empty(current.shape).stride())
    return neuron.exact(stored, record)


def in_half_precision(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current.bfloat16(), record).to(current.dtype)


def in_single_precision(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current.float(), record)


def writing_into_the_current(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    spikes = neuron.exact(current, record)
    current.detach().mul_(0.5)
    return spikes


def saturating(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current.clamp(-1e6, 1e6), record)


def flushing(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    smallest = torch.finfo(current.dtype).smallest_normal
    return neuron.exact(torch.where(current.abs() < smallest, 0.0, current), record)


def refusing_an_empty_batch(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    if current.numel() == 0:
        raise RuntimeError("the batch is empty")
    return neuron.exact(current, record)


def late_in_a_long_call(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    return neuron.exact(current if len(current) == 1 else current.roll(1, 0), record)


def recording_after_reset(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    spikes = neuron.exact(current, record)
    if record:
        record[0] = record[0] * (1 - spikes.detach().to(record[0].dtype))
    return spikes


def otherwise_when_recorded(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    spikes = neuron.exact(current, record)
    return spikes if record is None else spikes.roll(1, 0)


def without_tau_gradient(neuron: Wrong, current: Tensor, record: Record) -> Tensor:
    for w in neuron.parameters():
        w.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return neuron.exact(current, record)


def drawing(neuron: nn.Module) -> nn.Module:
    torch.rand(1)
    return neuron


def renamed(neuron: nn.Module) -> nn.Module:
    if hasattr(neuron, "w"):
        neuron.tau = neuron.w
        del neuron.w
    return neuron


FLAWS: tuple[tuple[str, Flawed, str], ...] = (
    ("> for >=", Flawed(misread=just_above), "exact_ties_fire"),
    ("swapped resets", Flawed(misread=swapped), "a_step_resets_once"),
    ("swapped resets", Flawed(misread=swapped), "spikes_are_the_oracles"),
    ("no input gain", Flawed(misread=without_gain), "spikes_are_the_oracles"),
    ("wrong alpha", Flawed(misread=sharper), "surrogate_is_its_formula"),
    ("wrong alpha", Flawed(misread=sharper), "gradients_are_the_oracles"),
    ("always attached", Flawed(misread=attached), "detaching_the_reset_is_obeyed"),
    ("always attached", Flawed(misread=attached), "gradients_are_the_oracles"),
    ("always detached", Flawed(misread=detached), "detaching_the_reset_is_obeyed"),
    ("tau 1e-5 off", Flawed(misread=leakier), "spikes_are_the_oracles_near_threshold"),
    ("tau 1e-5 off", Flawed(misread=leakier), "membrane_is_within_rounding"),
    ("tau 1e-5 off", Flawed(misread=leakier), "a_neuron_has_the_contracts_parts"),
    ("tau untrained", Flawed(change=without_tau_gradient), "tau_gradient_is_the_oracles"),
    ("memory", Flawed(change=remembering), "calls_share_no_memory"),
    ("NaN hidden", Flawed(change=deaf_to_nan), "nan_is_refused_or_carried"),
    ("inf hidden", Flawed(change=deaf_to_infinity), "infinite_currents_do_not_pass_for_silence"),
    ("samples mixed", Flawed(change=eavesdropping), "samples_do_not_hear_each_other"),
    ("layout lost", Flawed(change=in_plain_memory), "memory_layout_is_kept"),
    ("strides ignored", Flawed(change=by_storage), "strides_do_not_matter"),
    ("bfloat16 inside", Flawed(change=in_half_precision), "spikes_are_the_oracles"),
    ("dtype lost", Flawed(change=in_single_precision), "dtype_and_device_are_kept"),
    ("overwriting", Flawed(change=writing_into_the_current), "the_current_is_left_alone"),
    ("saturating", Flawed(change=saturating), "huge_currents_are_contained"),
    ("flushing", Flawed(change=flushing), "subnormal_currents_are_kept"),
    ("no empty batch", Flawed(change=refusing_an_empty_batch), "an_empty_batch_passes_through"),
    ("late", Flawed(change=late_in_a_long_call), "one_step_is_the_first_of_many"),
    ("recorded late", Flawed(change=recording_after_reset), "membrane_is_within_rounding"),
    ("recording", Flawed(change=otherwise_when_recorded), "recording_changes_nothing"),
    ("random draw", Flawed(build=drawing), "a_neuron_has_the_contracts_parts"),
    ("w renamed", Flawed(build=renamed), "a_neuron_has_the_contracts_parts"),
    ("no refusal", Flawed(refusal="not today"), "a_neuron_has_the_contracts_parts"),
)


@pytest.mark.parametrize(
    ("flawed", "law"),
    [pytest.param(flawed, law, id=f"{flaw} - {law}") for flaw, flawed, law in FLAWS],
)
def test_a_flaw_breaks_the_law_it_touches(flawed: Flawed, law: str) -> None:
    outcome = LAWS[law](flawed)
    assert not outcome.passed
    assert outcome.detail


def test_every_law_is_broken_by_some_flaw() -> None:
    assert {law for _, _, law in FLAWS} == set(LAWS)


def test_a_third_partys_simulator_can_be_held_to_the_laws() -> None:
    outcomes = conform(Flawed())
    assert [outcome.name for outcome in outcomes] == list(LAWS) * len(devices())
    assert all(outcome.passed for outcome in outcomes)


def outcomes_of(
    flawed: Flawed, names: Sequence[str], monkeypatch: pytest.MonkeyPatch, **declared: str
) -> dict[str, Outcome]:
    monkeypatch.setattr(conformance, "laws", lambda: [LAWS[name] for name in names])
    return {outcome.name: outcome for outcome in conform(flawed, deviations=declared)}


def test_what_a_simulator_raises_is_the_outcome_of_that_law_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("exact_ties_fire", "an_empty_batch_passes_through", "a_step_resets_once")
    outcomes = outcomes_of(Flawed(change=refusing_an_empty_batch), names, monkeypatch)
    assert [outcome.passed for outcome in outcomes.values()] == [True, False, True]
    assert "the batch is empty" in outcomes["an_empty_batch_passes_through"].detail


def test_a_declared_deviation_passes_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("spikes_are_the_oracles", "membrane_is_within_rounding")
    reason = "its kernels know no gain"
    outcomes = outcomes_of(
        Flawed(misread=without_gain), names, monkeypatch, spikes_are_the_oracles=reason
    )
    assert [outcome.passed for outcome in outcomes.values()] == [True, False]
    assert reason in outcomes["spikes_are_the_oracles"].detail


def test_a_declared_deviation_that_no_longer_occurs_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("exact_ties_fire",)
    outcomes = outcomes_of(Flawed(), names, monkeypatch, exact_ties_fire="it once fired late")
    assert not outcomes["exact_ties_fire"].passed
    assert "it once fired late" in outcomes["exact_ties_fire"].detail


def test_a_deviation_from_no_law_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deviations.toml").write_text('exact_ties = "misspelt"\n')
    monkeypatch.setattr(discovery, "module_of", lambda *_: "late")
    monkeypatch.setattr(discovery, "source_of", lambda _: tmp_path / "__init__.py")
    with pytest.raises(SpecError, match="'exact_ties'"):
        deviations_of("late")


def test_what_is_unsupported_is_judged_by_no_law() -> None:
    @dataclass(frozen=True, kw_only=True)
    class OnlyIntegrates(Flawed):
        def unsupported(self, spec: NeuronSpec, /) -> str | None:
            return None if spec.kind == "if" else "it cannot leak"

        def neuron(self, spec: NeuronSpec, /) -> nn.Module:
            if reason := self.unsupported(spec):
                raise UnsupportedError(reason)
            return super().neuron(spec)

    none = LAWS["tau_gradient_is_the_oracles"](OnlyIntegrates())
    assert none.passed
    assert none.cases == 0
    assert none.line().startswith("none")
    assert "no case: it cannot leak" in none.line()
    few, all_ = LAWS["exact_ties_fire"](OnlyIntegrates()), LAWS["exact_ties_fire"](Flawed())
    assert few.passed
    assert few.cases == all_.cases / 5  # one kind of the five in the grid


def test_a_law_that_judged_nothing_of_what_is_supported_does_not_pass() -> None:
    law = Law(name="idle", cases=conformance.PLAIN, judge=lambda _: iter(()))
    outcome = law(Flawed())
    assert not outcome.passed
    assert outcome.line().startswith("FAIL")
    assert "no case: nothing was compared" in outcome.detail


def test_what_a_neuron_has_and_should_have_are_both_told() -> None:
    law = LAWS["a_neuron_has_the_contracts_parts"]
    assert "expected ['w'], got ['tau']" in law(Flawed(build=renamed)).detail
    assert "expected False, got True" in law(Flawed(build=drawing)).detail


def test_random_currents_excuse_less_than_one_decision_in_a_thousand(simulator: Backend) -> None:
    outcome = LAWS["spikes_are_the_oracles"](simulator)
    assert outcome.excused < outcome.cases / 1000


def test_currents_aimed_at_the_threshold_leave_most_decisions_judged(simulator: Backend) -> None:
    outcome = LAWS["spikes_are_the_oracles_near_threshold"](simulator)
    assert 0 < outcome.excused < outcome.cases / 3


def test_a_line_of_the_table_says_what_was_measured() -> None:
    outcome = Outcome(
        name="a_law",
        passed=False,
        error=0.25,
        bound=0.125,
        cases=7,
        excused=2,
        detail="it broke",
    )
    for part in ("FAIL", "a_law", "2.50e-01 of 1.25e-01", "7 cases", "2 excused", "it broke"):
        assert part in outcome.line()
    assert outcome.columns()["bound"] == 0.125
    assert replace(outcome, error=float("nan")).columns()["error"] is None
