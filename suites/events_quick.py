"""Events without a download: recorded digits where they are, simulated ones elsewhere."""

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_SHORT = Recipe(
    epochs=10, batch_size=32, learning_rate=0.05, augmentation=("roll",), precision="float64"
)

SUITE = Suite(
    title="Digits as events, 34x34 (N-MNIST if it is there, else simulated: see the notes)",
    protocol=1,
    dataset="digits_events",
    models=("events_convnet_tiny",),
    teacher=TeacherSpec(model="events_convnet_tiny", recipe=_SHORT),
    recipes={"short": _SHORT},
    timesteps=(4,),
    seeds=(0, 1, 2),
    caution=(
        "A smoke test: a hundred recordings to test on, ten epochs. It shows that methods run and "
        "learn on event frames, not which is best."
    ),
)
