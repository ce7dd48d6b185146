"""Conversion as SpikingJelly's converter does it, held to that converter."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.discovery import load
from harness.training import Lesson, Student, Teacher
from harness.training.conversion import integrators
from suites.methods.ann2snn import METHOD, Ann2Snn
from suites.models._signal import through
from tests.methods.small import EVENTS, lesson, student, teacher

STEPS = 7


class _Stack(nn.Module):
    """Two convolutions with norms, an average, and a classifier, in one ``nn.Sequential``."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            activation(),
            nn.AvgPool2d(2),
            nn.Conv2d(4, 3, 3, padding=1, bias=False),
            nn.BatchNorm2d(3),
            activation(),
            nn.Flatten(),
            nn.Linear(3 * 4 * 4, 3),
        )
        self.tap_channels = {"penultimate": 48}

    def forward(self, stimulus: Tensor, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        assert not taps
        first, norm, neurons, *rest = self.layers
        current = through(stimulus.unsqueeze(0), first, norm)
        spikes = neurons(current.expand(timesteps, *current.shape[1:]))
        second = through(spikes, *rest[:3])
        return Output(logits=through(rest[3](second), *rest[4:]))


def _guide() -> Teacher:
    torch.manual_seed(0)
    network = _Stack(nn.ReLU)
    network(torch.randn(64, 1, 8, 8))  # statistics of the norms
    frozen = network.eval().requires_grad_(requires_grad=False)
    return Teacher(network=frozen, mean=(0.5,), std=(0.5,))


def _converted(method: Ann2Snn, backend: str) -> tuple[Student, Lesson]:
    guide, simulator = _guide(), load("backends", backend)
    learner = Student(
        network=_Stack(nn.Identity),
        timesteps=STEPS,
        twin=_Stack,
        neuron=simulator.neuron,  # type: ignore[attr-defined]  # a Backend
    )
    method.realise(learner)
    course = lesson(guide, steps=3)
    list(method.fit(learner, course))
    learner.network.eval()
    return learner, course


def _theirs(mode: float | str, course: Lesson) -> nn.Module:
    from spikingjelly.activation_based.ann2snn import Converter, RateCodingRecipe

    shown = [(batch.stimulus, batch.labels) for batch in course]
    network: nn.Module = Converter(RateCodingRecipe(shown, mode=mode)).convert(
        cast(_Stack, _guide().network).layers
    )
    return network


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("backend", ["reference", "norse", "spikingjelly"])
@pytest.mark.parametrize(
    ("method", "mode"),
    [
        (Ann2Snn(quantile=1.0), "Max"),
        (Ann2Snn(quantile=0.999), "99.9%"),
        (Ann2Snn(quantile=1.0, fraction=0.5), 0.5),
    ],
    ids=["largest", "quantile", "half"],
)
def test_scales_and_spikes_are_those_of_spikingjellys_own_converter(
    method: Ann2Snn, mode: float | str, backend: str
) -> None:
    pytest.importorskip("spikingjelly")
    learner, course = _converted(method, backend)
    network = _theirs(mode, course)
    scales = [
        float(module.scale)
        for module in network.modules()
        if type(module).__name__ == "VoltageScaler"
    ]
    ours = [slot.scale.item() for slot in integrators(learner.network)]
    # They fold norms into weights: other roundings of the same number. One scaler divides by
    # the scale before the neurons, one multiplies by it behind them.
    assert ours == pytest.approx(scales[1::2], rel=1e-5)
    stimulus = next(iter(course)).stimulus
    with torch.no_grad():
        theirs = torch.stack([network(stimulus) for _ in range(STEPS)])
        found = learner(stimulus).logits
    # One spike more or less would move a logit by a weight times a scale, about 1e-2.
    assert torch.allclose(found, theirs, atol=1e-5)
    assert found.std(0).max() > 0.01


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_a_scale_is_a_moving_average_of_quantiles_of_the_answers(fraction: float) -> None:
    method = Ann2Snn(quantile=1.0, fraction=fraction)
    learner, guide = student(method=method), teacher()
    course = lesson(guide)
    answers: list[float] = []
    slot = guide.network.get_submodule("activation1")
    with slot.register_forward_hook(lambda *given: answers.append(given[2].max().item())):
        for batch in course:
            guide.see(batch.images)
    list(method.fit(learner, course))
    first, second = answers
    expected = fraction * (0.9 * first + 0.1 * second)
    assert integrators(learner.network)[0].scale.item() == pytest.approx(expected, rel=1e-5)


def test_by_default_it_is_the_robust_quantile_and_all_of_it() -> None:
    assert asdict(METHOD) == {"quantile": 0.999, "fraction": 1.0}  # type: ignore[call-overload]  # a method is a frozen dataclass


def test_weights_and_statistics_are_the_teachers_and_stay_so() -> None:
    learner, course = _converted(Ann2Snn(), "reference")
    state, guide = learner.network.state_dict(), course.guide.network.state_dict()
    assert all(torch.equal(state[name], guide[name]) for name in guide)


def test_over_many_steps_it_answers_as_its_teacher() -> None:
    learner, course = _converted(Ann2Snn(quantile=1.0), "reference")
    batch = next(iter(course))
    exact = course.guide.see(batch.images).logits[0]

    def distance(steps: int) -> float:
        with torch.no_grad():
            mean = replace(learner, timesteps=steps)(batch.stimulus).logits.mean(0)
        return (mean - exact).abs().max().item()

    # What is missing is what membranes still hold, a spike each, divided by the steps.
    assert distance(512) < 0.3 * distance(64) < 0.1


def test_the_loss_that_is_told_is_the_teachers() -> None:
    guide = teacher()
    method = Ann2Snn()
    course = lesson(guide)
    told = [progress.loss for progress in method.fit(student(method=method), course)]
    exact = [
        nn.functional.cross_entropy(guide.see(batch.images).logits[0], batch.labels).item()
        for batch in course
    ]
    assert told == pytest.approx(exact, rel=1e-5)


def test_of_frames_it_looks_at_the_mean_that_makes_the_teachers_sum() -> None:
    method = Ann2Snn(quantile=1.0)
    guide = teacher("vgg", shape=EVENTS)
    learner = student("vgg", method=method, shape=EVENTS)
    course = lesson(guide, shape=EVENTS, steps=1)
    list(method.fit(learner, course))
    answers: list[Tensor] = []
    slot = guide.network.get_submodule("layer1.0.activation")
    with slot.register_forward_hook(lambda *given: answers.append(given[2])):
        guide.see(next(iter(course)).images)
    found = integrators(learner.network)[0].scale.item()
    assert found == pytest.approx(answers[0].max().item(), rel=1e-4)


def test_weights_of_another_topology_do_not_fit() -> None:
    method = Ann2Snn()
    with pytest.raises(UnsupportedError, match="another topology"):
        method.fit(student("vgg", method=method), lesson(teacher("resnet")))
