"""CIFAR-100 with the recipes and the timesteps of the literature: those of CIFAR-10."""

from dataclasses import replace

from suites.cifar10 import SUITE as CIFAR10

SUITE = replace(
    CIFAR10, title="CIFAR-100, ResNet-19 student, ResNet-19 teacher", dataset="cifar100"
)
