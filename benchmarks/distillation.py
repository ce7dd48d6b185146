"""One step of distillation: what most of a run consists of."""

from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn

from harness import discovery
from harness.contracts.inputs import Classes, Image
from harness.contracts.method import Method
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.training import Batch, Lesson, Student, Teacher


@lru_cache
def _student(backend: str, timesteps: int) -> Student:
    model: Any = discovery.load("models", "resnet20")
    simulator: Any = discovery.load("backends", backend)

    def realised(activation: object) -> nn.Module:
        network: Any = model.build(activation, input=Image(shape=(3, 32, 32)), output=Classes(10))
        placed: nn.Module = network.to(memory_format=torch.channels_last)
        return placed

    spiking = realised(lambda: simulator.neuron(NeuronSpec()))
    return Student(network=spiking, timesteps=timesteps, twin=realised)


@lru_cache
def _lesson() -> Lesson:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(32, 3, 32, 32, generator=generator)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(32) % 10
    batch = Batch(stimulus=images, labels=labels, indices=torch.arange(32), images=images)
    teacher = Teacher(
        network=_student("reference", 1).twin(nn.ReLU).eval(),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return Lesson(
        recipe=Recipe(epochs=1, batch_size=32, precision="bfloat16"),
        epochs=((batch,),),
        steps=1,
        budget_samples=32,
        teacher=teacher,
        device=torch.device("cpu"),
    )


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
