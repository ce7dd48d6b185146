"""CIFAR10-DVS with the network, the frames and the timesteps of the literature."""

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

SUITE = Suite(
    title="CIFAR10-DVS at 48x48, VGGSNN",
    protocol=1,
    dataset="cifar10_dvs",
    models=("vggsnn",),
    teacher=TeacherSpec(
        model="vggsnn",
        recipe=Recipe(
            epochs=100,
            batch_size=128,
            augmentation=("roll", "flip"),
            precision="bfloat16",
        ),
    ),
    recipes={
        # Rolling and mirroring, 300 epochs: Deng et al., ICLR 2022, appendix; Adam there.
        "paper": Recipe(
            epochs=300,
            batch_size=128,
            optimiser="adam",
            learning_rate=1e-3,
            augmentation=("roll", "flip"),
            precision="bfloat16",
            compiled=True,
        ),
    },
    # v <- v/2 + x, as most of the literature trains; dividing x too leaves deep layers silent.
    neuron=NeuronSpec(scale_input=False),
    timesteps=(4, 5, 10, 16),
    seeds=(0, 1, 2),
)
