"""Online action detection in minutes: real labels, simulated features."""

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_SHORT = Recipe(
    epochs=1,
    batch_size=64,
    optimiser="adam",
    learning_rate=6e-3,
    warmup=0.1,
    train_samples=9600,
)

SUITE = Suite(
    title="Online action detection, THUMOS14's labels with simulated features",
    protocol=1,
    dataset="thumos14_simulated",
    models=("spiking_oad",),
    teacher=TeacherSpec(
        model="oad_transformer",
        recipe=Recipe(
            epochs=1,
            batch_size=64,
            optimiser="adam",
            learning_rate=2e-3,
            warmup=0.1,
            train_samples=16_000,
        ),
    ),
    recipes={"short": _SHORT},
    timesteps=(2,),
    seeds=(0, 1, 2),
    backends=("spikingjelly",),
    caution=(
        "Simulated: the labels are THUMOS14's and the features are not; nothing here compares "
        "with published results. Networks are small and every 64th frame is judged."
    ),
)
