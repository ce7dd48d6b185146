"""Neurons of trained leak and threshold, on every simulator, against numbers worked out by hand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec, Surrogate
from harness.meter import measure
from harness.neurons.conformance import conform
from harness.training import Student, put_in_slots, slots
from harness.training.diet import (
    DECIDES,
    DietNeuron,
    diet_neuron,
    diet_neurons,
    find_thresholds,
)
from harness.training.rate import rate_pass
from tests.methods.small import Kind, student

BACKENDS = ["reference", "norse", "spikingjelly"]
TRIANGLE = Surrogate(name="triangle", alpha=1.0)
ROUNDING = 1e-12  # sums of some hundred float64 of size 1, in another order


def _layer(
    backend: str,
    *,
    leak: float = 1.0,
    threshold: float = 1.0,
    height: float = 0.3,
) -> DietNeuron:
    simulator = cast(Backend, discovery.load("backends", backend))
    layer = DietNeuron(simulator.neuron(DECIDES), height=height).double()
    with torch.no_grad():
        layer.leak.fill_(leak)
        layer.threshold.fill_(threshold)
    return layer


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_membrane_leaks_and_is_reset_as_worked_out_by_hand(backend: str) -> None:
    layer = _layer(backend, leak=0.5, threshold=2.0)
    record: list[Tensor] = []
    current = torch.tensor([3.0, 1.0, 2.0, -1.0]).double().view(4, 1, 1)
    spikes = layer(current, record)
    assert spikes.flatten().tolist() == [1, 0, 1, 0]
    # Reset at once 3 becomes 1, of which a half is left: 0.5 + 1; then 0.75 + 2 fires and
    # becomes 0.75: 0.375 - 1.
    assert record[0].flatten().tolist() == [3.0, 1.5, 2.75, -0.625]
    assert torch.equal(layer(current), spikes)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_fires_at_its_threshold_and_not_just_below(backend: str, dtype: torch.dtype) -> None:
    for threshold in (torch.rand(50, generator=torch.Generator().manual_seed(0)) * 3).tolist():
        layer = _layer(backend, threshold=threshold).to(dtype)
        exact = layer.threshold.detach()
        below = torch.nextafter(exact, torch.zeros_like(exact))
        assert layer(torch.stack([exact, below]).view(1, 2)).tolist() == [[1, 0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_threshold_is_not_rounded_with_the_currents(backend: str) -> None:
    # 1 + 1/256 is no bfloat16: rounded, 1 would reach it; and a membrane of such would stop
    # at 256, where 1 is less than half of its last digit's unit.
    layer = _layer(backend, threshold=1 + 1 / 256).float()
    assert layer(torch.ones(1, 1, 1, dtype=torch.bfloat16)).item() == 0
    layer = _layer(backend, threshold=300.0).float()
    spikes = layer(torch.ones(300, 1, 1, dtype=torch.bfloat16))
    assert spikes.dtype == torch.bfloat16
    assert spikes.flatten().nonzero().tolist() == [[299]]


@dataclass(frozen=True)
class _Adjoint:
    """The gradients of ``sum(spikes c + membrane m)``, backwards in time and by hand.

    With ``u = v/threshold``, ``h = height max(0, 1 - |u - 1|)`` and ``a = dL/dv``,

        a[t] = m[t] + c[t] h[t]/threshold + leak a[t+1]
        dL/dx[t] = a[t]
        dL/dleak = sum a[t+1] (v[t] - threshold s[t])
        dL/dthreshold = -sum a[t+1] leak s[t] - sum c[t] h[t] u[t]/threshold

    of which a layer has the last two divided by the root of how many neurons and steps share them.
    """

    layer: DietNeuron
    v: Tensor  # [T, N, ...]
    spikes: Tensor  # [T, N, ...]

    def gradients(self, c: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return those by current ``[T, N, ...]``, leak and threshold."""
        leak, threshold = self.layer.leak.item(), self.layer.threshold.item()
        u = self.v / threshold
        h = self.layer.height * (1 - (u - 1).abs()).clamp_min(0)
        a = m + c * h / threshold
        for now, after in reversed(list(pairwise(range(len(a))))):
            a[now] += leak * a[after]
        left, reset = self.v - threshold * self.spikes, leak * self.spikes
        by_leak = (a[1:] * left[:-1]).sum()
        by_threshold = -(a[1:] * reset[:-1]).sum() - (c * h * u / threshold).sum()
        return a, by_leak, by_threshold


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("leak", "threshold", "height"), [(1.0, 1.0, 0.3), (0.8, 0.7, 0.3), (1.1, 2.3, 1.0)]
)
def test_gradients_of_current_leak_and_threshold_are_the_adjoints(
    backend: str, leak: float, threshold: float, height: float
) -> None:
    layer = _layer(backend, leak=leak, threshold=threshold, height=height)
    # 6 steps of 4 neurons share both weights, whatever the number of samples.
    current = (threshold * (0.5 + _random(6, 10, 2, 2))).requires_grad_()
    record: list[Tensor] = []
    spikes = layer(current, record)
    c, m = _random(6, 10, 2, 2, seed=1), _random(6, 10, 2, 2, seed=2)
    loss = (spikes * c).sum() + (record[0] * m).sum()
    by_current, *calmed = torch.autograd.grad(loss, [current, layer.leak, layer.threshold])
    found = [by_current, *(24**0.5 * gradient for gradient in calmed)]
    adjoint = _Adjoint(layer, record[0].detach(), spikes.detach())
    assert 0.2 < spikes.mean().item() < 0.8
    for ours, exact in zip(found, adjoint.gradients(c, m), strict=True):
        assert torch.allclose(ours, exact, rtol=0, atol=100 * ROUNDING)


