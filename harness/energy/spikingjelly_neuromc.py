"""NeuroMC, 32 nm with a hierarchy of memories, as SpikingJelly 2.0 computes it."""

from typing import Any

from harness.energy._bill import Bill
from harness.energy._delegated import Delegated, Estimate, estimated

MODELS = {"forward": Delegated(title="NeuroMC", file="spikingjelly_neuromc")}


def bill_network(network: Any, stimulus: Any, /, *, samples: int) -> Bill:
    """Return what one sample costs to infer.

    Args:
        network: A torch module of SpikingJelly's layers and neurons. It runs once; the
            caller resets it. Its parameters' gradients are cleared.
        stimulus: What it is called with.
        samples: In ``stimulus``.
    """
    name = "spikingjelly_neuromc:forward"
    return estimated(_estimate, network, stimulus, name=name, samples=samples)


def _estimate() -> Estimate:
    from spikingjelly.activation_based.op_counter.neuromc import estimate_neuromc_runtime_energy

    estimate: Estimate = estimate_neuromc_runtime_energy
    return estimate
