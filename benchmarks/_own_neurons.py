"""The neurons of simulators as they come: their own layers, told what they can be told.

Each returns the spikes ``[T, N]`` of a current ``[T, N]``, or None where its simulator has no such
neuron. What these answer otherwise than ``NeuronSpec`` is what the adapters are for.
"""

import math
from collections.abc import Callable, Mapping

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
        fired.append(torch.from_dlpack(spikes))
    return torch.stack(fired)


OWN: Mapping[str, Own] = {
    each.__name__: each for each in (norse, sinabs, snntorch, spikingjelly, spyx)
}
