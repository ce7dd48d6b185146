"""The digits from a teacher with four times the channels of its student."""

from dataclasses import replace

from suites.digits import SUITE as DIGITS

SUITE = replace(
    DIGITS,
    title="Handwritten digits, 8x8, from a teacher larger than the student",
    teacher=replace(DIGITS.teacher, model="digits_convnet_wide"),
    timesteps=(2, 4),
    methods=("direct", "distilling_spikes", "logit_kd"),
    caution=(
        "A smoke test: 8x8 digits, six epochs. All three were tuned alike, by eight trials at T = "
        "4 on one seed and 179 validation samples. A teacher of four times the channels is about a "
        "point better than its student here, so there is little to distil."
    ),
    remarks={
        "distilling_spikes": (
            "its teacher is the wide network with spiking neurons, trained before the student on "
            "the same batches; that training is not in the student's samples."
        ),
    },
)
