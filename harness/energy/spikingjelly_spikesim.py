"""SpikeSim, memristor crossbars at 65 nm, as SpikingJelly 2.0 computes it.

Only convolutions are covered. In the original's ``dense`` mode sparsity changes nothing.
"""

from functools import partial
from typing import Any, Literal

from harness.energy._bill import Bill
from harness.energy._delegated import Delegated, Estimate, estimated

MODELS = {
    activity: Delegated(title="SpikeSim", file="spikingjelly_spikesim")
    for activity in ("dense", "event")
}


def bill_network(
    network: Any,
    stimulus: Any,
    /,
    *,
    samples: int,
    activity: Literal["dense", "event"] = "dense",
) -> Bill:
    """Return what one sample's convolutions cost.

    Args:
        network: A torch module of SpikingJelly's layers and IF or LIF neurons, in
            evaluation mode. It runs once; the caller resets it.
        stimulus: What it is called with.
        samples: In ``stimulus``.
        activity: ``dense`` is the original, ``event`` SpikingJelly's own extension.
    """
    name = f"spikingjelly_spikesim:{activity}"
    return estimated(partial(_estimate, activity), network, stimulus, name=name, samples=samples)


def _estimate(activity: str) -> Estimate:
    from spikingjelly.activation_based.op_counter.spikesim import (
        SpikeSimEnergyConfig,
        estimate_spikesim_energy,
    )

    return partial(estimate_spikesim_energy, config=SpikeSimEnergyConfig(activity_mode=activity))
