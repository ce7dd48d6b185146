"""CIFAR-10 at a budget that two processor cores carry: 300 steps a cell."""

from dataclasses import replace

from harness.contracts.recipe import Recipe
from harness.contracts.suite import TeacherSpec
from suites.cifar10 import SUITE as CIFAR10

# In float32: cores without instructions for bfloat16 take longer with it.
_SPEEDRUN = Recipe(
    epochs=1,
    batch_size=64,
    learning_rate=0.3,
    warmup=0.1,
    augmentation=("crop", "flip"),
    train_samples=19_200,
)

SUITE = replace(
    CIFAR10,
    title="CIFAR-10, 300 steps of 64 images, MS-ResNet-20",
    teacher=TeacherSpec(
        model="ms_resnet20",
        recipe=replace(_SPEEDRUN, epochs=5, learning_rate=0.1, train_samples=None),
    ),
    recipes={
        "speedrun": _SPEEDRUN,
        # For what has such instructions.
        "bfloat16": replace(_SPEEDRUN, precision="bfloat16", compiled=True),
    },
    timesteps=(2,),
    seeds=(0, 1, 2),
)
