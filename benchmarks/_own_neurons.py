"""The neurons of simulators as they come: their own layers, told what they can be told.

Each returns the spikes ``[T, N]`` of a current ``[T, N]``, or None where its simulator has no such
neuron. What these answer otherwise than ``NeuronSpec`` is what the adapters are for.
"""

import math
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import cast

import torch
from torch import Tensor

from harness.contracts.neuron import NeuronSpec

Own = Callable[[NeuronSpec, Tensor], Tensor | None]


def norse(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``IAFCell`` or ``LIFBoxCell``, which reset to zero."""
    from norse.torch import IAFCell, LIFBoxCell
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.lif_box import LIFBoxParameters

    if spec.reset == "subtract" or (spec.kind == "lif" and not spec.scale_input):
        return None
    v_th = torch.tensor(spec.v_threshold)
    if spec.kind == "if":
        cell = IAFCell(IAFParameters(v_th=v_th))
    else:
        cell = LIFBoxCell(LIFBoxParameters(torch.tensor(1 / spec.tau), v_th=v_th), dt=1.0)
    state, fired = None, []
    for x in current:
        spikes, state = cell(x, state)
        fired.append(spikes)
    return torch.stack(fired)


def spikingjelly(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``IFNode`` or ``LIFNode``."""
    from spikingjelly.activation_based.neuron import IFNode, LIFNode

    told = {
        "v_threshold": spec.v_threshold,
        "v_reset": 0.0 if spec.reset == "zero" else None,
        "step_mode": "m",
    }
    if spec.kind == "if":
        node = IFNode(**told)
    else:
        node = LIFNode(tau=spec.tau, decay_input=spec.scale_input, **told)
    spikes: Tensor = node(current)
    return spikes


def snntorch(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``Leaky``, whose input is not scaled."""
    from snntorch import Leaky

    if spec.kind == "lif" and spec.scale_input:
        return None
    beta = 1.0 if spec.kind == "if" else 1 - 1 / spec.tau
    leaky = Leaky(beta=beta, threshold=spec.v_threshold, reset_mechanism=spec.reset)
    state, fired = leaky.reset_mem(), []
    for x in current:
        spikes, state = leaky(x, state)
        fired.append(spikes)
    return torch.stack(fired)


def sinabs(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``IAF`` or ``LIF``, which fire as often in a step as they may."""
    from sinabs.activation import MembraneReset, MembraneSubtract
    from sinabs.layers import IAF, LIF

    told = {
        "spike_threshold": torch.tensor(spec.v_threshold),
        "reset_fn": MembraneReset() if spec.reset == "zero" else MembraneSubtract(),
    }
    if spec.kind == "if":
        layer = IAF(**told)
    else:
        tau_mem = -1 / math.log(1 - 1 / spec.tau)
        layer = LIF(tau_mem=tau_mem, norm_input=spec.scale_input, **told)
    spikes: Tensor = layer(current.transpose(0, 1)).transpose(0, 1)
    return spikes


def spyx(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``IF`` or ``LIF``, which subtract."""
    import jax.numpy as jnp
    from spyx.nn import IF, LIF

    if spec.reset == "zero" or (spec.kind == "lif" and spec.scale_input):
        return None
    if spec.kind == "if":
        layer = IF(current.shape[1:], threshold=spec.v_threshold)
    else:
        beta = 1 - 1 / spec.tau
        layer = LIF(current.shape[1:], beta=beta, threshold=spec.v_threshold, rngs=None)
    state, fired = jnp.zeros(current.shape[1:]), []
    for x in current:
        spikes, state = layer(jnp.from_dlpack(x.contiguous()), state)
        fired.append(torch.utils.dlpack.from_dlpack(spikes))
    return torch.stack(fired)


def rockpool(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``LIFNeuronTorch``, which has no synapse and subtracts."""
    # It looks for a chip's driver, whose package downloads the real one when it is imported.
    sys.modules.setdefault("samna", cast(ModuleType, None))
    from rockpool.nn.modules import LIFNeuronTorch

    if spec.reset == "zero" or (spec.kind == "lif" and spec.scale_input):
        return None
    # exp(-dt/tau_mem) = 1 - 1/tau
    tau_mem = math.inf if spec.kind == "if" else -1 / math.log(1 - 1 / spec.tau)
    layer = LIFNeuronTorch(current.shape[1:], tau_mem=tau_mem, threshold=spec.v_threshold, dt=1.0)
    spikes: Tensor = layer(current.unsqueeze(0))[0].squeeze(0)
    return spikes


def brainpy(spec: NeuronSpec, current: Tensor) -> Tensor | None:
    """Return the answer of ``dyn.Lif`` for training, by Euler; its ``IF`` never fires."""
    import brainpy as bp
    import jax.numpy as jnp

    if spec.kind == "if":
        return None
    layer = bp.dyn.Lif(
        current.shape[1:],
        tau=spec.tau,
        R=1.0 if spec.scale_input else spec.tau,
        V_rest=0.0,
        V_reset=0.0,
        V_th=spec.v_threshold,
        spk_reset="hard" if spec.reset == "zero" else "soft",
        method="euler",
        mode=bp.math.training_mode,
    )
    layer.reset_state(1)
    fired = []
    for step, x in enumerate(current):
        bp.share.save(i=step, t=float(step), dt=1.0)
        spikes = layer.update(jnp.asarray(x.numpy())[None])
        fired.append(torch.tensor(bp.math.as_numpy(spikes)[0]))
    return torch.stack(fired)


OWN: Mapping[str, Own] = {
    each.__name__: each for each in (brainpy, norse, sinabs, snntorch, spikingjelly, spyx, rockpool)
}