def test_every_simulator_makes_the_same_spikes_and_gradients() -> None:
    current = (0.4 + _random(5, 3, 4, 4)).requires_grad_()
    answers = []
    for backend in BACKENDS:
        layer = _layer(backend, leak=0.9, threshold=0.8)
        spikes = layer(current)
        weights = _random(*spikes.shape, seed=3)
        inputs = [current, layer.leak, layer.threshold]
        answers.append([spikes, *torch.autograd.grad(spikes, inputs, weights)])
    for first, other in pairwise(answers):
        assert torch.equal(first[0], other[0])
        for ours, theirs in zip(first, other, strict=True):
            assert torch.allclose(ours, theirs, rtol=0, atol=ROUNDING)


@dataclass(frozen=True, kw_only=True)
class _AsIntegrator:
    """Such neurons in the hands of the contract's laws: at their start they are integrators."""

    simulator: Backend
    name: str = "diet"
    version: str = "1"

    def unsupported(self, spec: NeuronSpec, /) -> str | None:
        integrates = spec.kind == "if" and spec.reset == "subtract" and spec.v_threshold == 1
        if integrates and spec.detach_reset and spec.surrogate in {Surrogate(), TRIANGLE}:
            return None
        return "its leak is 1, its threshold 1, its reset detached and its surrogate a triangle"

    def neuron(self, spec: NeuronSpec, /) -> nn.Module:
        if reason := self.unsupported(spec):
            raise UnsupportedError(reason)
        return DietNeuron(self.simulator.neuron(DECIDES), height=1.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_at_its_start_it_obeys_the_contracts_laws(backend: str) -> None:
    simulator = cast(Backend, discovery.load("backends", backend))
    outcomes = {outcome.name: outcome for outcome in conform(_AsIntegrator(simulator=simulator))}
    # It has two weights more than an integrator, and is none by its class.
    assert not outcomes.pop("a_neuron_has_the_contracts_parts").passed
    assert not [outcome.line() for outcome in outcomes.values() if not outcome.passed]
    assert {name for name, outcome in outcomes.items() if not outcome.cases} == {
        "detaching_the_reset_is_obeyed",
        "tau_gradient_is_the_oracles",
        "huge_currents_are_contained",
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_layout_is_kept_and_nan_is_carried_whatever_leak_and_threshold(backend: str) -> None:
    layer = _layer(backend, leak=0.9, threshold=0.7)
    frames = _random(3 * 2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    current = torch.unflatten(frames, 0, (3, 2)).requires_grad_()
    spikes = layer(current)
    (gradient,) = torch.autograd.grad(spikes, current, torch.ones_like(current))
    for step in (*spikes, *gradient):
        assert step.is_contiguous(memory_format=torch.channels_last)
    spoilt = current.detach().clone()
    spoilt[1, 0, 0, 0, 0] = torch.nan
    answer = layer(spoilt)
    assert answer[1:, 0, 0, 0, 0].isnan().all()
    assert answer.isnan().sum() == 2


def _converted(kind: Kind = "vgg", *, backend: str = "reference", timesteps: int = 3) -> Student:
    learner = student(kind, backend=backend, timesteps=timesteps)
    put_in_slots(learner, lambda: diet_neuron(learner))
    return learner


def test_a_layer_starts_with_the_authors_constants_and_keeps_both_in_the_state() -> None:
    learner = _converted()
    (name, *_), (layer, *_) = slots(learner), diet_neurons(learner.network)
    state = learner.network.state_dict()
    assert [state[f"{name}.leak"].item(), state[f"{name}.threshold"].item()] == [1, 1]
    assert layer.height == 0.3
    assert [key for key, _ in layer.named_parameters()] == ["leak", "threshold"]
    assert len(diet_neurons(learner.network)) == len(slots(learner))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_meter_counts_leak_charge_decision_and_reset(backend: str) -> None:
    learner = _converted("resnet", backend=backend)
    learner.network.eval()
    for layer in diet_neurons(learner.network):
        nn.init.constant_(layer.threshold, 0.3)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = measure(learner.network, images, call=lambda x: learner(x).logits)
    assert found.coverage == 1
    layers = [layer for layer in found.layers.values() if layer.kind == "neuron"]
    assert len(layers) == len(slots(learner))
    assert sum(layer.total.spikes for layer in layers) > 0
    for layer in layers:
        steps = 3 * 2 * layer.neurons
        counted = (layer.total.neuron_add, layer.total.neuron_mul, layer.total.compare)
        assert counted == (steps, steps, steps)
        assert layer.total.reset == layer.total.spikes
        assert layer.operand in {"binary", "silent"}
    # Spikes are ones: what reads them adds weights, and the first layer alone multiplies.
    first, *_ = found.layers.values()
    assert found.total.mac == first.total.mac


def test_rates_refuse_neurons_whose_eligibility_is_not_known() -> None:
    learner = _converted()
    learner.network.train()
    with pytest.raises(UnsupportedError, match="DietNeuron is not known"):
        rate_pass(learner.network, torch.zeros(2, 1, 8, 8), 3)


class _Chain(nn.Module):
    """Two layers of as many neurons as inputs; a spike of the first is a current of 8."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.second = activation(), activation()
        self.weight = nn.Parameter(torch.tensor(8.0))

    def forward(self, stimulus: Tensor, _timesteps: int = 1, _taps: Sequence[str] = ()) -> Output:
        return Output(logits=self.second(self.weight * self.first(stimulus.squeeze((1, 2)))))


def _chain() -> Student:
    learner = Student(network=nn.Identity(), timesteps=2, twin=_Chain, neuron=student().neuron)
    return Student(network=_Chain(lambda: diet_neuron(learner)), timesteps=2, twin=_Chain)


# Eleven currents a step: their median is the sixth, 5 in the first step and 10 in the second.
CURRENTS = torch.stack([torch.arange(11.0), 2 * torch.arange(11.0)]).unsqueeze(1)


def test_thresholds_are_shares_of_the_largest_quantile_over_time() -> None:
    learner = _chain()
    find_thresholds(learner, CURRENTS[:, None, None], quantile=0.5, share=0.25)
    first, second = diet_neurons(learner.network)
    assert first.threshold.item() == 10 / 4
    # At threshold 10 the last neuron of the first layer alone fires in the first step. In the
    # second their membranes are 0, 3, .. 27 and 20, so 7 of 11 fire, and 8 is the median.
    assert second.threshold.item() == 8 / 4
    assert not first._forward_pre_hooks
    assert learner.network.training


def test_a_layer_that_nothing_excites_keeps_its_threshold() -> None:
    learner = _chain()
    nn.init.constant_(diet_neurons(learner.network)[1].threshold, 3.0)
    find_thresholds(learner, -CURRENTS[:, None, None], quantile=0.5, share=0.25)
    first, second = diet_neurons(learner.network)
    # The largest median of the negative currents is negative; of no spikes it is 0.
    assert [first.threshold.item(), second.threshold.item()] == [1, 3]


def test_no_hook_is_left_behind_by_a_stimulus_that_is_refused() -> None:
    learner = _converted()
    with pytest.raises(Exception, match="stimulus"):
        find_thresholds(learner, torch.zeros(1, 1, 3, 3), quantile=0.5, share=0.25)
    assert not any(layer._forward_pre_hooks for layer in diet_neurons(learner.network))
