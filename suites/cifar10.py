"""CIFAR-10 with the recipes and the timesteps of the literature."""

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_AUGMENTED = ("crop", "flip", "autoaugment", "cutout")

SUITE = Suite(
    title="CIFAR-10, ResNet-19 student, ResNet-19 teacher",
    protocol=1,
    dataset="cifar10",
    models=("resnet19",),
    teacher=TeacherSpec(
        model="resnet19",
        recipe=Recipe(epochs=300, batch_size=128, augmentation=_AUGMENTED, precision="bfloat16"),
    ),
    recipes={
        "speedrun": Recipe(
            epochs=30,
            batch_size=128,
            warmup=0.1,
            augmentation=("crop", "flip"),
            precision="bfloat16",
            compiled=True,
        ),
        # SGD, 0.1, cosine, 300 epochs, AutoAugment and Cutout: Yu et al., ICML 2025, appendix.
        "paper": Recipe(
            epochs=300,
            batch_size=128,
            augmentation=_AUGMENTED,
            precision="bfloat16",
            compiled=True,
        ),
    },
    # v <- v/2 + x, as most of the literature trains; dividing x too leaves deep layers silent.
    neuron=NeuronSpec(scale_input=False),
    timesteps=(1, 2, 4, 6),
    seeds=(0, 1, 2),
)
