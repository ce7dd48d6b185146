"""Real topologies, as small as the methods allow, on any simulator, and the lesson for them."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal, cast

import torch
from torch import nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.inputs import Classes, Image
from harness.contracts.method import Method, Realises
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Batch, Lesson, Student, Teacher
from suites.models._convnet import ConvNet
from suites.models._resnet import ResNet
from suites.models._vgg import VGG

Kind = Literal["convnet", "vgg", "resnet"]
TOPOLOGIES: dict[Kind, Model] = {
    "convnet": ConvNet(widths=(4, 6)),
    "vgg": VGG(widths=((4,), (6, 8))),
    "resnet": ResNet(blocks=(1, 1), widths=(4, 8)),
}
CLASSES, SAMPLES, SIDE = 3, 8, 8  # 8: SASTC attends in samples // 4 dimensions
STATIC, EVENTS = (1, SIDE, SIDE), (2, SIDE, SIDE)
SPEC = NeuronSpec(scale_input=False)
# By images with a class each; a map's fields can stand for tokens.
GIVEN = {"classes", "maps", "tokens"}


def on_images(given: Collection[str] = GIVEN) -> list[str]:
    """Return the methods that images with a class each have all for; others need another task."""
    cards = {name: discovery.method_card(name) for name in discovery.names("methods")}
    return [n for n, card in cards.items() if set(card.needs if card else ()) <= set(given)]


def _builder(kind: Kind, shape: tuple[int, int, int]) -> Callable[..., nn.Module]:
    def build(activation: Callable[[], nn.Module]) -> nn.Module:
        return TOPOLOGIES[kind].build(activation, input=Image(shape=shape), output=Classes(CLASSES))

    return build


def student(
    kind: Kind = "convnet",
    *,
    method: Method | None = None,
    backend: str = "reference",
    timesteps: int = 2,
    shape: tuple[int, int, int] = STATIC,
    seed: int = 0,
    spec: NeuronSpec = SPEC,
) -> Student:
    """Return a student as a cell gives it to ``method``: realised, weights from ``seed``."""
    simulator = cast(Backend, discovery.load("backends", backend))
    twin = _builder(kind, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = twin(lambda: simulator.neuron(spec))
    learner = Student(
        network=network, timesteps=timesteps, twin=twin, spec=spec, neuron=simulator.neuron
    )
    if isinstance(method, Realises):
        method.realise(learner)
    return learner


def teacher(
    kind: Kind = "convnet", *, shape: tuple[int, int, int] = STATIC, seed: int = 1
) -> Teacher:
    """Return a ReLU realisation, untrained, of the same topology as ``student(kind)``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _builder(kind, shape)(nn.ReLU)
    channels = shape[0]
    frozen = network.eval().requires_grad_(requires_grad=False)
    return Teacher(network=frozen, mean=(0.5,) * channels, std=(0.5,) * channels)


def lesson(
    of: Teacher | None,
    *,
    steps: int = 2,
    timesteps: int = 2,
    shape: tuple[int, int, int] = STATIC,
    learning_rate: float = 0.05,
) -> Lesson:
    """Return ``steps`` batches of noise; of frames, if ``shape`` is that of events."""
    generator = torch.Generator().manual_seed(0)
    frames = (timesteps,) if shape == EVENTS else ()
    batches = []
    for _ in range(steps):
        images = torch.rand(*frames, SAMPLES, *shape, generator=generator)
        batches.append(
            Batch(
                stimulus=(images - 0.5) / 0.5,
                labels=torch.arange(SAMPLES) % CLASSES,
                indices=torch.arange(SAMPLES),
                images=images,
                drawn=images,
            )
        )
    return Lesson(
        recipe=Recipe(epochs=1, batch_size=SAMPLES, learning_rate=learning_rate),
        epochs=[batches],
        steps=steps,
        budget_samples=SAMPLES * steps,
        teacher=of,
        device=torch.device("cpu"),
    )


def but(lesson: Lesson, **changes: float) -> Lesson:
    """Return ``lesson`` with another recipe."""
    return replace(lesson, recipe=replace(lesson.recipe, **changes))  # type: ignore[arg-type]  # fields of several types
