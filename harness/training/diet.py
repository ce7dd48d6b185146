"""Neurons whose leak and threshold are trained, one of each a layer: DIET-SNN's.

N. Rathi & K. Roy, "DIET-SNN: a low-latency spiking neural network with direct input encoding
and leakage and threshold optimization", IEEE TNNLS 34(6), 2023, arXiv 2008.03658.

It is a module for slots and no ``kind`` of ``NeuronSpec``. A specification says in numbers,
before training, what a simulator's neuron does; here the two numbers are weights, the
threshold is found in data, the leak starts at 1, which no ``tau`` is, and the surrogate
depends on ``v / threshold``. No simulator has such a neuron. What each of them decides, as in
every other network here, is where a neuron fires and with what derivative: a step here is one
step from rest of the simulator's own integrator.
"""

from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts.neuron import NeuronSpec, Surrogate
from harness.neurons.membrane import at_rest
from harness.neurons.precision import widened
from harness.neurons.spiking import SpikingLayer
from harness.neurons.time_major import join_steps, split_steps
from harness.training.conversion import quantile_of
from harness.training.student import Student

DECIDES = NeuronSpec(kind="if", reset="subtract", surrogate=Surrogate(name="triangle", alpha=1.0))


class DietNeuron(SpikingLayer):
    """A layer of neurons with a trained ``leak`` and a trained ``threshold``, on a simulator.

    From ``v = 0`` on, with ``s`` the spikes, and ``u = v / threshold``,

        v[t] = leak (v[t-1] - threshold s[t-1]) + x[t],    s[t] = 1 if u[t] >= 1 else 0
        ds/du = height max(0, 1 - |u - 1|)

    The spike in the reset is left out of the gradient and the threshold there is not, so
    ``dv[t]/dthreshold`` has ``-leak s[t-1]``, and ``ds/dthreshold = -u/threshold ds/du``. The
    paper leaks no reset, ``leak v[t-1] - threshold s[t-1]``: the same at ``leak = 1``.

    Gradients of the two weights are divided by the root of how many neurons and steps they are
    sums over (as Esser et al., ICLR 2020, section 2.2, divide that of a quantiser's step). The
    authors' Adam is blind to such a factor; SGD carries a threshold out of reach in one step
    without it.

    The authors fire at ``u > 1``; the contract's neurons fire at their threshold, and so does
    this one. Dividing first changes no decision: the nearest number to a quotient that is
    less than 1 is less than 1. A threshold is kept from nothing; one that has become negative
    fires where ``v`` is below it, as the authors' does.

    Attributes:
        leak: What is left of a membrane after a step, a scalar.
        threshold: In units of the current, a scalar.
        costs_like: What a meter takes the neurons for: a product, a sum and a comparison a
            step, and a subtraction a spike.
    """

    costs_like = NeuronSpec(kind="lif", scale_input=False, reset="subtract")

    def __init__(
        self,
        neuron: nn.Module,
        *,
        leak: float = 1.0,
        threshold: float = 1.0,
        height: float = 0.3,
    ) -> None:
        """Let ``neuron``, an integrator of threshold 1, decide where these fire.

        Args:
            neuron: Its surrogate is ``max(0, 1 - |u - 1|)``.
            leak: To start from; the authors' is 1.
            threshold: To start from.
            height: Of the surrogate; the authors' is 0.3.
        """
        super().__init__()
        self.neuron = neuron
        self.leak = nn.Parameter(torch.tensor(leak))
        self.threshold = nn.Parameter(torch.tensor(threshold))
        self.height = height

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        steps = split_steps(current)
        kept = at_rest(steps[0])
        calm = max(1, current[:, :1].numel()) ** -0.5
        leak, threshold = _damped(self.leak, calm), _damped(self.threshold, calm)
        fired, membranes = [], []
        for x in steps:
            v = kept + x
            spikes = self._fire(v / threshold)
            kept = leak * (v - threshold * spikes.detach())
            fired.append(spikes.to(current.dtype))
            membranes.append(v)
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(fired)

    def _fire(
        self,
        u: Tensor,  # [N, ...]
    ) -> Tensor:
        """Return the spikes ``[N, ...]``: what the integrator answers to ``u``, from rest."""
        spikes: Tensor = self.neuron(_damped(u, self.height).unsqueeze(0)).squeeze(0)
        return spikes


class _Damped(torch.autograd.Function):
    """A signal as it is, and ``factor`` times its gradient."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return signal.view_as(signal)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return ctx.factor * gradient, None


def _damped(signal: Tensor, factor: float) -> Tensor:
    same: Tensor = _Damped.apply(signal, factor)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return same


def diet_neuron(student: Student, /) -> nn.Module:
    """Return such neurons on the student's simulator, with the authors' start."""
    return DietNeuron(student.neuron(DECIDES))


def diet_neurons(network: nn.Module, /) -> list[DietNeuron]:
    """Return the layers of such neurons in ``network``, in their order."""
    return [module for module in network.modules() if isinstance(module, DietNeuron)]


@torch.no_grad()
def find_thresholds(
    student: Student, stimulus: Tensor, /, *, quantile: float, share: float
) -> None:
    """Set every threshold to ``share`` of what arrives there, layer by layer in one pass.

    What arrives is the largest over time of a ``quantile`` of the layer's currents in a step,
    caused by the spikes of the layers before it with what arrives there for thresholds. Norms
    take the statistics of ``stimulus``, as in training. A layer that nothing excites keeps
    its threshold.
    """

    def find(layer: nn.Module, currents: tuple[Tensor, ...]) -> None:
        largest = max(quantile_of(widened(step), quantile) for step in split_steps(currents[0]))
        if isinstance(layer, DietNeuron) and largest > 0:
            layer.threshold.fill_(largest)
            excited.append(layer)

    excited: list[DietNeuron] = []
    handles = [layer.register_forward_pre_hook(find) for layer in diet_neurons(student.network)]
    student.network.train()
    try:
        student(stimulus)
    finally:
        for handle in handles:
            handle.remove()
    for layer in excited:
        layer.threshold.mul_(share)
