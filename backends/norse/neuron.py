"""Norse's own steps, with our physics translated into theirs.

Norse decides where to fire and charges the membrane. What its steps cannot be told
(our surrogates, whether the reset is part of the gradient) happens between two of
them: the step is made to hand its membrane back *before* the reset, and Norse's reset
functions are applied to it here.
"""

import torch
from norse.torch.functional.iaf import (
    IAFFeedForwardState,
    IAFParameters,
    iaf_feed_forward_step,
)
from norse.torch.functional.lif_box import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    lif_box_feed_forward_step,
)
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import Tensor

from harness.contracts.neuron import NeuronSpec
from harness.neurons.membrane import AdaptedNeuron, at_rest, carried, just_below
from harness.neurons.surrogate import with_surrogate
from harness.neurons.time_major import join_steps, split_steps


def _unreset(spikes: Tensor, v: Tensor, v_reset: float, v_threshold: float) -> Tensor:  # noqa: ARG001  Norse's signature of a reset
    """Return the membrane as it is: Norse's LIF-box takes its reset as an argument."""
    return v


class NorseNeuron(AdaptedNeuron):
    """A layer of Norse's neurons."""

    def __init__(self, spec: NeuronSpec) -> None:
        """Keep ``spec``, and what it is in the simulator's terms."""
        super().__init__(spec)
        # The types a membrane at rest can have.
        dtypes = (torch.float32, torch.float64)
        self.fire_above = {dtype: just_below(spec.v_threshold, dtype) for dtype in dtypes}

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        spec = self.spec
        step = self._integrate if spec.kind == "if" else self._leak
        steps = split_steps(current)
        after_reset = at_rest(steps[0])
        fired, membranes = [], []
        for x in steps:
            spikes, v = step(x.to(after_reset.dtype), after_reset)
            spikes = with_surrogate(
                spikes, v, v_threshold=spec.v_threshold, surrogate=spec.surrogate
            )
            after_reset = self._reset(v, spikes)
            fired.append(carried(spikes, v).to(current.dtype))
            membranes.append(v)
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(fired)

    def _integrate(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spikes of Norse's integrator and its membrane before the reset.

        Its step resets to a value it is told: ``(1 - z) v' + z v_reset``. Told
        ``v' = v + x``, it returns ``v'`` whether it fired or not, exactly.
        """
        told = IAFParameters(
            v_th=self.fire_above[v.dtype],
            v_reset=v + x,
            method="heaviside",
        )
        spikes, after = iaf_feed_forward_step(x, IAFFeedForwardState(v), told)
        return spikes, after.v

    def _leak(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spikes of Norse's leaky integrator and its membrane before the reset.

        Its step is ``v' = v + dt tau_mem_inv (i + v_leak - v)``. In steps, ``dt`` is 1.

        Unscaled input is a charge that arrives at once: it lifts the membrane the step
        begins with, and by also being the current it is spared the leak:

            (v + x) + (x - (v + x)) / tau = v (1 - 1/tau) + x

        From rest this is exact for every ``tau``; a current ``tau x`` would be rounded
        twice, and overflow before ``x`` does.
        """
        told = LIFBoxParameters(
            tau_mem_inv=self.leak(v.dtype),
            v_leak=0.0,
            v_th=self.fire_above[v.dtype],
            method="heaviside",
            reset_method=_unreset,
        )
        begin = LIFBoxFeedForwardState(v if self.spec.scale_input else v + x)
        spikes, after = lif_box_feed_forward_step(x, begin, told, dt=1.0)
        return spikes, after.v

    def _reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        reset = reset_value if self.spec.reset == "zero" else reset_subtract
        if self.spec.detach_reset:
            spikes = spikes.detach()
        after: Tensor = reset(spikes, v, 0.0, self.spec.v_threshold)
        return after
