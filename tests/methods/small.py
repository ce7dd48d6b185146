"""Real topologies of images, as small as the methods allow, and the lesson for them."""

from collections.abc import Collection
from dataclasses import replace

from harness import discovery
from harness.contracts.method import Method
from harness.contracts.neuron import NeuronSpec
from harness.training import Lesson, Student, Teacher
from tests.methods.classrooms import (
    CLASSES,
    EVENTS,
    SAMPLES,
    SPEC,
    STATIC,
    TOPOLOGIES,
    Kind,
    images,
)

# By images with a class each; a map's fields can stand for tokens.
GIVEN = {"classes", "maps", "tokens"}


def on_images(given: Collection[str] = GIVEN) -> list[str]:
    """Return the methods that images with a class each have all for; others need another task."""
    cards = {name: discovery.method_card(name) for name in discovery.names("methods")}
    return [n for n, card in cards.items() if set(card.needs if card else ()) <= set(given)]


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
    room = images(kind, shape=shape)
    return room.student(method=method, backend=backend, timesteps=timesteps, seed=seed, spec=spec)


def teacher(
    kind: Kind = "convnet", *, shape: tuple[int, int, int] = STATIC, seed: int = 1
) -> Teacher:
    """Return a ReLU realisation, untrained, of the same topology as ``student(kind)``."""
    return images(kind, shape=shape).teacher(seed=seed)


def lesson(
    of: Teacher | None,
    *,
    steps: int = 2,
    timesteps: int = 2,
    shape: tuple[int, int, int] = STATIC,
    learning_rate: float = 0.05,
) -> Lesson:
    """Return ``steps`` batches of noise; of frames, if ``shape`` is that of events."""
    room = images(shape=shape, timesteps=timesteps)
    return room.lesson(of, steps=steps, learning_rate=learning_rate)


def but(lesson: Lesson, **changes: float) -> Lesson:
    """Return ``lesson`` with another recipe."""
    return replace(lesson, recipe=replace(lesson.recipe, **changes))  # type: ignore[arg-type]  # fields of several types


__all__ = [
    "CLASSES",
    "EVENTS",
    "GIVEN",
    "SAMPLES",
    "SPEC",
    "STATIC",
    "TOPOLOGIES",
    "Kind",
    "but",
    "lesson",
    "on_images",
    "student",
    "teacher",
]
