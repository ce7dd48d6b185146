"""Eight-by-eight handwritten digits: every method, every simulator, in minutes."""

from harness.contracts.suite import Recipe, Suite, TeacherSpec

SUITE = Suite(
    title="Handwritten digits, 8x8 (scikit-learn's bundled UCI test set)",
    protocol=1,
    dataset="digits",
    models=("digits_convnet",),
    teacher=TeacherSpec(
        model="digits_convnet",
        recipe=Recipe(epochs=30, batch_size=64, learning_rate=0.1),
    ),
    recipes={"short": Recipe(epochs=6, batch_size=64, learning_rate=0.1)},
    timesteps=(1, 2, 4),
    seeds=(0, 1, 2),
)
