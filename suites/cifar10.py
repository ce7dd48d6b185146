"""CIFAR-10 on a residual network that can be trained, at four budgets."""

from dataclasses import replace

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

# The shortest budget at which literature can be met: 30 epochs, on a GPU about a minute.
_CREDIBLE = Recipe(
    epochs=30,
    batch_size=128,
    learning_rate=0.3,
    warmup=0.1,
    augmentation=("crop", "flip"),
    precision="bfloat16",
    compiled=True,
)
_LONG = replace(_CREDIBLE, epochs=100)

SUITE = Suite(
    title="CIFAR-10, MS-ResNet-20 student, the same network with ReLU for a teacher",
    protocol=2,
    dataset="cifar10",
    # Adding spikes' currents: untrained features of the standard shortcut are at chance.
    models=("ms_resnet20",),
    teacher=TeacherSpec(
        model="ms_resnet20", recipe=replace(_LONG, learning_rate=0.1, compiled=False)
    ),
    recipes={
        "credible": _CREDIBLE,
        "long": _LONG,
        "speedrun": replace(_CREDIBLE, epochs=3),
        # SGD, 0.1, cosine, 300 epochs, AutoAugment and Cutout: Yu et al., ICML 2025, appendix.
        "paper": replace(
            _CREDIBLE,
            epochs=300,
            learning_rate=0.1,
            warmup=0.0,
            augmentation=("crop", "flip", "autoaugment", "cutout"),
        ),
    },
    # v <- v/2 + x, as most of the literature trains; dividing x too leaves deep layers silent.
    neuron=NeuronSpec(scale_input=False),
    timesteps=(1, 2, 4),
    seeds=(0, 1, 2, 3, 4),
)
