"""What every method does with answers for frames: it learns from them, or refuses in words."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Features
from harness.contracts.method import Method, Realises
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Batch, Lesson, Student, Teacher
from suites.models._oad_transformer import OadTransformer
from suites.models._spiking_oad import SpikingOad
from suites.tasks.online_action_detection import OnlineActionDetection

TASK = OnlineActionDetection(ahead=2)
STUDENT = SpikingOad(
    width=8, heads=2, ratio=2, dilations=(1, 2), blocks=1, near=3, far=1, stride=2, work=4, ahead=2
)
TEACHER = OadTransformer(width=6, heads=2, inner=8, groups=2, queries=2, stride=2, work=4, ahead=2)
SAMPLES, LENGTH, WIDTH, CLASSES, STEPS = 4, 16, 5, 3, 3
NAMES = [
    name
    for name in discovery.names("methods")
    if (card := discovery.method_card(name)) and set(card.needs) <= set(TASK.gives)
]
# Spike times have no steps to repeat; the teacher is of another topology.
REFUSES = {"ttfs", "weight_transfer"}


def built(topology: Model, activation: Callable[[], nn.Module]) -> nn.Module:
    return topology.build(
        activation,
        input=Features(width=WIDTH, length=LENGTH, rate_hz=4),
        output=Classes(CLASSES),
    )


def student(method: Method, *, backend: str = "reference") -> Student:
    simulator = cast(Backend, discovery.load("backends", backend))
    torch.manual_seed(0)
    learner = Student(
        network=built(STUDENT, lambda: simulator.neuron(NeuronSpec(scale_input=False))),
        timesteps=2,
        twin=lambda activation: built(STUDENT, activation),
        neuron=simulator.neuron,
    )
    if isinstance(method, Realises):
        method.realise(learner)
    return learner


def lesson() -> Lesson:
    torch.manual_seed(1)
    frozen = built(TEACHER, nn.ReLU).eval().requires_grad_(requires_grad=False)
    generator, batches = torch.Generator().manual_seed(0), []
    for _ in range(STEPS):
        windows = torch.randn(SAMPLES, LENGTH, WIDTH, generator=generator)
        batches.append(
            Batch(
                stimulus=windows,
                labels=torch.randint(-1, CLASSES, (SAMPLES, 6, 1), generator=generator),
                indices=torch.arange(SAMPLES),
                images=windows,
                drawn=windows,
            )
        )
    return Lesson(
        recipe=Recipe(epochs=1, batch_size=SAMPLES, learning_rate=0.05, weight_decay=0.0),
        epochs=[batches],
        steps=STEPS,
        budget_samples=SAMPLES * STEPS,
        teacher=Teacher(network=frozen, mean=(), std=()),
        device=torch.device("cpu"),
        task=TASK,
    )


@pytest.mark.parametrize("name", sorted(set(NAMES) - REFUSES))
def test_a_method_learns_from_frames_and_leaves_its_teacher(name: str) -> None:
    method = cast(Method, discovery.load("methods", name))
    learner, course = student(method), lesson()
    before = {key: value.clone() for key, value in learner.network.named_parameters()}
    taught = {key: value.clone() for key, value in course.guide.network.state_dict().items()}
    progress = list(method.fit(learner, course))
    assert progress[-1].samples == SAMPLES * STEPS
    weights = {key: value for key, value in learner.network.named_parameters() if value.dim() > 1}
    assert [key for key, value in weights.items() if torch.equal(value, before[key])] == []
    left = course.guide.network.state_dict()
    assert all(torch.equal(value, left[key]) for key, value in taught.items())


@pytest.mark.parametrize("name", sorted(REFUSES))
def test_a_method_that_does_not_mean_it_refuses_in_words(name: str) -> None:
    method = cast(Method, discovery.load("methods", name))
    with pytest.raises(UnsupportedError, match=r"\w+ \w+"):
        list(method.fit(student(method), lesson()))
