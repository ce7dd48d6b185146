"""A simulator's spikes with a derivative that no surrogate of a single step can express."""

from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts.neuron import NeuronSpec
from harness.neurons.spiking import SpikingNeuron


class OwnGradientNeuron(SpikingNeuron):
    """Neurons of a simulator whose gradient looks at the spikes of all steps."""

    def __init__(self, neuron: nn.Module, spec: NeuronSpec) -> None:
        """Wrap ``neuron``, which means ``spec``."""
        super().__init__(spec)
        self.neuron = neuron

    def by_current(
        self,
        gradient: Tensor,  # [T, N, ...], by the spikes
        spikes: Tensor,  # [T, N, ...]
    ) -> Tensor:
        """Return the gradient by the current, ``[T, N, ...]``."""
        raise NotImplementedError

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; the membrane in ``record`` has no gradient."""
        with torch.no_grad():
            spikes: Tensor = self.neuron(current, record)
        if not torch.is_grad_enabled():
            return spikes
        attached: Tensor = _Attached.apply(current, spikes, self)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
        return attached


class _Attached(torch.autograd.Function):
    """Spikes whose derivative by the current is that of their neurons."""

    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,  # noqa: ARG004  what the gradient is by
        spikes: Tensor,
        neurons: OwnGradientNeuron,
    ) -> Tensor:
        ctx.save_for_backward(spikes)
        ctx.neurons = neurons
        return spikes.view_as(spikes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (spikes,) = gradients, ctx.saved_tensors
        return ctx.neurons.by_current(gradient, spikes), None, None
