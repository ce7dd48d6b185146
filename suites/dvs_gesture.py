"""DVS-Gesture with the network and the timesteps of the literature."""

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

SUITE = Suite(
    title="DVS-Gesture, five convolutions of 128 channels",
    protocol=1,
    dataset="dvs_gesture",
    models=("dvs_gesture_net",),
    teacher=TeacherSpec(
        model="dvs_gesture_net",
        recipe=Recipe(
            epochs=100,
            batch_size=16,
            optimiser="adam",
            learning_rate=1e-3,
            augmentation=("roll",),
            precision="bfloat16",
        ),
    ),
    recipes={
        # Adam, 1e-3, cosine, batches of 16: Fang et al., ICCV 2021; 1,024 epochs there.
        "paper": Recipe(
            epochs=200,
            batch_size=16,
            optimiser="adam",
            learning_rate=1e-3,
            augmentation=("roll",),
            precision="bfloat16",
            compiled=True,
        ),
    },
    timesteps=(4, 5, 10, 16),
    seeds=(0, 1, 2),
)
