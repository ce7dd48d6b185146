"""From an artificial network to a spiking one: the neuron, and what to train in its place.

Both sides call the threshold of a slot ``scale``, so the state dict of one is that of
the other.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts.neuron import NeuronSpec
from harness.neurons.precision import widened
from harness.neurons.spiking import SpikingLayer, SpikingNeuron
from harness.training.student import Student

_INTEGRATOR = NeuronSpec(kind="if", reset="subtract")
_SAMPLED = 2**20  # of more values than these, a quantile is taken of every n-th


class _Integrator(SpikingNeuron):
    """A simulator's integrators, of any threshold and start, that answer 0 or 1.

    The division is how a neuron of threshold 1 is given another threshold, and what is
    added is where it starts: neither is an operation of the neuron that is meant. The meter
    goes by ``spec``.
    """

    def __init__(self, neuron: nn.Module, *, share: float) -> None:
        super().__init__(_INTEGRATOR)
        self.neuron = neuron
        self.share = share

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        scale: Tensor,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        # Ties decide spikes: bfloat16 would move the threshold by a part in 256.
        charge = widened(current) / scale
        if self.share:
            steps = torch.arange(len(current), device=current.device)
            first = (steps == 0).view(-1, *(1 for _ in current.shape[1:]))
            charge = charge + self.share * first.to(charge.dtype)
        spikes: Tensor = self.neuron(charge, record)
        return spikes


class ScaledIntegrator(SpikingLayer):
    """A simulator's integrate-and-fire neurons with threshold and spikes of size ``scale``.

    Meant is, from ``v = share * scale`` on,

        v <- v + z;  s = 1 if v >= scale else 0;  v <- v - scale s;  out = scale s

    Divided by ``scale`` this is, for ``u = v / scale``, a neuron of threshold 1 that is
    fed with ``z / scale`` and starts from ``share``. Simulators start from 0, and
    ``0 + (z[0] / scale + share)`` is the same as ``share + z[0] / scale``.

    For a constant ``z`` in ``[0, scale]`` the membrane after ``T`` steps lies in
    ``[0, scale)``, so the answers add up to ``scale floor(z T / scale + share)``, but to no
    more than ``scale T``; their mean is ``z`` within ``scale / T``.
    """

    scale: Tensor

    def __init__(self, neuron: nn.Module, *, scale: float = 1.0, share: float = 0.0) -> None:
        """Wrap ``neuron``, an integrator of threshold 1 that subtracts it."""
        super().__init__()
        self.integrator = _Integrator(neuron, share=share)
        self.register_buffer("scale", torch.tensor(scale))

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes, 0 or ``scale``, ``[T, N, ...]``; ``record`` as a neuron does."""
        membrane: list[Tensor] = []
        spikes: Tensor = self.integrator(current, self.scale, None if record is None else membrane)
        if record is not None:
            record.append(membrane[0] * self.scale)
        return (spikes * self.scale).to(current.dtype)


def integrator(student: Student, /, *, scale: float = 1.0, share: float = 0.0) -> nn.Module:
    """Return scaled integrate-and-fire neurons on the student's simulator."""
    return ScaledIntegrator(student.neuron(_INTEGRATOR), scale=scale, share=share)


def integrators(network: nn.Module, /) -> list[ScaledIntegrator]:
    """Return the scaled neurons of ``network``, in their order."""
    return [module for module in network.modules() if isinstance(module, ScaledIntegrator)]


class QcfsActivation(nn.Module):
    """What a scaled integrator with ``share = 1/2`` answers on average in ``levels`` steps.

    ``h(z) = scale clip(floor(z levels / scale + 1/2) / levels, 0, 1)`` (Bu et al., ICLR
    2022). The floor is passed by straight through, so ``dh/dz`` is 1 for ``z`` in
    ``(0, scale)`` and 0 elsewhere; ``dh/dscale`` is ``(h - z) / scale`` there, 0 below and
    1 above.
    """

    def __init__(self, *, levels: int, scale: float) -> None:
        """Cut at ``scale``, which is trained, into ``levels`` steps."""
        super().__init__()
        self.levels = levels
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, current: Tensor) -> Tensor:
        """Return ``h(current)``, of the same shape and dtype."""
        exact = widened(current)
        share = (exact / self.scale).clamp(0, 1)
        steps = (share * self.levels + 0.5).floor() / self.levels
        # In this order the value is exactly ``steps``, and the gradient that of ``share``.
        return (self.scale * (steps + (share - share.detach()))).to(current.dtype)


class QuantileRelu(nn.Module):
    """A ReLU that notes how large its answers are while it is trained.

    ``scale`` is a quantile of the first batch, then ``0.9 scale + 0.1 quantile``; a layer
    that has been silent so far keeps its start.
    """

    scale: Tensor

    def __init__(self, *, quantile: float) -> None:
        """Note this ``quantile``; 1 is the largest."""
        super().__init__()
        self.quantile = quantile
        self.began = False
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, current: Tensor) -> Tensor:
        """Return ``max(current, 0)``."""
        answer = current.relu()
        if self.training:
            self._note(widened(answer.detach()))
        return answer

    def _note(self, answer: Tensor) -> None:
        found = quantile_of(answer, self.quantile)
        if found > 0:
            self.scale.lerp_(found.to(self.scale.dtype), 0.1 if self.began else 1.0)
            self.began = True


def quantile_of(values: Tensor, quantile: float) -> Tensor:
    """Return a quantile of all ``values``, of at most a million of them; 1 is the largest."""
    if quantile == 1:
        return values.amax()
    flat = values.flatten()
    return torch.quantile(flat[:: 1 + len(flat) // _SAMPLED], quantile)


def pool_by_mean(network: nn.Module, /) -> None:
    """Exchange every max-pooling for an average: a mean over time passes through it."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            window: Any = (module.kernel_size, module.stride, module.padding)
            network.set_submodule(name, nn.AvgPool2d(*window))


def twin_of(student: Student, activation: Callable[[], nn.Module], /) -> nn.Module:
    """Return ``student.twin(activation)`` that shares the weights of a converted student.

    What the twin learns, the student knows at once: parameters, statistics of norms and
    the slots' ``scale`` are the same memory.
    """
    with torch.random.fork_rng(devices=[]):
        twin = student.twin(activation)
    twin.load_state_dict(student.network.state_dict(), assign=True)
    return twin
