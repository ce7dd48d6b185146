"""A student and a teacher small enough to reason about, and the lesson between them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.contracts.model import Output
from harness.contracts.recipe import Recipe
from harness.training import Answer, Batch, Lesson, Student, Teacher
from harness.training.losses.classification import ClassLosses


class Tiny(nn.Module):
    """One convolution (tap ``stage1``) and a linear read-out of its mean; constant in time."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 1, bias=False)
        self.linear = nn.Linear(channels, 3)
        self.tap_channels = {"stage1": channels, "penultimate": channels}

    def forward(self, stimulus: Tensor, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        maps = self.conv(stimulus)
        features = maps.mean((-2, -1))
        found = {"stage1": maps, "penultimate": features}
        logits = self.linear(features).expand(timesteps, -1, -1)
        wanted = {name: found[name].expand(timesteps, *found[name].shape) for name in taps}
        return Output(logits=logits, taps=wanted)


class Nobody(Answer):
    """A teacher that says nothing, of a lesson in classes."""

    task = ClassLosses()

    def __init__(self) -> None: ...


NOBODY = Nobody()


class Said(Nobody):
    """A teacher that says what it is told to say."""

    def __init__(self, logits: Tensor) -> None:
        object.__setattr__(self, "said", logits)

    @property
    def logits(self) -> Tensor:
        said: Tensor = self.said  # type: ignore[attr-defined]  # set above
        return said


def student(channels: int = 2, timesteps: int = 2) -> Student:
    return Student(network=Tiny(channels), timesteps=timesteps, twin=lambda _: Tiny(channels))


def teacher(channels: int = 2) -> Teacher:
    network = Tiny(channels).eval().requires_grad_(requires_grad=False)
    return Teacher(network=network, mean=(0.5,), std=(0.5,))


def lesson(of: Teacher | None, *, steps: int = 3, learning_rate: float = 0.1) -> Lesson:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(steps):
        images = torch.rand(4, 1, 2, 2, generator=generator)
        labels = torch.tensor([0, 1, 2, 0])
        stimulus = (images - 0.5) / 0.5
        batches.append(
            Batch(stimulus=stimulus, labels=labels, indices=torch.arange(4), images=images)
        )
    return Lesson(
        recipe=Recipe(epochs=1, batch_size=4, learning_rate=learning_rate),
        epochs=[batches],
        steps=steps,
        budget_samples=4 * steps,
        teacher=of,
        device=torch.device("cpu"),
    )
