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
        "A smoke test: four epochs of a network of four layers, judged on 100 recordings. Every "
        "method was tried at the same three learning rates (0.1, 0.3, 0.9), each with three seeds, "
        "on 95 validation recordings, which tells learning rates apart and no better than that."
    ),
)
