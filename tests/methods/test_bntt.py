"""Batch norm through time."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model
from harness.meter import measure
from harness.training import Student, put_in_slots
from harness.training.bntt import EPS, BatchNormThroughTime, norm_through_time
from suites.models._resnet import ResNet
from suites.models._vgg import VGG
from tests.methods.small import student

SHAPE, SAMPLES, STEPS = (2, 8, 8), 3, 4
# A norm after every kind of layer that can stand before one, also inside a stack.
TOPOLOGIES: dict[str, Model] = {
    "vgg": VGG(widths=((4,), (6,)), hidden=5),
    "resnet": ResNet(blocks=(1, 1), widths=(4, 6), hidden=5),
    "resnet_pad": ResNet(blocks=(1, 1), widths=(4, 6), shortcut="pad"),
    "sew": ResNet(blocks=(1, 1), widths=(4, 6), style="sew"),
    "ms": ResNet(blocks=(1, 1), widths=(4, 6), style="ms"),
}


def _norm(timesteps: int, channels: int = 1) -> BatchNormThroughTime:
    return BatchNormThroughTime(nn.BatchNorm2d(channels), timesteps)


def _without_memory(name: str, timesteps: int) -> Student:
    """Return a ReLU network, which forgets a step in the next."""

    def twin(activation: Callable[[], nn.Module]) -> nn.Module:
        return TOPOLOGIES[name].build(activation, input=Image(shape=SHAPE), output=Classes(3))

    torch.manual_seed(0)
    return Student(network=twin(nn.ReLU), timesteps=timesteps, twin=twin)


def _scatter(network: nn.Module) -> None:
    """Give every norm other scales and statistics, as a training would."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.running_mean.uniform_(-0.1, 0.1, generator=generator)
            module.running_var.uniform_(0.05, 0.15, generator=generator)


def test_each_step_has_statistics_and_a_scale_of_its_own() -> None:
    norm = _norm(2)
    norm.steps[1].get_parameter("weight").data.fill_(3.0)
    # Two samples of one pixel: 0 and 2 in the first step, 10 and 14 in the second. Means 1
    # and 12, variances 1 and 4, so both become -1 and 1 before the scale.
    signal = torch.tensor([0.0, 2.0, 10.0, 14.0]).view(2, 2, 1, 1, 1)
    first, second = norm(signal).flatten(1)
    assert first.tolist() == pytest.approx([-1 / (1 + EPS) ** 0.5, 1 / (1 + EPS) ** 0.5])
    assert second.tolist() == pytest.approx([-6 / (4 + EPS) ** 0.5, 6 / (4 + EPS) ** 0.5])
    # Momentum 0.1, from mean 0 and variance 1; the unbiased variances are 2 and 8.
    found = [(n.running_mean.item(), n.running_var.item()) for n in norm.steps]  # type: ignore[operator]  # a buffer, which nn.Module types as Tensor or Module
    assert found == [pytest.approx((0.1, 1.1)), pytest.approx((1.2, 1.7))]


def test_a_constant_signal_becomes_one_that_is_not() -> None:
    norm = _norm(3)
    for step, single in enumerate(norm.steps):
        single.get_parameter("weight").data.fill_(float(step))
    signal = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1, 1)
    answer = norm(signal).flatten(1) * (1 + EPS) ** 0.5
    assert torch.allclose(answer, torch.tensor([[0.0, 0.0], [-1.0, 1.0], [-2.0, 2.0]]))


def test_there_is_no_shift() -> None:
    norm = _norm(2, channels=4)
    assert [name for name, _ in norm.named_parameters()] == ["steps.0.weight", "steps.1.weight"]
    assert norm.scales.shape == (2, 4)


def test_another_number_of_steps_is_refused() -> None:
    with pytest.raises(SpecError, match="statistics for 3 steps and the signal has 2"):
        _norm(3)(torch.zeros(2, 4, 1, 2, 2))


