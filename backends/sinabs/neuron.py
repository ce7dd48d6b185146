"""Sinabs' own leaky step, with our specification translated into its.

It charges, fires at ``v >= v_threshold`` and resets in one step, as we do. What it is told:

- ``alpha_mem``, what is kept of the membrane: ``1 - 1/tau``, not the ``exp(-1/tau_mem)`` that its
  layers make of a time constant. Its integrator is the same step with 1.
- No ``norm_input``: the input's gain would be ``1 - alpha_mem``, which loses ``tau`` roundings.
- ``SingleSpike``: by default it fires as often in a step as the threshold fits into the membrane.
"""

from typing import Any

from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike
from sinabs.layers.functional.lif import lif_forward_single
from torch import Tensor

from harness.contracts.neuron import NeuronSpec
from harness.neurons.membrane import AdaptedNeuron, at_rest, carried
from harness.neurons.surrogate import with_surrogate
from harness.neurons.time_major import join_steps, split_steps


class Fire:
    """Their ``SingleSpike`` in the membrane's type, with our surrogates.

    Theirs answers in float32, through which the gradient of a float64 membrane is rounded.
    """

    required_states = ("v_mem",)

    def __init__(self, spec: NeuronSpec) -> None:
        """Use the surrogate of ``spec``."""
        self.spec = spec

    def apply(
        self,
        v: Tensor,  # [N, ...]
        v_threshold: float,
        _surrogate: None,
    ) -> Tensor:
        """Return the spikes ``[N, ...]``."""
        fired = SingleSpike.apply(v.detach(), v_threshold, None)
        return with_surrogate(
            fired.to(v.dtype), v, v_threshold=v_threshold, surrogate=self.spec.surrogate
        )


class SinabsNeuron(AdaptedNeuron):
    """A layer of Sinabs' neurons."""

    def __init__(self, spec: NeuronSpec) -> None:
        """Keep ``spec``, and what it is in the simulator's terms."""
        super().__init__(spec)
        self.fire = Fire(spec)

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        spec = self.spec
        steps = split_steps(current)
        state = {"v_mem": at_rest(steps[0])}
        dtype = state["v_mem"].dtype
        leak = self.leak(dtype)
        gain = leak if spec.scale_input and spec.kind != "if" else 1.0
        fired, membranes = [], []
        for x in steps:
            charged = state  # it writes the charged membrane there and returns a reset copy
            spikes, state = lif_forward_single(
                input_data=x.to(dtype) * gain,
                alpha_mem=1 - leak,
                alpha_syn=None,
                state=charged,
                spike_threshold=spec.v_threshold,
                spike_fn=self.fire,
                reset_fn=self._reset,
                surrogate_grad_fn=None,
                min_v_mem=None,
                norm_input=False,
            )
            v = charged["v_mem"]
            fired.append(carried(spikes, v).to(current.dtype))
            membranes.append(v)
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(fired)

    def _reset(self, spikes: Tensor, state: dict[str, Tensor], v_threshold: float) -> Any:
        """Return the state after the reset: theirs, detached or not as ours is.

        Their reset to zero is always detached. Subtracting what is there is the same and is
        not: ``v - s v``.
        """
        spec = self.spec
        if spec.reset == "zero" and spec.detach_reset:
            return MembraneReset()(spikes, state, v_threshold)
        subtracted = state["v_mem"] if spec.reset == "zero" else None
        subtract = MembraneSubtract(subtract_value=subtracted)
        return subtract(spikes.detach() if spec.detach_reset else spikes, state, v_threshold)
