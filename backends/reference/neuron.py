"""One loop over time, one line for each line of the contract."""

from torch import Tensor

from harness.neurons.membrane import AdaptedNeuron, at_rest, carried
from harness.neurons.surrogate import spike
from harness.neurons.time_major import join_steps, split_steps


class ReferenceNeuron(AdaptedNeuron):
    """A layer of neurons as ``NeuronSpec`` has them."""

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        spec = self.spec
        steps = split_steps(current)
        after_reset = at_rest(steps[0])
        tau = 1 / self.w.to(after_reset.dtype).sigmoid() if spec.kind == "plif" else spec.tau
        fired, membranes = [], []
        for x in steps:
            v = self._charged(after_reset, x.to(after_reset.dtype), tau)
            spikes = spike(v, v_threshold=spec.v_threshold, surrogate=spec.surrogate)
            after_reset = self._reset(v, spikes)
            fired.append(carried(spikes, v).to(current.dtype))
            membranes.append(v)
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(fired)

    def _charged(self, v: Tensor, x: Tensor, tau: float | Tensor) -> Tensor:
        if self.spec.kind == "if":
            return v + x
        return v + (x - v) / tau if self.spec.scale_input else v - v / tau + x

    def _reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        if self.spec.detach_reset:
            spikes = spikes.detach()
        if self.spec.reset == "zero":
            return v * (1 - spikes)
        return v - self.spec.v_threshold * spikes
