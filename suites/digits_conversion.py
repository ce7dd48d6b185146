"""The digits where conversions are at home: from eight steps to hundreds."""

from dataclasses import replace

from suites.digits import SUITE as DIGITS

SUITE = replace(
    DIGITS,
    title="Handwritten digits, 8x8, converted networks over many steps",
    timesteps=(8, 32, 128, 512),
    seeds=(0, 1, 2),
    methods=("ann2snn", "hybrid_conversion", "qcfs", "threshold_balancing"),
    baseline="qcfs",
    caution=(
        "A smoke test: 8x8 digits, six epochs, three seeds, nothing tuned. It shows how accuracy "
        "and operations grow with T, not which conversion is best. All seeds have one teacher: a "
        "conversion that learns nothing differs between them by the data that it is balanced on."
    ),
    remarks={
        "hybrid_conversion": "trained in no more than 100 steps, whatever T is.",
        "qcfs": (
            "trained for four quantisation levels, the authors' value for CIFAR-10, whatever T is: "
            "beyond T = 4 it cannot come closer to its twin than in expectation."
        ),
        "threshold_balancing": (
            "thresholds are the largest currents, so that average currents need many steps to "
            "reach them; the paper simulates 2500."
        ),
    },
)
