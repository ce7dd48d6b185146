"""CIFAR-10 at budgets that two processor cores carry: from 300 steps of 64 images to 30 epochs."""

from dataclasses import replace

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_SPEEDRUN = Recipe(
    epochs=1,
    batch_size=64,
    learning_rate=0.3,
    warmup=0.1,
    augmentation=("crop", "flip"),
    train_samples=19_200,
    compiled=True,
)

SUITE = Suite(
    title="CIFAR-10, 300 steps to 30 epochs, MS-ResNet-20 against a published ResNet-20",
    protocol=2,
    dataset="cifar10",
    models=("ms_resnet20",),
    teacher=TeacherSpec(model="resnet20"),
    recipes={
        "speedrun": _SPEEDRUN,
        # Whether the order of methods holds at four times the steps.
        "longer": replace(_SPEEDRUN, epochs=2, train_samples=38_400),
        # As the suite ``cifar10`` has it: over an hour of a core a cell.
        "credible": replace(
            _SPEEDRUN, epochs=30, batch_size=128, train_samples=None, precision="bfloat16"
        ),
    },
    tuned_at={"longer": "speedrun", "credible": "speedrun"},
    # v <- v/2 + x, as most of the literature trains; dividing x too leaves deep layers silent.
    neuron=NeuronSpec(scale_input=False),
    timesteps=(2,),
    seeds=(0, 1, 2),
    backends=("spikingjelly",),
    witnesses=("norse", "spikingjelly"),
    caution=(
        "300 or 1,200 steps of 64 images, half an epoch or two, are a smoke test; `credible` is "
        "30 epochs, of few methods and seeds. Every method was tried for 300 steps at the same "
        "three learning rates (0.1, 0.3, 0.9) on one seed and 5,000 validation images before its "
        "seeds were run; all budgets take what was chosen so. An order found at a short budget "
        "need not hold at a longer one."
    ),
)
