"""SpikingJelly's multi-step functions, with our specification translated into theirs.

Theirs fire at ``v >= v_threshold`` and measure ``tau`` in steps, as we do; ``decay_input``
is our ``scale_input``, and a soft reset is the one without a ``v_reset``.
"""

import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.surrogate import (
    ATan,
    PiecewiseQuadratic,
    Rect,
    Sigmoid,
    SuperSpike,
    SurrogateFunctionBase,
)
from torch import Tensor

from harness.contracts.neuron import NeuronSpec, Surrogate
from harness.neurons.membrane import AdaptedNeuron, at_rest, carried, carried_
from harness.neurons.surrogate import spike
from harness.neurons.time_major import join_steps, split_steps

# Their derivatives are our formulas: PiecewiseQuadratic is alpha - alpha^2 |x| where that
# is positive, our triangle. These keep their fused kernels, but for Rect, which has none.
_THEIRS = {"atan": ATan, "sigmoid": Sigmoid, "triangle": PiecewiseQuadratic, "rectangle": Rect}


class SharpSuperSpike(SurrogateFunctionBase):  # type: ignore[misc]  # SpikingJelly ships no types
    """The superspike ``1 / (1 + alpha |x|)^2``; theirs is ``alpha / (1 + |x|)^2``."""

    def __init__(self, alpha: float) -> None:
        """Use sharpness ``alpha``."""
        super().__init__(spiking=True, alpha=alpha)

    @staticmethod
    def spiking_function(x: Tensor, alpha: float) -> Tensor:
        """Return 1 where ``x >= 0``, with our derivative."""
        return spike(x, v_threshold=0.0, surrogate=Surrogate(name="superspike", alpha=alpha))


def surrogate_function(surrogate: Surrogate) -> SurrogateFunctionBase:
    """Return SpikingJelly's object for ``surrogate``."""
    if surrogate.name != "superspike":
        return _THEIRS[surrogate.name](alpha=surrogate.alpha)
    # At alpha 1 the two formulas agree, and theirs has a fused kernel.
    return SuperSpike(alpha=1.0) if surrogate.alpha == 1 else SharpSuperSpike(surrogate.alpha)


class SpikingJellyNeuron(AdaptedNeuron):
    """A layer of SpikingJelly's neurons."""

    def __init__(self, spec: NeuronSpec) -> None:
        """Keep ``spec``, and what it is in the simulator's terms."""
        super().__init__(spec)
        self.fire = surrogate_function(spec.surrogate)
        self.v_reset = 0.0 if spec.reset == "zero" else None

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        rest = at_rest(current[0])
        if current.numel() == 0:  # their kernels refuse an empty batch
            if record is not None:
                record.append(current.to(rest.dtype))
            return current.clone()
        if record is not None or torch.compiler.is_compiling():
            return self._step_by_step(current, rest, record)
        spikes, v = self._run(current, rest, detach_reset=self.spec.detach_reset)
        return carried_(spikes.to(current.dtype), v)

    def _run(
        self, current: Tensor, v: Tensor, *, detach_reset: bool, never_fires: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the spikes ``[T, N, ...]`` and the membrane after the last reset."""
        spec = self.spec
        # With the threshold out of reach and no value to reset to, their neuron only charges.
        v_threshold = torch.finfo(v.dtype).max if never_fires else spec.v_threshold
        fires = (v_threshold, None if never_fires else self.v_reset, self.fire, detach_reset)
        if spec.kind == "if":
            spikes, v, _ = functional.if_multi_step(current, v, *fires)
        elif spec.kind == "lif":
            spikes, v, _ = functional.lif_multi_step(current, v, spec.tau, spec.scale_input, *fires)
        else:
            w = self.w.to(v.dtype)
            spikes, v, _ = functional.plif_multi_step(current, v, w, spec.scale_input, *fires)
        return spikes, v

    def _step_by_step(
        self, current: Tensor, after_reset: Tensor, record: list[Tensor] | None
    ) -> Tensor:
        """Do the same in steps, which show the membrane before reset, unlike their functions.

        It is the faster way for a compiler too: of their functions it makes a loop over all
        steps and a second one that carries NaN.
        """
        spec = self.spec
        fired, membranes = [], []
        for x in split_steps(current):
            v = self._charged(x, after_reset)
            spikes = self.fire(v - spec.v_threshold)
            after_reset = functional.voltage_reset(
                v, spikes, spec.v_threshold, self.v_reset, spec.detach_reset
            )
            fired.append(carried(spikes, v).to(current.dtype))
            membranes.append(v)
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(fired)

    def _charged(self, x: Tensor, v: Tensor) -> Tensor:
        spec = self.spec
        if spec.kind != "lif":
            return self._run(x.unsqueeze(0), v, detach_reset=True, never_fires=True)[1]
        charged: Tensor = functional.lif_charge(x, v, spec.tau, spec.scale_input, self.v_reset)
        return charged
