"""Rate-based backpropagation against backpropagation through time, and by hand."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model, Output
from harness.contracts.neuron import Kind, NeuronSpec, Reset, Surrogate, SurrogateName
from harness.neurons.compiled import can_compile, compiled
from harness.neurons.spiking import SpikingNeuron
from harness.training import Student, descend, rate
from harness.training.rate import _NormOfRates, by_rate, eligibility, rate_pass, slowed
from suites.models._resnet import ResNet
from suites.models._signal import hold, through
from tests.live_bytes import LiveBytes
from tests.methods.small import (
    CLASSES,
    EVENTS,
    SAMPLES,
    STATIC,
    TOPOLOGIES,
    but,
    lesson,
    student,
    teacher,
)

ROUNDING = 1e-12  # sums of some hundred float64 of size 1, in another order
BACKENDS = ["reference", "norse", "spikingjelly"]
NETWORKS = {
    **TOPOLOGIES,
    "sew": ResNet(blocks=(1, 1), widths=(4, 8), style="sew"),
    "ms": ResNet(blocks=(1, 1), widths=(4, 8), style="ms", hidden=5),
}
TRIANGLE = Surrogate(name="triangle", alpha=1.0)
SPECS = [
    NeuronSpec(),
    NeuronSpec(kind="if", reset="subtract", v_threshold=0.75),
    NeuronSpec(kind="plif", tau=1.5, reset="subtract", detach_reset=False, scale_input=False),
]


def _network(topology: str, spec: NeuronSpec, shape: tuple[int, int, int] = STATIC) -> nn.Module:
    simulator = cast(Backend, discovery.load("backends", "reference"))
    torch.manual_seed(0)
    built = NETWORKS[topology].build(
        lambda: simulator.neuron(spec), input=Image(shape=shape), output=Classes(CLASSES)
    )
    return built.double().train()


def _stimulus(shape: tuple[int, int, int], timesteps: int) -> Tensor:
    frames = (timesteps,) if shape == EVENTS else ()
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(*frames, SAMPLES, *shape, dtype=torch.float64, generator=generator)


def _gradients(network: nn.Module, output: Output) -> dict[str, Tensor]:
    labels = torch.arange(SAMPLES) % CLASSES
    error = cross_entropy(output.logits.mean(0), labels)
    error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    found = {}
    for name, weight in network.named_parameters():
        assert weight.grad is not None
        found[name] = weight.grad
    return found


class OneLayer(nn.Module):
    """A convolution, a norm and neurons under a constant current, read by a linear head."""

    def __init__(self, backend: str, spec: NeuronSpec) -> None:
        super().__init__()
        simulator = cast(Backend, discovery.load("backends", backend))
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.neuron = simulator.neuron(spec)
        self.fc = nn.Linear(3 * 36, CLASSES)

    def forward(self, stimulus: Tensor, timesteps: int, taps: Sequence[str] = ()) -> Output:
        assert not taps
        current = through(stimulus.unsqueeze(0), self.conv, self.norm)
        spikes = self.neuron(hold(current, timesteps))
        return Output(logits=through(spikes, nn.Flatten(), self.fc))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("surrogate", get_args(SurrogateName))
def test_one_layer_under_a_constant_current_has_the_gradient_through_time(
    backend: str, surrogate: SurrogateName
) -> None:
    resets = product(get_args(Kind), get_args(Reset), (True, False), (True, False))
    for kind, reset, detach_reset, scale_input in resets:
        spec = NeuronSpec(
            kind=kind,
            tau=1.6,
            v_threshold=0.7,
            reset=reset,
            detach_reset=detach_reset,
            scale_input=scale_input,
            surrogate=Surrogate(name=surrogate, alpha=1.5),
        )
        by_rates, through_time = (OneLayer(backend, spec).double() for _ in range(2))
        stimulus = _stimulus(STATIC, 5)
        found = _gradients(by_rates, rate_pass(by_rates, stimulus, 5))
        expected = _gradients(through_time, through_time(stimulus, 5))
        assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
        for name, gradient in expected.items():
            assert torch.allclose(found[name], gradient, rtol=0, atol=ROUNDING), (spec, name)


# An integrator under a current of 3/4, threshold 1, triangle g = max(0, 1 - |v - 1|):
#   t  v, reset by subtraction   g     s      v, reset to zero   g     s
#   1  3/4                       3/4   0      3/4                3/4   0
#   2  3/2                       1/2   1      3/2                1/2   1
#   3  1/2 + 3/4 = 5/4           3/4   1      3/4                3/4   0
# du/dv in steps 1 and 2, and eps = 1, 1 + eps du/dv, ...:
#   subtract, detached   1, 1                             eps 1, 2, 3
#   subtract             1 - g = 1/4, 1/2                 eps 1, 5/4, 13/8
#   zero, detached       1 - s = 1, 0                     eps 1, 2, 1
#   zero                 1 - s - v g = 7/16, -3/4         eps 1, 23/16, -5/64
@pytest.mark.parametrize(
    ("reset", "detach_reset", "eps"),
    [
        ("subtract", True, (1, 2, 3)),
        ("subtract", False, (1, 5 / 4, 13 / 8)),
        ("zero", True, (1, 2, 1)),
        ("zero", False, (1, 23 / 16, -5 / 64)),
    ],
)
def test_the_eligibility_of_an_integrator_is_as_by_hand(
    reset: Reset, *, detach_reset: bool, eps: tuple[float, float, float]
) -> None:
    spec = NeuronSpec(kind="if", reset=reset, detach_reset=detach_reset, surrogate=TRIANGLE)
    found = _eligibility_under(3 / 4, spec, timesteps=3)
    expected = (3 / 4 * eps[0] + 1 / 2 * eps[1] + 3 / 4 * eps[2]) / 3
    assert found == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(
    ("scale_input", "current", "traces"),
    # tau = 4: eps[1] = b, eps[2] = b + 3/4 b. The membrane is 1/2, then 7/8, either way.
    [(True, 2.0, (1 / 4, 7 / 16)), (False, 0.5, (1, 7 / 4))],
)
def test_the_eligibility_leaks_and_scales_as_the_membrane_does(
    *, scale_input: bool, current: float, traces: tuple[float, float]
) -> None:
    spec = NeuronSpec(tau=4.0, scale_input=scale_input, surrogate=TRIANGLE)
    found = _eligibility_under(current, spec, timesteps=2)
    expected = (1 / 2 * traces[0] + 7 / 8 * traces[1]) / 2  # g = 1 - |v - 1|
    assert found == pytest.approx(expected, abs=ROUNDING)


def _eligibility_under(current: float, spec: NeuronSpec, *, timesteps: int) -> float:
    neuron = cast(Backend, discovery.load("backends", "reference")).neuron(spec)
    assert isinstance(neuron, SpikingNeuron)
    constant = torch.full((timesteps, 1), current, dtype=torch.float64)
    record: list[Tensor] = []
    spikes = neuron(constant, record)
    (by_current,) = eligibility(neuron, constant, record[0], spikes)
    return float(by_current.item())


@pytest.mark.parametrize("shape", [STATIC, EVENTS], ids=["static", "events"])
@pytest.mark.parametrize("spec", SPECS, ids=["lif", "if", "plif"])
@pytest.mark.parametrize("topology", NETWORKS)
def test_rates_of_one_step_have_the_gradient_through_time(
    topology: str, spec: NeuronSpec, shape: tuple[int, int, int]
) -> None:
    by_rates, through_time = (_network(topology, spec, shape) for _ in range(2))
    stimulus = _stimulus(shape, 1)
    found = _gradients(by_rates, rate_pass(by_rates, stimulus, 1))
    expected = _gradients(through_time, through_time(stimulus, 1))
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=0, atol=ROUNDING), name


@pytest.mark.parametrize("shape", [STATIC, EVENTS], ids=["static", "events"])
@pytest.mark.parametrize("spec", SPECS, ids=["lif", "if", "plif"])
@pytest.mark.parametrize("topology", NETWORKS)
def test_rates_have_the_values_of_the_spikes_and_the_gradient_of_the_head(
    topology: str, spec: NeuronSpec, shape: tuple[int, int, int]
) -> None:
    by_rates, through_time = (_network(topology, spec, shape) for _ in range(2))
    stimulus, taps = _stimulus(shape, 5), ("stem", "stage1", "penultimate")
    rates, spikes = rate_pass(by_rates, stimulus, 5, taps), through_time(stimulus, 5, taps)
    pairs = [(rates.logits, spikes.logits), *((rates.taps[n], spikes.taps[n]) for n in taps)]
    for ours, spike in pairs:
        assert ours.shape == (1, *spike.shape[1:])
        assert torch.allclose(ours[0], spike.mean(0), rtol=0, atol=ROUNDING)
    found, expected = _gradients(by_rates, rates), _gradients(through_time, spikes)
    for name in ("fc.weight", "fc.bias"):
        assert torch.allclose(found[name], expected[name], rtol=0, atol=ROUNDING)
    # Running statistics are those of one forward pass: the rate pass has added nothing.
    for name, kept in through_time.named_buffers():
        assert torch.equal(by_rates.get_buffer(name), kept)


def test_a_frozen_norm_stays_as_it_is() -> None:
    by_rates, through_time = (_network("resnet", NeuronSpec()) for _ in range(2))
    for network in (by_rates, through_time):
        for module in network.modules():
            module.train(not isinstance(module, nn.BatchNorm2d))
    stimulus = _stimulus(STATIC, 3)
    rates, spikes = rate_pass(by_rates, stimulus, 3), through_time(stimulus, 3)
    assert torch.allclose(rates.logits[0], spikes.logits.mean(0), rtol=0, atol=ROUNDING)
    for name, kept in through_time.named_buffers():
        assert torch.equal(by_rates.get_buffer(name), kept)


def test_the_norm_of_rates_differentiates_as_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    spikes = torch.randn(4, 6, 3, 2, 2, dtype=torch.float64, generator=generator)
    mean, variance = spikes.mean((0, 1, 3, 4)), spikes.var((0, 1, 3, 4), correction=0)
    rate = spikes.mean(0).requires_grad_()
    weight = torch.randn(3, dtype=torch.float64, generator=generator).requires_grad_()
    bias = torch.randn(3, dtype=torch.float64, generator=generator).requires_grad_()
    upstream = torch.randn(6, 3, 2, 2, dtype=torch.float64, generator=generator)

    def formula() -> Tensor:
        axes = (0, 2, 3)
        average = rate.mean(axes)
        m = (mean + average - average.detach())[:, None, None]
        spread = ((rate - m) ** 2).mean(axes)
        v = (variance + spread - spread.detach())[:, None, None]
        return weight[:, None, None] * (rate - m) / (v + 1e-5).sqrt() + bias[:, None, None]

    def ours() -> Tensor:
        record = (mean, (variance + 1e-5).rsqrt())
        return cast(Tensor, cast(Any, _NormOfRates).apply(rate, weight, bias, record, 1e-5))

    assert torch.allclose(ours(), formula(), rtol=0, atol=ROUNDING)
    inputs = (rate, weight, bias)
    expected = torch.autograd.grad(formula(), inputs, upstream)
    for found, gradient in zip(
        torch.autograd.grad(ours(), inputs, upstream), expected, strict=True
    ):
        assert torch.allclose(found, gradient, rtol=0, atol=ROUNDING)


class Pooled(nn.Module):
    """Neurons and the maximum of each two of them; the same pool twice."""

    def __init__(self) -> None:
        super().__init__()
        simulator = cast(Backend, discovery.load("backends", "reference"))
        spec = NeuronSpec(kind="if", reset="subtract", surrogate=TRIANGLE)
        self.neuron = simulator.neuron(spec)
        self.pool = nn.MaxPool2d((1, 2))

    def forward(self, stimulus: Tensor, timesteps: int, taps: Sequence[str] = ()) -> Output:
        assert not taps
        frames = stimulus if stimulus.dim() == 5 else hold(stimulus.unsqueeze(0), timesteps)
        once = through(self.neuron(frames), self.pool)
        return Output(logits=through(once, self.pool).flatten(2))


def test_pooling_averages_the_maxima_and_sends_the_gradient_to_the_largest_rate() -> None:
    # Four neurons, currents 0 or 1, threshold 1: what comes in goes out. The maxima of the
    # pairs (1 0 / 1 0 / 0 1) and (0 0 / 0 0 / 0 1) are 1 1 1 and 0 0 1, that of all is
    # 1 1 1: the mean is 1, where the largest rate is 2/3. The gradient goes to that
    # neuron alone, through its eligibility: v = 1, 1, 0, so g = 1, 1, 0, and eps = 1, 2, 3
    # (of an integrator, subtracting, detached); (1 + 2 + 0) / 3 = 1. A stimulus' own share
    # of its mean is a third.
    frames = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 1.0]]).view(
        3, 1, 1, 1, 4
    )
    frames.requires_grad_()
    output = rate_pass(Pooled(), frames, 3)
    assert output.logits.flatten().tolist() == [1.0]
    output.logits.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert frames.grad is not None
    assert frames.grad.sum(0).flatten().tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("few", [1, rate._FEW])
def test_neurons_are_never_given_all_samples_of_all_steps_unless_they_are_small(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_FEW", few)
    seen = []
    network = _network("resnet", NeuronSpec())

    def spy(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0].shape[1])

    for module in network.modules():
        if isinstance(module, SpikingNeuron):
            module.register_forward_pre_hook(spy)
    answer = rate_pass(network, _stimulus(STATIC, 3), 3)
    if few == 1:
        assert max(seen) * 3 <= SAMPLES  # no more elements at once than one step of the batch has
    else:
        assert {*seen} == {SAMPLES}
    monkeypatch.setattr(rate, "_FEW", 1)
    assert torch.equal(answer.logits, rate_pass(network, _stimulus(STATIC, 3), 3).logits)


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_steps() -> None:
    def kept(timesteps: int) -> int:
        sizes: list[int] = []

        def packed(value: Tensor) -> Tensor:
            sizes.append(value.numel())
            return value

        with torch.autograd.graph.saved_tensors_hooks(packed, lambda value: value):
            rate_pass(_network("vgg", NeuronSpec()), _stimulus(STATIC, timesteps), timesteps)
        return sum(sizes)

    assert kept(8) == kept(1) > 0


def test_the_counter_of_memory_counts_what_is_alive_and_views_once() -> None:
    with LiveBytes() as live:
        first = torch.zeros(10)  # 40 bytes
        second = first.view(2, 5) + 1
        assert (live.now, live.peak) == (80, 80)
        del first
        assert live.now == 40
        third = second * 2
        assert (live.now, live.peak) == (80, 80)
        del second, third
    assert (live.now, live.peak) == (0, 80)


def _peak_bytes(model: str, samples: int, timesteps: int) -> int:
    """Return the most that the tensors of both passes and the gradient need; computes nothing."""
    made = cast(Backend, discovery.load("backends", "reference"))
    topology = cast(Model, discovery.load("models", model))
    with torch.device("meta"):
        network = topology.build(
            lambda: made.neuron(NeuronSpec()),
            input=Image(shape=(3, 32, 32)),
            output=Classes(10),
        )
        stimulus = torch.empty(samples, 3, 32, 32)
        labels = torch.empty(samples, dtype=torch.long)
    with LiveBytes() as live:
        output = rate_pass(network, stimulus, timesteps)
        cross_entropy(output.logits.mean(0), labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return live.peak


@pytest.mark.parametrize("model", ["resnet20", "vgg9"])
def test_the_peak_of_memory_hardly_grows_with_the_steps(model: str) -> None:
    assert _peak_bytes(model, 16, 8) <= 1.25 * _peak_bytes(model, 16, 1)


def test_never_more_than_two_signals_of_all_steps_are_in_memory() -> None:
    # In a batch this large the gradient of the weights, which has no steps, hides nothing.
    samples = 128
    widest = 4 * samples * 64 * 32 * 32  # bytes a step
    grown = _peak_bytes("vgg9", samples, 8) - _peak_bytes("vgg9", samples, 1)
    assert grown <= 2 * (8 - 1) * widest


@pytest.mark.parametrize("taps", [["stage1"], ["nowhere"]], ids=["done", "broken off"])
def test_the_network_is_left_with_its_own_modules(taps: list[str]) -> None:
    network = _network("vgg", NeuronSpec())
    modules = dict(network.named_modules())
    if taps == ["nowhere"]:
        with pytest.raises(ValueError, match="no tap 'nowhere'"):
            rate_pass(network, _stimulus(STATIC, 2), 2, taps)
    else:
        rate_pass(network, _stimulus(STATIC, 2), 2, taps)
    left = dict(network.named_modules())
    assert list(left) == list(modules)
    assert all(left[name] is module for name, module in modules.items())


class SeesTime(nn.Identity):
    sees_time = True


@pytest.mark.parametrize("layer", [SeesTime, nn.ReLU])
def test_a_layer_whose_mean_is_not_its_answer_to_the_mean_is_refused(
    layer: Callable[[], nn.Module],
) -> None:
    network = _network("vgg", NeuronSpec())
    network.set_submodule("layer1.0.activation", layer())
    with pytest.raises(UnsupportedError, match=r"no rates go through 'layer1.0.activation'"):
        rate_pass(network, _stimulus(STATIC, 2), 2)


def test_there_is_no_membrane_of_rates() -> None:
    with pytest.raises(UnsupportedError, match=r"no membrane, and 'stage1.membrane'"):
        rate_pass(_network("vgg", NeuronSpec()), _stimulus(STATIC, 2), 2, ["stage1.membrane"])


@pytest.mark.parametrize("kind", ["plif", "lif"])
def test_reduced_precision_reaches_every_weight(kind: Kind) -> None:
    exact, narrow = (_network("resnet", NeuronSpec(kind=kind)).float() for _ in range(2))
    stimulus = _stimulus(STATIC, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = rate_pass(narrow, stimulus, 4)
        assert output.logits.dtype == torch.bfloat16
        found = _gradients(narrow, output)
    expected = _gradients(exact, rate_pass(exact, stimulus, 4))
    for gradients in (found, expected):
        assert all(gradient.isfinite().all() for gradient in gradients.values())
    # bfloat16 has 8 bits, and a spike that falls the other way changes more than that.
    of_the_head = [gradients["fc.weight"].flatten() for gradients in (found, expected)]
    assert torch.cosine_similarity(*of_the_head, dim=0) > 0.95


@pytest.mark.skipif(not can_compile(), reason="no C++ compiler on this machine")
def test_compiled_neurons_have_the_same_gradient() -> None:
    plain, fast = (_network("vgg", NeuronSpec()).float() for _ in range(2))
    for module in fast.modules():
        if isinstance(module, SpikingNeuron):
            compiled(module)
    stimulus = _stimulus(STATIC, 2).float()
    expected = _gradients(plain, rate_pass(plain, stimulus, 2))
    found = _gradients(fast, rate_pass(fast, stimulus, 2))
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_images_stay_channels_last_in_the_gradient_too() -> None:
    network = _network("resnet", NeuronSpec()).to(memory_format=torch.channels_last)
    stimulus = _stimulus(STATIC, 2).to(memory_format=torch.channels_last)
    layouts: list[bool] = []

    def look(value: Tensor) -> None:
        layouts.append(value.is_contiguous(memory_format=torch.channels_last))

    def watch(_module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        look(given[0])
        look(answer)
        if answer.requires_grad:
            answer.register_hook(look)

    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    for convolution in convolutions:
        convolution.register_forward_hook(watch)
    _gradients(network, rate_pass(network, stimulus, 2))
    # Each is given and answers spikes, then rates, and has the gradient of the latter.
    assert layouts == [True] * 5 * len(convolutions)


def test_slowing_divides_the_gradient_and_leaves_the_loss() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    loss = slowed(weight**2, timesteps=4)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert loss.item() == 9.0
    assert weight.grad is not None
    assert weight.grad.item() == 1.5  # 2 * 3 / 4


@dataclass(frozen=True, kw_only=True)
class AnyMethod:
    """Cross-entropy, trained by rates or through time."""

    by_rates: bool

    def fit(self, learner: Student, timesteps: int) -> None:
        forward = by_rate(learner) if self.by_rates else None
        course = but(lesson(teacher("vgg"), timesteps=timesteps), learning_rate=0.1)
        list(
            descend(
                learner,
                course,
                lambda output, _, labels: cross_entropy(output.logits.mean(0), labels),
                forward=forward,
            )
        )


def test_any_method_can_descend_by_rates() -> None:
    one, other = (student("vgg", timesteps=1) for _ in range(2))
    start = deepcopy(one.network.state_dict())
    AnyMethod(by_rates=True).fit(one, 1)
    AnyMethod(by_rates=False).fit(other, 1)
    for name, weight in other.network.state_dict().items():
        assert torch.allclose(one.network.state_dict()[name], weight, atol=1e-6)
    assert not torch.equal(start["fc.weight"], one.network.state_dict()["fc.weight"])
