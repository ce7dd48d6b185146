"""First-spike networks against the B1 model's dynamics, and against ReLU."""

import heapq
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.nn.functional import cross_entropy, max_pool2d
from torch.nn.utils.fusion import fuse_conv_bn_weights

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model
from harness.training import Student, descend
from harness.training.first_spike import (
    INPUT_WINDOW,
    FirstSpike,
    first_spike_layers,
    largest,
    set_windows,
    windows,
)
from suites.methods.ttfs import METHOD, Ttfs
from suites.models._resnet import ResNet
from suites.models._wide_resnet import WideResNet
from tests.methods.small import EVENTS, STATIC, Kind, lesson, student, teacher

KINDS: tuple[Kind, ...] = ("convnet", "vgg", "resnet")


def layer_in(t_min: float, t_max: float) -> FirstSpike:
    """Return an evaluated layer with that window."""
    layer = FirstSpike().eval()
    layer.t_min.fill_(t_min)
    layer.t_max.fill_(t_max)
    return layer


def in_double(kind: Kind, *, seed: int = 0) -> tuple[Student, nn.Module]:
    """Return a first-spike network and its ReLU twin: same weights, double precision."""
    learner = student(kind, method=METHOD, timesteps=1, seed=seed)
    twin = learner.twin(nn.ReLU)
    for network in (learner.network, twin):
        network.double()
    # A start at which norms do something: every affine part random, some gammas negative.
    generator = torch.Generator().manual_seed(seed)
    for norm in learner.network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value in (norm.weight.data, norm.bias.data, norm.running_mean):
                cast(Tensor, value).normal_(generator=generator)
            cast(Tensor, norm.running_var).uniform_(0.5, 2, generator=generator)
    state = learner.network.state_dict()
    twin.load_state_dict({name: state[name] for name in twin.state_dict()})
    return learner, twin


