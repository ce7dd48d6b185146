"""Residual networks and lessons of random images: what benchmarks train."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from harness import discovery
from harness.contracts.inputs import Classes, Image
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Batch, Lesson, Student, Teacher

CLASSES = 10


def realised(
    topology: Any, neuron: Callable[[], nn.Module], *, side_px: int = 32, device: str = "cpu"
) -> nn.Module:
    """Return ``topology`` with ``neuron()`` in its slots, channels-last, from a fixed seed."""
    torch.manual_seed(0)
    network: Any = topology.build(
        neuron, input=Image(shape=(3, side_px, side_px)), output=Classes(CLASSES)
    )
    placed: nn.Module = network.to(device=device, memory_format=torch.channels_last)
    return placed


def resnet20(backend: str, spec: NeuronSpec, timesteps: int) -> Student:
    """Return a ResNet-20 of ``spec`` on ``backend``."""
    simulator: Any = discovery.load("backends", backend)
    twin = partial(realised, discovery.load("models", "resnet20"))
    spiking = twin(lambda: simulator.neuron(spec))
    return Student(network=spiking, timesteps=timesteps, twin=twin)


def batch_of(samples: int, *, side_px: int = 32, device: str = "cpu") -> Batch:
    """Return random images, channels-last, and labels."""
    chance = torch.Generator().manual_seed(0)
    images = torch.rand(samples, 3, side_px, side_px, generator=chance)
    images = images.to(device, memory_format=torch.channels_last)
    indices = torch.arange(samples, device=device)
    return Batch(stimulus=images, labels=indices % CLASSES, indices=indices, images=images)


def lesson_of(
    recipe: Recipe, *, teacher: nn.Module | None = None, steps: int = 1, device: str = "cpu"
) -> Lesson:
    """Return a lesson of the same batch in each of ``steps``."""
    taught = None
    if teacher is not None:
        taught = Teacher(network=teacher.eval(), mean=(0.5,) * 3, std=(0.25,) * 3)
    return Lesson(
        recipe=recipe,
        epochs=((batch_of(recipe.batch_size, device=device),) * steps,),
        steps=steps,
        budget_samples=steps * recipe.batch_size,
        teacher=taught,
        device=torch.device(device),
    )
