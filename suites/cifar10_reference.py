"""CIFAR-10 as the literature has it: MS-ResNet-18, a ResNet-34 teacher, AutoAugment, Cutout."""

from dataclasses import replace

from harness.contracts.suite import TeacherSpec
from suites.cifar10 import SUITE as CIFAR10

_REFERENCE = replace(
    CIFAR10.recipes["long"], augmentation=("crop", "flip", "autoaugment", "cutout")
)

SUITE = replace(
    CIFAR10,
    title="CIFAR-10, MS-ResNet-18 student, ResNet-34 teacher, 100 epochs",
    models=("ms_resnet18",),
    teacher=TeacherSpec(
        model="resnet34", recipe=replace(_REFERENCE, learning_rate=0.1, compiled=False)
    ),
    recipes={"reference": _REFERENCE},
    timesteps=(2, 4),
)
