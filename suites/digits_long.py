"""The digits over tens of steps, by the slow neurons that spike-based back-propagation means."""

from dataclasses import replace

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from suites.digits import SUITE as DIGITS

SUITE = replace(
    DIGITS,
    title="Handwritten digits, 8x8, over 25 to 100 steps",
    # v <- 0.99 v + x, reset to zero: Lee et al., Front. Neurosci. 2020.
    neuron=NeuronSpec(tau=100.0, scale_input=False),
    # The authors' steps of 0.0033, of a sum over 16 samples and without momentum, are as long.
    recipes={
        "short": Recipe(epochs=6, batch_size=64, learning_rate=0.005, precision="float64"),
    },
    timesteps=(25, 50, 100),
    seeds=(0,),
    methods=("direct", "spike_backprop"),
    remarks={},
)
