"""snnTorch's own ``Leaky``, one step a call, with our specification translated into its.

Its step is ``v' = beta v + x``, and it fires at ``v' - threshold > 0``. It resets in the step
*after* a spike: what it hands back is the membrane before the reset, as we want to see it, and
the next call begins by resetting it. Whether that means our neuron depends on where its two
resets stand:

    zero        v' = beta ((1 - s) v) + x         ours
    subtract    v' = beta v + x - s threshold     ours, v' = beta (v - s v_threshold) + x, only
                                                  if beta is 1, and only if the threshold is ours

A leaky neuron that subtracts would be left ``(1 - beta) v_threshold`` too low by every spike, and
one that does not leak would lose the number just below ours, at which it is made to fire. So to
subtract, and where the reset is part of the gradient, which its own never is, ``Leaky`` is told to
reset nothing and is handed a membrane that has been reset. Its ``reset_delay=False`` is no way
out: a membrane still above threshold after its reset is reset again before it may fire.
"""

from typing import Any

import snntorch
import torch
from torch import Tensor

from harness.contracts.neuron import NeuronSpec
from harness.neurons.membrane import AdaptedNeuron, at_rest, carried, just_below
from harness.neurons.surrogate import with_surrogate
from harness.neurons.time_major import join_steps, split_steps


class SnnTorchNeuron(AdaptedNeuron):
    """A layer of snnTorch's neurons."""

    def __init__(self, spec: NeuronSpec) -> None:
        """Keep ``spec``, and what it is in the simulator's terms."""
        super().__init__(spec)
        self.resets_itself = spec.reset == "zero" and spec.detach_reset

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        spec = self.spec
        steps = split_steps(current)
        state = at_rest(steps[0])
        leak = self.leak(state.dtype)
        gain = leak if spec.scale_input and spec.kind != "if" else 1.0
        leaky = self._leaky(leak, state)
        fired, membranes = [], []
        for x in steps:
            spikes, v = leaky(x.to(state.dtype) * gain, state)
            spikes = with_surrogate(
                spikes.to(v.dtype), v, v_threshold=spec.v_threshold, surrogate=spec.surrogate
            )
            state = v if self.resets_itself else self._reset(v, spikes)
            fired.append(carried(spikes, v).to(current.dtype))
            membranes.append(v)
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(fired)

    def _leaky(self, leak: float | Tensor, state: Tensor) -> Any:
        """Return their neuron, for one call: it keeps what it saw last, which nobody should.

        Their numbers are tensors without axes, which take part in the arithmetic of the
        membrane's type whatever their own is; but numbers of Python become float32.
        """
        beta = torch.as_tensor(1 - leak, dtype=None if isinstance(leak, Tensor) else torch.float64)
        threshold = just_below(self.spec.v_threshold, state.dtype)
        leaky = snntorch.Leaky(
            beta=beta,
            threshold=torch.tensor(threshold, dtype=torch.float64),
            reset_mechanism="zero" if self.resets_itself else "none",
            surrogate_disable=True,
        )
        # They enter every neuron into a list that keeps it for ever.
        snntorch.SpikingNeuron.instances.remove(leaky)
        return leaky

    def _reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        if self.spec.detach_reset:
            spikes = spikes.detach()
        return v * (1 - spikes) if self.spec.reset == "zero" else v - spikes * self.spec.v_threshold
