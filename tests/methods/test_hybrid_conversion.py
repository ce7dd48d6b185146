"""Conversion, and training on by the age of spikes."""

import math
from dataclasses import asdict
from typing import cast

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.training.conversion import INTEGRATOR, ScaledIntegrator, integrators
from suites.methods.hybrid_conversion import (
    METHOD,
    HybridConversion,
    TimedNeuron,
    derivative,
    hold_norms,
)
from suites.methods.threshold_balancing import ThresholdBalancing
from tests.methods.small import EVENTS, lesson, student, teacher
from tests.methods.teaching_aids import NOBODY


def test_the_derivative_is_that_of_the_last_spikes_age() -> None:
    # Spikes at steps 1 and 2 of 0 ... 4: none before step 2, one step old there and at 3.
    spikes = torch.tensor([[0.0, 0], [1, 0], [1, 0], [0, 0], [0, 0]])
    found = derivative(spikes, alpha=0.5, beta=0.25)
    one, two = 0.5 * math.exp(-0.25), 0.5 * math.exp(-0.5)
    assert found[:, 0].tolist() == pytest.approx([0, 0, one, one, two], rel=1e-6)
    assert found[:, 1].tolist() == [0] * 5


def _gradient(current: list[float], weights: list[float], scale: float) -> list[float]:
    neuron = TimedNeuron(student().neuron(INTEGRATOR), alpha=0.5, beta=0.25)
    neurons = ScaledIntegrator(neuron, scale=scale)
    given = torch.tensor(current).view(-1, 1, 1).requires_grad_()
    (neurons(given) * torch.tensor(weights).view(-1, 1, 1)).sum().backward()
    assert given.grad is not None
    return [*given.grad.flatten().tolist()]


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_errors_reach_all_earlier_inputs_as_nothing_leaks(scale: float) -> None:
    # It fires at the first step and at the third; the second and third know a spike, one and
    # two steps old. A spike is as large as its threshold, so the slope by the current is alpha
    # exp(-beta age) whatever the threshold is.
    current = [scale * each for each in (1.0, 0.5, 0.5)]
    one, two = 0.5 * math.exp(-0.25), 0.5 * math.exp(-0.5)
    errors = 3 * one + 5 * two
    expected = [errors, errors, 5 * two]
    assert _gradient(current, [2.0, 3.0, 5.0], scale) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("backend", ["reference", "norse", "spikingjelly"])
def test_it_spikes_as_the_converted_network_does(backend: str) -> None:
    plain = student("vgg", backend=backend, timesteps=4, method=ThresholdBalancing())
    ours = student("vgg", backend=backend, timesteps=4, method=HybridConversion())
    assert [*plain.network.state_dict()] == [*ours.network.state_dict()]
    ours.network.load_state_dict(plain.network.state_dict())
    stimulus = next(iter(lesson(None))).stimulus
    taps = ["stem", "stem.membrane"]
    for network in (plain.network, ours.network):
        network.eval()
    expected, found = plain(stimulus, taps), ours(stimulus, taps)
    assert torch.equal(found.logits, expected.logits)
    assert all(torch.equal(found.taps[name], expected.taps[name]) for name in taps)


def test_thresholds_are_balanced_first_and_then_stay() -> None:
    balanced = student("vgg", timesteps=4, method=ThresholdBalancing(scaling=0.7))
    learner = student("vgg", timesteps=4, method=HybridConversion())
    course = lesson(teacher("vgg"))
    list(ThresholdBalancing(scaling=0.7).fit(balanced, course))
    training = cast(HybridConversion, METHOD).fit(learner, course)
    expected = [slot.scale.item() for slot in integrators(balanced.network)]
    weights = course.guide.network.get_parameter("layer1.0.conv.weight")
    for _ in training:
        assert [slot.scale.item() for slot in integrators(learner.network)] == expected
        assert not torch.equal(learner.network.get_parameter("layer1.0.conv.weight"), weights)


def test_every_layer_is_taught_and_norms_keep_their_statistics() -> None:
    method = HybridConversion()
    learner = student("resnet", timesteps=8, method=method)
    guide = teacher("resnet")
    list(method.fit(learner, lesson(guide)))
    theirs = dict(guide.network.named_parameters())
    still = [
        name for name, value in learner.network.named_parameters()
        if torch.equal(value, theirs[name])
    ]  # fmt: skip
    assert not still
    buffers = dict(guide.network.named_buffers())
    for name, value in learner.network.named_buffers():
        # The first may be shifted by an imported teacher's normalisation, here by nothing.
        if name.endswith(("running_mean", "running_var")):
            assert torch.allclose(value, buffers[name], atol=1e-6), name


def test_every_batch_is_seen_once_those_of_the_thresholds_too() -> None:
    method = HybridConversion(samples=9)
    learner = student(method=method, timesteps=2)
    found = [progress.samples for progress in method.fit(learner, lesson(teacher(), steps=4))]
    assert found == [8, 16, 24, 32]


@pytest.mark.parametrize(("steps", "expected"), [(100, 4), (3, 3)])
def test_a_constant_image_is_trained_on_in_no_more_than_its_steps(
    steps: int, expected: int
) -> None:
    method = HybridConversion(steps=steps)
    learner = student(method=method, timesteps=4)
    seen: list[int] = []
    training = method.fit(learner, lesson(teacher()))
    handle = learner.network.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    next(training)
    handle.remove()
    assert set(seen) == {expected}
    frames = student(method=method, timesteps=4, shape=EVENTS)
    course = lesson(teacher(shape=EVENTS), timesteps=4, shape=EVENTS)
    assert list(method.fit(frames, course))  # frames bring their own steps


def test_the_loss_is_the_cross_entropy_of_the_mean() -> None:
    logits = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])
    loss = HybridConversion().loss(Output(logits=logits), NOBODY, torch.tensor([1]))
    assert loss.item() == pytest.approx(math.log(1 + math.e), rel=1e-6)


def test_norms_are_held_in_a_network_that_trains() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm1d(1), nn.Dropout()).train()
    hold_norms(network)
    assert [module.training for module in network] == [False, False, True]


def test_the_constants_are_the_authors() -> None:
    assert asdict(METHOD) == {  # type: ignore[call-overload]  # a method is a frozen dataclass
        "alpha": 0.3,
        "beta": 0.01,
        "scaling": 0.7,
        "samples": 512,
        "steps": 100,
        "learning_rate": 1e-4,
    }


def test_the_first_step_is_adams_whatever_the_suite_descends_by() -> None:
    # Adam's first step is the learning rate in each direction, or none. Decay is decoupled:
    # 1e-3 * 5e-4 of the weight at most, which is below 1.
    method = HybridConversion(learning_rate=1e-3)
    learner = student(method=method, timesteps=4)
    guide = teacher()
    next(method.fit(learner, lesson(guide, steps=1)))
    name = "fc.bias"
    moved = learner.network.get_parameter(name) - guide.network.get_parameter(name)
    assert moved.abs().tolist() == pytest.approx([1e-3] * 3, rel=1e-3)


def test_weights_of_another_topology_do_not_fit() -> None:
    method = HybridConversion()
    with pytest.raises(UnsupportedError, match="another topology"):
        method.fit(student("vgg", method=method), lesson(teacher("resnet")))
