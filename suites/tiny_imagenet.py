"""Tiny ImageNet: two hundred classes at 64x64, with the timesteps of the literature."""

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_AUGMENTED = ("crop", "flip")

SUITE = Suite(
    title="Tiny ImageNet, ResNet-19 and VGG-16 students, ResNet-19 teacher",
    protocol=1,
    dataset="tiny_imagenet",
    models=("resnet19", "vgg16"),
    teacher=TeacherSpec(
        model="resnet19",
        recipe=Recipe(epochs=200, batch_size=128, augmentation=_AUGMENTED, precision="bfloat16"),
    ),
    recipes={
        "speedrun": Recipe(
            epochs=30,
            batch_size=128,
            warmup=0.1,
            augmentation=_AUGMENTED,
            precision="bfloat16",
            compiled=True,
        ),
        "long": Recipe(
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
