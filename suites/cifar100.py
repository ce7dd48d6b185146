"""CIFAR-100 on the student and at the budgets of CIFAR-10."""

from dataclasses import replace

from suites.cifar10 import SUITE as CIFAR10

SUITE = replace(
    CIFAR10,
    title="CIFAR-100, MS-ResNet-20 student, the same network with ReLU for a teacher",
    dataset="cifar100",
)
