"""A small Siamese tracker: trained on photographs, tried on real sequences, in minutes."""

from dataclasses import replace

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_QUICK = Recipe(
    epochs=3, batch_size=16, optimiser="adam", learning_rate=3e-3, weight_decay=1e-4, warmup=0.1
)

SUITE = Suite(
    title="Tracking with SiamFC++ at a small size: OTB's Crossing and VOT's bag in one pass",
    protocol=1,
    dataset="tracking_quick",
    models=("siamfcpp_small",),
    # Of the two stills held out, a window moving over each, a teacher of 6 epochs follows a patch
    # with a success of 13 %, one of 20 with 42.
    teacher=TeacherSpec(model="siamfcpp_small", recipe=replace(_QUICK, epochs=20)),
    recipes={"quick": _QUICK},
    timesteps=(1,),
    seeds=(0, 1, 2),
    neuron=NeuronSpec(scale_input=False),
    methods=("direct", "logit_kd", "s4_kd"),
    backends=("spikingjelly",),
    witnesses=("norse", "spikingjelly"),
    caution=(
        "A smoke test: a thousand new pairs of patches of two dozen photographs an epoch, and two "
        "sequences to judge. It shows that the methods run, learn and track, and what that costs; "
        "an order found on two sequences is none."
    ),
)
