"""A neuron written from the contract, so that counting needs no simulator to be tested."""

import torch
from torch import Tensor

from harness.contracts.neuron import NeuronSpec
from harness.neurons.spiking import SpikingNeuron


class PlainNeuron(SpikingNeuron):
    """Integrate and fire, time-major, from rest in every call."""

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__(spec)

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
    ) -> Tensor:
        v, fired = torch.zeros_like(current[0]), []
        kept = 1.0 if self.spec.kind == "if" else 1 - 1 / self.spec.tau
        gain = 1 / self.spec.tau if self.spec.kind == "lif" and self.spec.scale_input else 1.0
        for x in current:
            v = v * kept + x * gain
            spikes = (v >= self.spec.v_threshold).to(v.dtype)
            soft = self.spec.reset == "subtract"
            v = v - spikes * self.spec.v_threshold if soft else v * (1 - spikes)
            fired.append(spikes)
        return torch.stack(fired)


class Given(SpikingNeuron):
    """A neuron whose spikes are given, whatever its current is."""

    def __init__(
        self,
        spikes: Tensor,  # [T, N, ...]
        spec: NeuronSpec | None = None,
    ) -> None:
        super().__init__(spec or NeuronSpec(kind="if"))
        self.spikes = spikes

    def forward(self, current: Tensor) -> Tensor:
        return self.spikes.to(current.dtype).clone()
