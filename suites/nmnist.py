"""N-MNIST, small enough to train in minutes on two processor cores."""

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_SHORT = Recipe(epochs=20, batch_size=32, learning_rate=0.05, augmentation=("roll",))

SUITE = Suite(
    title="N-MNIST, recorded digits of 34x34",
    protocol=1,
    dataset="nmnist",
    models=("events_convnet",),
    teacher=TeacherSpec(model="events_convnet", recipe=_SHORT),
    recipes={"short": _SHORT},
    timesteps=(4, 5, 10, 16),
    seeds=(0, 1, 2),
    caution=(
        "Small: twenty epochs of a network of four layers. It shows that methods run and learn on "
        "recorded events, not which is best."
    ),
)
