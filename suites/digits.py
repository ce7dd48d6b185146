"""Eight-by-eight handwritten digits: every method, every simulator, in minutes."""

from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

SUITE = Suite(
    title="Handwritten digits, 8x8 (scikit-learn's bundled UCI test set)",
    protocol=1,
    dataset="digits",
    models=("digits_convnet",),
    teacher=TeacherSpec(
        model="digits_convnet",
        recipe=Recipe(epochs=30, batch_size=64, learning_rate=0.1, precision="float64"),
    ),
    recipes={"short": Recipe(epochs=6, batch_size=64, learning_rate=0.1, precision="float64")},
    timesteps=(1, 2, 4),
    seeds=(0, 1, 2, 3, 4),
    caution=(
        "A smoke test: 8x8 digits, six epochs, a few seconds a cell. It shows that every method "
        "runs and learns on every simulator, tuned alike, and what it costs. Most methods differ "
        "by less than their seeds do, and an order found here need not hold on larger data."
    ),
    remarks={
        "dist": (
            "its constants are the authors' for CIFAR-100 and its loss is large, so that this "
            "budget's learning rate, which is one for all, is too high for it: T = 2 and seed 0 "
            "give 95.2 %, at a fifth of the rate 96.7, and with temperature 1, the authors' for "
            "ImageNet, 98.7."
        ),
        "dkd": (
            "beta is 8, as the authors' for CIFAR-100; as with `dist` the learning rate is too "
            "high for so large a loss: T = 2 and seed 0 give 95.2 %, at a fifth of it 96.3."
        ),
        "esd": (
            "its loss is divided by T, as its authors do; at this budget's learning rate, which "
            "is one for all, that trains T times slower."
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
