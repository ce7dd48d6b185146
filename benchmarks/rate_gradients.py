"""Rate-based backpropagation beside backpropagation through time: memory and seconds."""

import os
import subprocess
import sys
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from harness import discovery
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Batch, Lesson, Student, descend
from harness.training.rate import by_rate

SAMPLES = 64


@lru_cache
def _student(timesteps: int) -> Student:
    model: Any = discovery.load("models", "resnet20")
    simulator: Any = discovery.load("backends", "spikingjelly")

    def realised(activation: object) -> nn.Module:
        network: Any = model.build(activation, classes=10, shape=(3, 32, 32))
        placed: nn.Module = network.to(memory_format=torch.channels_last)
        return placed

    spiking = realised(lambda: simulator.neuron(NeuronSpec(scale_input=False)))
    return Student(network=spiking, timesteps=timesteps, twin=realised)


@lru_cache
def _lesson() -> Lesson:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(SAMPLES, 3, 32, 32, generator=generator)
    images = images.to(memory_format=torch.channels_last)
    labels, indices = torch.arange(SAMPLES) % 10, torch.arange(SAMPLES)
    batch = Batch(stimulus=images, labels=labels, indices=indices, images=images)
    return Lesson(
        recipe=Recipe(epochs=1, batch_size=SAMPLES),
        epochs=((batch,),),
        steps=1,
        budget_samples=SAMPLES,
        teacher=None,
        device=torch.device("cpu"),
    )


def spend(gradient: str, timesteps: int) -> None:
    """Train for one step."""
    student = _student(timesteps)
    forward = by_rate(student) if gradient == "rates" else None
    for _ in descend(
        student,
        _lesson(),
        lambda output, _, labels: cross_entropy(output.logits.mean(0), labels),
        forward=forward,
    ):
        pass


def peak_mb(gradient: str, timesteps: int) -> float:
    """Return the most memory that a process had which trained for two steps, all included."""
    # Not ru_maxrss: that of a new process begins at its parent's.
    code = (
        "import re, sys, torch; from pathlib import Path; "
        "from benchmarks.rate_gradients import spend; "
        "torch.set_num_threads(1); "
        "[spend(sys.argv[1], int(sys.argv[2])) for _ in range(2)]; "
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", code, gradient, str(timesteps)],
        check=True,
        capture_output=True,
        text=True,
        # What is freed goes back at once; else the peak is that of the allocator's gaps.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return int(done.stdout) / 1024


class Gradients:
    """ResNet-20, 64 CIFAR-sized images, float32, one thread, SpikingJelly."""

    params = (["rates", "time"], [1, 2, 4, 8])
    param_names = ("gradient", "timesteps")
    version = "1"
    timeout = 600
    number = 1
    repeat = (3, 5, 30.0)

    def setup(self, gradient: str, timesteps: int) -> None:
        torch.set_num_threads(1)
        spend(gradient, timesteps)

    def time_step(self, gradient: str, timesteps: int) -> None:
        spend(gradient, timesteps)

    def track_peak_memory(self, gradient: str, timesteps: int) -> float:
        return peak_mb(gradient, timesteps)

    track_peak_memory.unit = "MB"  # type: ignore[attr-defined]  # asv reads the unit there


class Growth:
    """Peak memory of training with 8 steps over that with one."""

    params = ("rates", "time")
    param_names = ("gradient",)
    version = "1"
    timeout = 600
    unit = "ratio"

    def track_peak_memory(self, gradient: str) -> float:
        return peak_mb(gradient, 8) / peak_mb(gradient, 1)
