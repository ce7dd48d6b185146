"""What a teacher and a student are given alike: weights, batches, one quiet process."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harness.contracts.dataset import DatasetCard, Samples, Source
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.contracts.suite import Recipe
from harness.data.batches import Feed
from harness.data.encoding import Presentation
from harness.data.streaming import Stream, batches_for
from harness.engine.jobs import Conditions
from harness.seeds import torch_seed
from harness.training.lesson import Batch, Lesson, Teacher
from harness.training.student import Student, no_simulator


def prepare(conditions: Conditions) -> None:
    """Set threads and determinism of this process."""
    torch.set_num_threads(conditions.threads)
    torch.use_deterministic_algorithms(conditions.deterministic, warn_only=False)
    # Deterministic mode would fill all fresh memory, and nothing here reads memory unwritten.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # its stub knows it not


def build(
    model: Model,
    activation: Callable[[], nn.Module],
    card: DatasetCard,
    /,
    *,
    seed: int,
    timesteps: int,
    device: torch.device,
    spec: NeuronSpec | None = None,
    neuron: Callable[[NeuronSpec], nn.Module] = no_simulator,
) -> Student:
    """Return ``model`` with ``activation`` in its slots and weights drawn from ``seed``.

    The weights depend on the seed alone, so realisations of one topology start equal.
    ``spec`` and ``neuron`` are what the student says of its simulator.
    """

    def realised(activation: Callable[[], nn.Module]) -> nn.Module:
        # Any: torch's stubs know no memory_format.
        network: Any = model.build(activation, classes=card.classes, shape=card.shape)
        placed: nn.Module = network.to(device=device, memory_format=torch.channels_last)
        return placed

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "weights"))
        network = realised(activation)
    return Student(
        network=network,
        timesteps=timesteps,
        twin=realised,
        spec=spec or NeuronSpec(),
        neuron=neuron,
    )


@dataclass(frozen=True, kw_only=True)
class _Epochs:
    """Batches ready for a student, epoch by epoch."""

    feed: Feed | Stream
    presentation: Presentation
    epochs: int

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        return (self._epoch(epoch) for epoch in range(self.epochs))

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        stimulus_of = self.presentation.begin(f"epoch/{epoch}")
        for indices, images, labels in self.feed.epoch(epoch):
            yield Batch(stimulus=stimulus_of(images), labels=labels, indices=indices, images=images)


def lesson_of(
    recipe: Recipe,
    samples: Samples | Source,
    card: DatasetCard,
    /,
    *,
    presentation: Presentation,
    seed: int,
    teacher: Teacher | None,
    device: torch.device,
) -> Lesson:
    """Return what a method may spend: the same batches for every method and simulator."""
    feed = batches_for(recipe, samples, card, seed=seed, device=device)
    return Lesson(
        recipe=recipe,
        epochs=_Epochs(feed=feed, presentation=presentation, epochs=recipe.epochs),
        steps=recipe.epochs * len(feed),
        budget_samples=recipe.epochs * len(feed) * feed.batch_size,
        teacher=teacher,
        device=device,
    )


def recipe_from(fields: Mapping[str, Any], /) -> Recipe:
    """Return a cell's recipe as a value; JSON's lists become tuples again."""
    plain: dict[str, Any] = {name: value for name, value in fields.items() if name != "name"}
    plain["augmentation"] = tuple(plain["augmentation"])
    return Recipe(**plain)