@pytest.mark.parametrize("given", [1, STEPS])
def test_memory_stays_channels_last_also_in_the_gradient(given: int) -> None:
    flat = torch.rand(given * SAMPLES, 5, 4, 4).contiguous(memory_format=torch.channels_last)
    flat.requires_grad_()
    layouts: list[bool] = []
    flat.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it untyped
        lambda gradient: layouts.append(gradient.is_contiguous(memory_format=torch.channels_last))
    )
    answer = _norm(STEPS, channels=5)(flat.view(given, SAMPLES, 5, 4, 4)).flatten(0, 1)
    assert answer.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.rand(answer.shape).contiguous(memory_format=torch.channels_last)
    answer.backward(gradient)
    assert layouts == [True]


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_without_memory_each_step_is_an_ordinary_network_with_the_norms_of_that_step(
    name: str,
) -> None:
    learner = _without_memory(name, STEPS)
    plain = learner.network.state_dict()
    norm_through_time(learner)
    _scatter(learner.network)
    learner.network.eval()
    frames = torch.randn(STEPS, SAMPLES, *SHAPE, generator=torch.Generator().manual_seed(2))
    state = learner.network.state_dict()
    together = learner.network(frames, STEPS).logits
    for step in range(STEPS):
        single = _without_memory(name, 1)
        own = {key.replace(f".steps.{step}.", "."): value for key, value in state.items()}
        single.network.load_state_dict({key: own.get(key, plain[key]) for key in plain})
        for module in single.network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eps = EPS
        single.network.eval()
        alone = single.network(frames[step], 1).logits[0]
        assert torch.allclose(together[step], alone, atol=1e-5)
        assert alone.std(0).min() > 1e-3  # alive: samples differ


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_constant_stimulus_is_as_good_as_equal_frames(name: str) -> None:
    learner = _without_memory(name, STEPS)
    norm_through_time(learner)
    _scatter(learner.network)
    learner.network.eval()
    image = torch.randn(SAMPLES, *SHAPE, generator=torch.Generator().manual_seed(2))
    constant = learner.network(image, STEPS).logits
    frames = learner.network(image.expand(STEPS, *image.shape), STEPS).logits
    assert torch.allclose(constant, frames, atol=1e-5)
    assert not torch.allclose(constant[0], constant[1], atol=1e-2)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_no_other_norm_is_left_and_every_other_name_is_kept(name: str) -> None:
    learner = _without_memory(name, 2)
    before = learner.network.state_dict()
    norm_through_time(learner)
    after = learner.network.state_dict()
    weights = {key for key, value in before.items() if value.ndim > 1 or "fc" in key}
    assert weights <= set(after)
    others = set(after) - weights
    assert others
    assert all(".steps." in key for key in others)


def test_a_network_without_norms_is_refused() -> None:
    network = nn.Linear(2, 2)
    with pytest.raises(UnsupportedError, match="no batch norm that could have one a step"):
        norm_through_time(Student(network=network, timesteps=2, twin=lambda _: network))


@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("timesteps", [1, 2])
def test_the_meter_counts_the_norms_of_each_step(timesteps: int, *, frames: bool) -> None:
    shape = (2, 8, 8) if frames else (1, 8, 8)
    plain = student("convnet", timesteps=timesteps, shape=shape)
    through_time = student("convnet", timesteps=timesteps, shape=shape)
    norm_through_time(through_time)
    stimulus = torch.rand(*([timesteps] if frames else []), 5, *shape)
    products = []
    for learner in (plain, through_time):
        learner.network.eval()
        answer = partial(_logits, learner)
        counted = measure(
            learner.network,
            stimulus,
            batch_axis=1 if frames else 0,
            time_axis=0 if frames else None,
            call=answer,
        )
        assert counted.coverage == 1
        assert counted.steps == timesteps
        products.append(counted.total.mac)
    # 4 channels of 8x8 and 6 of 4x4, one product an element, step and sample; a single
    # norm folds into the convolution before it and costs none.
    elements = 5 * timesteps * (4 * 64 + 6 * 16)
    assert products[1] - products[0] == (elements if timesteps > 1 else 0)


def _logits(learner: Student, stimulus: Tensor) -> Tensor:
    return learner(stimulus).logits


def test_a_neuron_still_stands_in_every_slot() -> None:
    learner = student("resnet", timesteps=2)
    norm_through_time(learner)
    put_in_slots(learner, nn.Identity)
    assert sum(isinstance(each, nn.Identity) for each in learner.network.modules()) >= 5
