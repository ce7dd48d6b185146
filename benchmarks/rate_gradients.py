"""Rate-based backpropagation beside backpropagation through time: memory and seconds."""

import sys
from functools import lru_cache

import torch
from torch.nn.functional import cross_entropy

from benchmarks._networks import lesson_of, resnet20
from benchmarks._processes import answer_of, peak_mb
from benchmarks._timing import LESS, TIMES_AS_MUCH
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Lesson, Student, descend
from harness.training.rate import by_rate

SAMPLES = 64


@lru_cache
def _student(timesteps: int) -> Student:
    return resnet20("spikingjelly", NeuronSpec(scale_input=False), timesteps)


@lru_cache
def _lesson() -> Lesson:
    return lesson_of(Recipe(epochs=1, batch_size=SAMPLES))


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


def peak(gradient: str, timesteps: int) -> float:
    """Return the most memory in MB of a process that trained for two steps, all included."""
    return float(answer_of(__spec__.name, gradient, str(timesteps)))


def main() -> None:
    """Train for two steps and print the peak."""
    gradient, timesteps = sys.argv[1:]
    torch.set_num_threads(1)
    for _ in range(2):
        spend(gradient, int(timesteps))
    print(peak_mb())


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
        return peak(gradient, timesteps)

    track_peak_memory.unit = f"MB, {LESS}"  # type: ignore[attr-defined]  # asv reads the unit there


class Growth:
    """Peak memory of training with 8 steps over that with one."""

    params = ("rates", "time")
    param_names = ("gradient",)
    version = "1"
    timeout = 600
    unit = TIMES_AS_MUCH

    def track_peak_memory(self, gradient: str) -> float:
        return peak(gradient, 8) / peak(gradient, 1)


if __name__ == "__main__":
    main()
