"""From an artificial network to a spiking one: the neuron, and what to train in its place.

Both sides call the threshold of a slot ``scale``, so the state dict of one is that of
the other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.data.encoding import normalised
from harness.neurons.carrying import CarryingLayer, Memory
from harness.neurons.precision import widened
from harness.neurons.spiking import SpikingNeuron
from harness.training.lesson import Batch, Teacher
from harness.training.student import Student

INTEGRATOR = NeuronSpec(kind="if", reset="subtract")
_SAMPLED = 2**20  # of more values than these, a quantile is taken of every n-th


class _Integrator(SpikingNeuron):
    """A simulator's integrators, of any threshold and start, that answer 0 or 1.

    The division is how a neuron of threshold 1 is given another threshold, and what is
    added is where it starts: neither is an operation of the neuron that is meant. The meter
    goes by ``spec``.
    """

    def __init__(self, neuron: nn.Module, *, share: float) -> None:
        super().__init__(INTEGRATOR)
        self.neuron = neuron
        self.share = share

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        scale: Tensor,
        record: list[Tensor] | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        # Ties decide spikes: bfloat16 would move the threshold by a part in 256.
        charge = widened(current) / scale
        held = None if memory is None else memory.held
        begin = self.share if held is None else held
        if isinstance(begin, Tensor) or begin:
            steps = torch.arange(len(current), device=current.device)
            first = (steps == 0).view(-1, *(1 for _ in current.shape[1:]))
            charge = charge + begin * first.to(charge.dtype)
        membranes = [] if record is None and memory is not None else record
        spikes: Tensor = self.neuron(charge, membranes)
        if memory is not None and membranes:
            memory.held = membranes[0][-1] - spikes[-1]  # what the simulator's reset leaves
        return spikes


class ScaledIntegrator(CarryingLayer):
    """A simulator's integrate-and-fire neurons with threshold and spikes of size ``scale``.

    Meant is, from ``v = share * scale`` on,

        v <- v + z;  s = 1 if v >= scale else 0;  v <- v - scale s;  out = scale s

    Divided by ``scale`` this is, for ``u = v / scale``, a neuron of threshold 1 that is
    fed with ``z / scale`` and starts from ``share``. Simulators start from 0, and
    ``0 + (z[0] / scale + share)`` is the same as ``share + z[0] / scale``. In the same way,
    and to the same bits, it goes on from where its last call ended while it has a memory.

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
        spikes: Tensor = self.integrator(
            current, self.scale, None if record is None else membrane, self.memory
        )
        if record is not None:
            record.append(membrane[0] * self.scale)
        return (spikes * self.scale).to(current.dtype)


def integrator(student: Student, /, *, scale: float = 1.0, share: float = 0.0) -> nn.Module:
    """Return scaled integrate-and-fire neurons on the student's simulator."""
    return ScaledIntegrator(student.neuron(INTEGRATOR), scale=scale, share=share)


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

    ``scale`` is ``fraction`` of a quantile of the first batch, then ``0.9 scale + 0.1`` of
    the same; a layer that has been silent so far keeps its start.
    """

    scale: Tensor
    began: Tensor

    def __init__(self, *, quantile: float, fraction: float = 1.0) -> None:
        """Note this ``fraction`` of this ``quantile``, of which 1 is the largest answer."""
        super().__init__()
        self.quantile = quantile
        self.fraction = fraction
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("began", torch.tensor(False), persistent=False)  # noqa: FBT003  a value

    def forward(self, current: Tensor) -> Tensor:
        """Return ``max(current, 0)``."""
        answer = current.relu()
        if self.training:
            self._note(widened(answer.detach()))
        return answer

    def _note(self, answer: Tensor) -> None:
        found = self.fraction * quantile_of(answer, self.quantile)
        if found > 0:
            self.scale.lerp_(found.to(self.scale.dtype), 0.1 if self.began else 1.0)
            self.began.fill_(True)  # noqa: FBT003  a value


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


def taken(batches: Iterator[Batch], samples: int) -> list[Batch]:
    """Take batches until they hold at least so many ``samples``, or there are no more."""
    found: list[Batch] = []
    while sum(len(batch.labels) for batch in found) < samples:
        if (batch := next(batches, None)) is None:
            break
        found.append(batch)
    return found


def balance(student: Student, batches: Sequence[Batch], *, scaling: float) -> None:
    """Set every threshold to ``scaling`` times the largest current of its layer, in order.

    That is the largest over ``batches``, the student's steps and the layer's neurons, where
    the layers before have their thresholds already (Sengupta et al., Front. Neurosci. 2019),
    at a ``scaling`` of 1: all are scaled once all are found (Rathi et al., ICLR 2020). A
    layer that nothing excites fires at no threshold, and keeps its own.
    """
    found: list[ScaledIntegrator] = []
    for slot in integrators(student.network):
        currents = (_largest_current(student, slot, batch.stimulus) for batch in batches)
        largest = max(currents, default=0.0)
        if largest > 0:
            slot.scale.fill_(largest)
            found.append(slot)
    for slot in found:
        slot.scale.mul_(scaling)


@torch.no_grad()
def _largest_current(student: Student, slot: ScaledIntegrator, stimulus: Tensor) -> float:
    seen: list[float] = []

    def look(_: nn.Module, currents: tuple[Tensor, ...]) -> None:
        seen.append(currents[0].amax().item())

    with slot.register_forward_pre_hook(look):
        student(stimulus)
    return max(seen)


@torch.no_grad()
def fit_first_layer(network: nn.Module, batch: Batch, guide: Teacher) -> None:
    """Make the first layer's mean current what it is in the teacher.

    An imported teacher may have been trained under another normalisation, ``a x + b`` of
    ours, channel by channel; and of frames it saw the sum, ``T`` times their mean. Then
    ``T W (a x + b)`` is ``W' x + shift`` with ``W' = T a W``, and the norm after it takes the
    shift. At the borders, where the teacher padded, that is a little too much.

    Raises:
        UnsupportedError: If the student's images are no such map of the teacher's.
    """
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    ours = _by_channel(batch.stimulus)
    theirs = _by_channel(normalised(batch.images, guide.mean, guide.std))
    if ours.shape != theirs.shape:
        raise UnsupportedError("the student is shown spikes where the teacher was shown images")
    around = ours - ours.mean(1, keepdim=True)
    spread = around.square().sum(1)
    gain = torch.where(spread > 0, (around * theirs).sum(1) / spread, 1.0)
    offset = theirs.mean(1) - gain * ours.mean(1)
    # Streamed images are bfloat16, and rounded again once they are normalised.
    unlike = (gain[:, None] * ours + offset[:, None] - theirs).abs().amax()
    if unlike > 0.02 * (1 + theirs.abs().amax()):
        raise UnsupportedError("the student is shown an encoding the teacher was not trained on")
    frames = len(batch.stimulus) if batch.stimulus.dim() == 5 else 1
    shift = (convolution.weight.sum((2, 3)) * offset.to(convolution.weight.dtype)).sum(1)
    convolution.weight.mul_((frames * gain).view(1, -1, 1, 1).to(convolution.weight.dtype))
    norm.get_buffer("running_mean").sub_(frames * shift)


def _by_channel(
    stimulus: Tensor,  # [..., C, H, W]
) -> Tensor:
    """Return ``[C, values]`` in float64."""
    return stimulus.double().movedim(-3, 0).flatten(1)
