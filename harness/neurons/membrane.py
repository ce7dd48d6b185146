"""What every adapter needs beside its simulator's neuron.

Simulators do not import each other; what they share for the contract's sake is here.
"""

import math

import torch
from torch import Tensor, nn

from harness.contracts.neuron import NeuronSpec
from harness.neurons.precision import wide
from harness.neurons.spiking import SpikingNeuron


def at_rest(
    step: Tensor,  # [N, ...]
) -> Tensor:
    """Return the membrane before the first step: 0, laid out like ``step``.

    It is held in float32 for narrower currents: in bfloat16 a membrane near the
    threshold is a multiple of 1/256, so simulators that round in another order would
    disagree on one spike in a few hundred.
    """
    return torch.zeros_like(step, dtype=wide(step.dtype))


def just_below(v_threshold: float, dtype: torch.dtype) -> float:
    """Return the number of ``dtype`` before the one nearest to ``v_threshold``.

    Norse and snnTorch fire at ``v - v_th > 0``, we at ``v >= v_threshold``. Between a number and
    the next of its type there is none, so ``v >= a`` is ``v > b`` for ``b`` just below
    ``a``; and the difference of two numbers is rounded to 0 only if they are equal
    (IEEE 754 has subnormals), so ``v > b`` is ``v - b > 0``. Passing ``a`` instead
    loses every spike of a membrane exactly at threshold, such as that of an
    integrator fed with 1/4.
    """
    nearest = torch.tensor(v_threshold, dtype=dtype)
    return float(torch.nextafter(nearest, torch.tensor(-math.inf, dtype=dtype)))


def trainable_decay(spec: NeuronSpec) -> nn.Parameter:
    """Return the ``w`` of ``plif``, where ``1/tau = sigmoid(w)``.

    From ``1/tau = 1 / (1 + exp(-w))`` follows ``w = -ln(tau - 1)``.
    """
    return nn.Parameter(torch.tensor(-math.log(spec.tau - 1)))


class AdaptedNeuron(SpikingNeuron):
    """A layer of a simulator's neurons: ``plif`` has a trainable ``w``."""

    def __init__(self, spec: NeuronSpec) -> None:
        """Keep ``spec``."""
        super().__init__(spec)
        if spec.kind == "plif":
            self.w = trainable_decay(spec)

    def leak(self, dtype: torch.dtype) -> float | Tensor:
        """Return ``1/tau``, 0 for an integrator; ``dtype`` is the membrane's."""
        if self.spec.kind == "plif":
            return self.w.to(dtype).sigmoid()
        return 0.0 if self.spec.kind == "if" else 1 / self.spec.tau


def carried(
    spikes: Tensor,  # [..., N, ...]
    v: Tensor,  # [N, ...]
) -> Tensor:
    """Return ``spikes``, but NaN in every neuron whose membrane ``v`` has left the numbers.

    Comparisons with NaN are false, so a broken network would otherwise pass for a
    silent one. Zero times a number is zero, but times NaN or infinity it is NaN.
    """
    v = v.detach().to(spikes.dtype)
    if torch.compiler.is_compiling():
        return spikes + (v - v)  # a compiler takes 0 v for 0
    return torch.add(spikes, v, alpha=0)  # one pass over memory instead of two


def carried_(
    spikes: Tensor,  # [..., N, ...]
    v: Tensor,  # [N, ...]
) -> Tensor:
    """Do what ``carried`` does, in the memory of ``spikes``, which nobody else may need.

    It takes half of the time or less: new memory has to be fetched page by page.
    """
    return spikes.add_(v.detach().to(spikes.dtype), alpha=0)
