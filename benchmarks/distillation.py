"""One step of distillation: what most of a run consists of."""

from functools import lru_cache
from typing import cast

import torch
from torch import nn

from benchmarks._networks import lesson_of, resnet20
from harness import discovery
from harness.contracts.method import Method
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Lesson, Student


@lru_cache
def _student(backend: str, timesteps: int) -> Student:
    return resnet20(backend, NeuronSpec(), timesteps)


@lru_cache
def _lesson() -> Lesson:
    recipe = Recipe(epochs=1, batch_size=32, precision="bfloat16")
    return lesson_of(recipe, teacher=_student("reference", 1).twin(nn.ReLU))


class Step:
    """ResNet-20, 32 CIFAR-sized images, bfloat16, one thread, teacher included."""

    params = (["norse", "spikingjelly"], [1, 4], ["direct", "logit_kd", "feature_mse"])
    param_names = ("backend", "timesteps", "method")
    version = "1"
    timeout = 300
    number = 1
    repeat = (3, 10, 20.0)

    def setup(self, backend: str, timesteps: int, method: str) -> None:
        torch.set_num_threads(1)
        self.student = _student(backend, timesteps)
        self.lesson = _lesson()
        self.method = cast(Method, discovery.load("methods", method))

    def time_step(self, _backend: str, _timesteps: int, _method: str) -> None:
        for _ in self.method.fit(self.student, self.lesson):
            pass
