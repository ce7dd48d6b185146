"""N-MNIST, small enough to train in minutes on two processor cores."""

from dataclasses import replace

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

# `tune nmnist --methods direct --trials 4 --timesteps 4` on the 1,000 recordings of its data:
# 86.3 % of the validation samples at 0.1, 88.4 at 0.3, 83.2 at 0.9, 51.6 at 2.7.
_SHORT = Recipe(epochs=4, batch_size=32, learning_rate=0.3, augmentation=("roll",))

SUITE = Suite(
    title="N-MNIST, recorded digits of 34x34",
    protocol=1,
    dataset="nmnist",
    models=("events_convnet_tiny",),
    teacher=TeacherSpec(
        model="events_convnet_tiny", recipe=replace(_SHORT, epochs=40, learning_rate=0.05)
    ),
    recipes={"short": _SHORT},
    timesteps=(4, 5, 10, 16),
    seeds=(0, 1, 2),
    backends=("spikingjelly",),
    witnesses=("norse", "spikingjelly"),
    caution=(
        "A smoke test: four epochs of a network of four layers. Four learning rates were tried for "
        "`direct` alone, on validation data, and all methods have its best (0.3): what stands "
        "below it may lack its own."
    ),
)
