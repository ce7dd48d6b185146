"""Eight-by-eight handwritten digits: every method, every simulator, in minutes."""

from dataclasses import replace

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_SHORT = Recipe(epochs=6, batch_size=64, learning_rate=0.1, precision="float64")

SUITE = Suite(
    title="Handwritten digits, 8x8 (scikit-learn's bundled UCI test set)",
    protocol=1,
    dataset="digits",
    models=("digits_convnet",),
    teacher=TeacherSpec(
        model="digits_convnet",
        recipe=Recipe(epochs=30, batch_size=64, learning_rate=0.1, precision="float64"),
    ),
    # Four times the steps, tuned again: does the order of methods hold?
    recipes={"short": _SHORT, "long": replace(_SHORT, epochs=24)},
    timesteps=(1, 2, 4),
    seeds=(0, 1, 2, 3, 4),
    caution=(
        "A smoke test: 8x8 digits, six epochs (`long`: 24), a few seconds a cell. It shows that "
        "every method runs and learns on every simulator and what it costs. Most methods differ by "
        "less than their seeds do. All were tuned alike: eight points at T = 2 (`ttfs`: 1), each "
        "with three seeds, of which the best mean on 179 validation samples was taken; at T = 2 "
        "the authors' constants stand beside. An order found here need not hold on larger data."
    ),
    remarks={
        "hybrid_conversion": (
            "converted by `threshold_balancing` and fine-tuned for six epochs; the paper simulates "
            "100 steps and more. See `digits_conversion` for many steps."
        ),
        "qcfs": (
            "trained for four quantisation levels, the authors' value for CIFAR-10, whatever T is: "
            "below T = 4 the converted network rounds more coarsely than the one that was trained."
        ),
        "spike_backprop": (
            "neurons that stay silent get no gradient, and in few steps most do; that this is the "
            "reason was not isolated. The paper simulates 100 steps."
        ),
        "stdp": (
            "kernels learn from spike times alone and only the read-out from labels; kernels left "
            "at their random start do about as well here."
        ),
        "threshold_balancing": (
            "a conversion without training: thresholds are the largest currents, so that average "
            "currents need many steps to reach them; the paper simulates 2500."
        ),
        "tssd": (
            "batch norm pools the T steps that are deployed with T later ones, in which membranes "
            "are fuller; with the simulation not prolonged and the added losses off it is `direct`."
        ),
        "ttfs": (
            "it starts as its teacher and stays close to it, so equal seeds are no evidence of "
            "their own. Energy without neurons leaves the integration over time out; "
            "`horowitz_45nm_fp32:cached_with_neurons` counts it, and there nothing is saved over a "
            "ReLU network that skips zeros."
        ),
    },
)