def images(samples: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(samples, *STATIC, generator=generator, dtype=torch.float64)


def simulated(
    weights: Tensor,  # [neuron, synapse]
    thresholds: Tensor,  # [neuron]
    arrivals: Tensor,  # [synapse], a spike at the end of its window is none
    *,
    t_min: float,
    t_max: float,
) -> Tensor:
    """Return spike times ``[neuron]`` of one layer, by walking from event to event.

    First phase: membranes rise with their slopes, to which each arrival adds its weight.
    Second phase, from ``t_min`` on: every slope is 1, and thresholds count.
    """
    membranes, slopes = [0.0] * len(weights), [0.0] * len(weights)
    events = [(float(time), j) for j, time in enumerate(arrivals) if time < t_min]
    heapq.heapify(events)
    now = 0.0
    while events:
        time, synapse = heapq.heappop(events)
        for i in range(len(weights)):
            membranes[i] += slopes[i] * (time - now)
            slopes[i] += float(weights[i, synapse])
        now = time
    times = []
    for i, threshold in enumerate(thresholds.tolist()):
        missing = threshold - (membranes[i] + slopes[i] * (t_min - now))
        times.append(min(t_min + max(missing, 0.0), t_max))
    return torch.tensor(times, dtype=torch.float64)


def test_a_neuron_spikes_when_the_formula_says() -> None:
    # Two neurons spiked at 1.5 and 2.5, in a window that ends at 3: x = (1.5, 0.5). With
    # W = (1, -2) and D = 0.25 ReLU says 1.5 - 1 + 0.25 = 0.75. In the window [3, 5]:
    # theta = 5 - 3 - 0.25 = 1.75; t = 3 + 1.75 + 1 (1.5 - 3) - 2 (2.5 - 3) = 4.25.
    layer = layer_in(3.0, 5.0)
    assert float(layer.thresholds(torch.tensor(0.25))) == 1.75
    assert float(layer.times(torch.tensor(0.75))) == 4.25
    assert float(layer(torch.tensor(0.75))) == 0.75
    told = simulated(
        torch.tensor([[1.0, -2.0]]),
        torch.tensor([1.75]),
        torch.tensor([1.5, 2.5]),
        t_min=3.0,
        t_max=5.0,
    )
    assert told.tolist() == [4.25]


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_what_relu_silences_never_spikes_and_learns_nothing(mode: str) -> None:
    layer = layer_in(1.0, 3.0).train(mode == "training")
    current = torch.tensor([-2.0, 0.0, 0.5], requires_grad=True)
    answer = layer(current)
    answer.sum().backward()
    assert layer.times(current).tolist() == [3.0, 3.0, 2.5]
    assert answer.tolist() == [0.0, 0.0, 0.5]
    assert current.grad is not None
    # At 0 too, where ReLU's gradient is 0 by convention.
    assert current.grad.tolist() == [0.0, 0.0, 1.0]


def cut_off(network: nn.Module, run: Callable[[], object]) -> int:
    """Return how many spikes come before their window, to be moved to ``t_min``."""
    found: list[int] = []

    def look(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, FirstSpike)
        found.append(int((layer.times(args[0]) < layer.t_min).sum()))

    hooks = [layer.register_forward_pre_hook(look) for layer in first_spike_layers(network)]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return sum(found)


def test_nothing_spikes_before_its_window_once_it_has_learnt() -> None:
    layer = layer_in(1.0, 3.0)
    current = torch.tensor([0.5, 2.0, 2.5])
    assert layer(current).tolist() == [0.5, 2.0, 2.0]
    assert cut_off(layer, lambda: layer(current)) == 1
    # While it learns it is ReLU, and says how long the window should have been.
    assert layer.train()(current).tolist() == [0.5, 2.0, 2.5]
    assert float(layer.largest) == 2.5


def test_reduced_precision_stays_what_it_was() -> None:
    current = torch.tensor([0.1, 1e-30, 1000.0]).bfloat16()
    answer = layer_in(1.0, 3001.0)(current)
    # 1e-30 of a window is at its end, for all that float64 knows.
    assert answer.dtype == torch.bfloat16
    assert answer.tolist() == [current[0], 0.0, current[2]]


@pytest.mark.parametrize("seed", range(5))
def test_walking_from_event_to_event_gives_the_same_times(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = {"generator": generator, "dtype": torch.float64}
    weights, offsets = torch.randn(6, 9, **shape), torch.randn(6, **shape)  # type: ignore[call-overload]  # keywords of two types
    before, layer = layer_in(1.0, 4.0), layer_in(4.0, 9.0)
    arrivals = before.times(2 * torch.randn(9, **shape))  # type: ignore[call-overload]  # as above
    arrivals = arrivals.maximum(before.t_min)
    current = weights @ (before.t_max - arrivals) + offsets
    found = simulated(weights, layer.thresholds(offsets), arrivals, t_min=4.0, t_max=9.0)
    expected = layer.times(current).maximum(layer.t_min)
    assert (found < 9.0).any()
    assert (found == 9.0).any()
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)


def test_a_convolution_with_its_norm_is_such_a_layer() -> None:
    learner, _ = in_double("convnet")
    network = learner.network.eval()
    modules = {name: network.get_submodule(name) for name in ("conv2", "bn2")}
    first, second = first_spike_layers(network)
    said = learner(images(1), taps=("stem", "stage1"))
    spikes, answer = said.taps["stem"][0], said.taps["stage1"][0]
    conv, norm = cast(nn.Conv2d, modules["conv2"]), cast(nn.BatchNorm2d, modules["bn2"])
    kernel, offsets = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        cast(Tensor, norm.running_mean),
        cast(Tensor, norm.running_var),
        norm.eps,
        norm.weight,
        norm.bias,
    )

    def arrive(x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, kernel, stride=conv.stride, padding=conv.padding)

    # A convolution as the matrix that it is: [outputs, inputs].
    weights = jacobian(arrive, spikes).reshape(answer.numel(), spikes.numel())  # type: ignore[no-untyped-call]  # torch leaves it untyped
    found = simulated(
        weights.detach(),
        second.thresholds(offsets).detach().repeat_interleave(answer[0, 0].numel()),
        (first.t_max - spikes).detach().flatten(),
        t_min=float(second.t_min),
        t_max=float(second.t_max),
    )
    assert torch.allclose(second.t_max - found, answer.flatten(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_its_relu_twin_gradients_included(kind: Kind, mode: str) -> None:
    learner, twin = in_double(kind)
    labels = torch.tensor([0, 1, 2, 0])
    answers = []
    for network in (learner.network, twin):
        network.train(mode == "training")
        logits = network(images()).logits.mean(0)
        cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        answers.append(logits)
    assert cut_off(learner.network, lambda: learner(images())) == 0
    assert torch.allclose(answers[0], answers[1], rtol=0, atol=1e-9)
    theirs = dict(twin.named_parameters())
    for name, weight in learner.network.named_parameters():
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
        assert torch.allclose(weight.grad, cast(Tensor, theirs[name].grad), rtol=0, atol=1e-9), name


@pytest.mark.parametrize("kind", KINDS)
def test_moving_the_windows_changes_nothing_that_is_said(kind: Kind) -> None:
    learner, _ = in_double(kind)
    learner.network.train()
    learner.network(images())
    learner.network.eval()
    layers = first_spike_layers(learner.network)
    before = learner.network(images()).logits
    lengths = 5 * largest(layers) + torch.arange(1, len(layers) + 1)
    set_windows(layers, lengths)
    assert cut_off(learner.network, lambda: learner(images())) == 0
    assert torch.allclose(learner.network(images()).logits, before, rtol=0, atol=1e-9)
    # 1 for the stimulus, and the windows one after another.
    assert float(layers[-1].t_max) == pytest.approx(1 + float(lengths.sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_each_window_begins_where_the_one_before_ended(kind: Kind) -> None:
    learner = student(kind, method=METHOD, timesteps=1)
    list(METHOD.fit(learner, lesson(teacher(kind), timesteps=1)))
    ran: list[FirstSpike] = []
    for layer in first_spike_layers(learner.network):
        layer.register_forward_hook(lambda module, *_: ran.append(module))
    learner(torch.zeros(1, *STATIC))
    assert ran == list(first_spike_layers(learner.network))
    ends = [INPUT_WINDOW, *(float(layer.t_max) for layer in ran)]
    assert [float(layer.t_min) for layer in ran] == pytest.approx(ends[:-1], rel=1e-12)


def test_a_layer_that_never_spoke_keeps_its_window() -> None:
    layers = (layer_in(1.0, 3.0), layer_in(3.0, 8.0))
    set_windows(layers, torch.tensor([0.0, 2.0]))
    assert windows(layers).tolist() == [2.0, 2.0]
    assert float(layers[1].t_min) == 3.0


def test_the_largest_activation_is_the_earliest_spike() -> None:
    layer = layer_in(2.0, 6.0)
    current = torch.randn(1, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    earliest = -max_pool2d(-layer.times(current)[0], 2)
    assert torch.equal(max_pool2d(layer(current)[0], 2), layer.t_max - earliest)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_takes_the_path_that_relu_takes(kind: Kind) -> None:
    course = lesson(teacher(kind), steps=3, timesteps=1, learning_rate=0.1)
    learner = student(kind, method=METHOD, timesteps=1)
    list(METHOD.fit(learner, course))
    twin = learner.twin(nn.ReLU)
    twin.load_state_dict(course.guide.network.state_dict())
    other = Student(network=twin, timesteps=1, twin=learner.twin)
    list(descend(other, course, METHOD.loss))  # type: ignore[attr-defined]  # a Ttfs, which has one
    learnt = learner.network.state_dict()
    for name, weight in twin.state_dict().items():
        # Float32: three steps of sums of a few hundred products.
        assert torch.allclose(learnt[name], weight, rtol=0, atol=1e-5), name


def test_it_starts_as_its_teacher() -> None:
    guide, learner = teacher("vgg"), student("vgg", method=METHOD, timesteps=1)
    list(METHOD.fit(learner, lesson(guide, timesteps=1, learning_rate=1e-9)))
    theirs = dict(guide.network.named_parameters())
    for name, weight in learner.network.named_parameters():
        assert torch.allclose(weight, theirs[name], rtol=0, atol=1e-6), name


def test_a_teacher_of_another_topology_is_no_start() -> None:
    learner = student("convnet", method=METHOD, timesteps=1)
    before = {name: weight.clone() for name, weight in learner.network.named_parameters()}
    list(METHOD.fit(learner, lesson(teacher("vgg"), timesteps=1, learning_rate=1e-9)))
    for name, weight in learner.network.named_parameters():
        assert torch.allclose(weight, before[name], rtol=0, atol=1e-6), name


@pytest.mark.parametrize(
    ("method", "zeta", "gamma"),
    [(METHOD, 0.5, 10.0), (Ttfs(zeta=0.25, gamma=4.0), 0.25, 4.0)],
    ids=["the authors' values", "others"],
)
def test_windows_follow_the_activations_while_it_learns(
    method: Ttfs, zeta: float, gamma: float
) -> None:
    learner = student("vgg", method=method, timesteps=1)
    layers = first_spike_layers(learner.network)
    assert windows(layers).tolist() == [(1 + zeta) * 1000.0] * 3
    course = lesson(teacher("vgg"), steps=4, timesteps=1)
    # Two epochs, so that the last two steps alone say how long windows are in the end.
    course = replace(course, recipe=replace(course.recipe, epochs=2))
    seen, lengths = [], []
    for _ in method.fit(learner, course):
        seen.append(largest(layers))
        lengths.append(windows(layers))
    assert (seen[0] > 0).all()
    assert torch.allclose(lengths[0], (1 + zeta) * seen[0])
    assert torch.allclose(lengths[1], torch.maximum(lengths[0], gamma * seen[1]))
    assert torch.allclose(lengths[2], torch.maximum(lengths[1], gamma * seen[2]))
    assert torch.allclose(lengths[3], (1 + zeta) * torch.maximum(seen[2], seen[3]))


def test_steps_are_refused_in_words() -> None:
    with pytest.raises(UnsupportedError, match="continuous and there are no timesteps"):
        student(method=METHOD, timesteps=2)


@pytest.mark.parametrize(
    ("topology", "reason"),
    [
        (ResNet(blocks=(1, 1), widths=(4, 8), style="sew"), "two spikes' times"),
        (ResNet(blocks=(1, 1), widths=(4, 8), style="ms"), "only spikes travel"),
        (WideResNet(depth=10, widening=1), "only spikes travel"),
    ],
    ids=["sew", "ms", "wide"],
)
def test_shortcuts_that_carry_no_spike_are_refused_in_words(topology: Model, reason: str) -> None:
    network = topology.build(nn.ReLU, input=Image(shape=STATIC), output=Classes(3))
    learner = Student(network=network, timesteps=1, twin=lambda _: network)
    with pytest.raises(UnsupportedError, match=reason):
        METHOD.realise(learner)  # type: ignore[attr-defined]  # a Ttfs, which has one


def test_one_frame_of_events_is_an_image() -> None:
    learner = student("vgg", method=METHOD, timesteps=1, shape=EVENTS)
    frame = torch.rand(1, 2, *EVENTS)
    learner.network.eval()
    assert torch.equal(learner(frame).logits, learner(frame[0]).logits)
