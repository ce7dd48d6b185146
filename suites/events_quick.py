"""Events without a download: digits seen by a simulated sensor."""

from dataclasses import replace

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

# `tune events_quick --methods direct --trials 6` from 0.05: 53.6 % of the validation samples at
# 0.00556, 68.2 at 0.0167, 82.7 at 0.05, 84.9 at 0.0866, 92.7 at 0.15, 90.5 at 0.45.
_SHORT = Recipe(
    epochs=4, batch_size=32, learning_rate=0.15, augmentation=("roll",), precision="float64"
)

SUITE = Suite(
    title="Digits as events, 34x34, simulated",
    protocol=1,
    dataset="digits_events",
    models=("events_convnet_tiny",),
    teacher=TeacherSpec(
        model="events_convnet_tiny", recipe=replace(_SHORT, epochs=40, learning_rate=0.05)
    ),
    recipes={"short": _SHORT},
    timesteps=(4,),
    seeds=(0, 1, 2),
    backends=("spikingjelly",),
    witnesses=("norse", "spikingjelly"),
    caution=(
        "A smoke test: 8x8 digits before a simulated sensor, four epochs. Every method was tried "
        "at the same three learning rates (0.05, 0.15, 0.45) on one seed and 179 validation "
        "samples, which tells learning rates apart and no better than that."
    ),
)
