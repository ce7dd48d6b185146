"""Neurons without memory."""

from torch import Tensor, nn

from harness.contracts.neuron import Surrogate
from harness.neurons.precision import widened
from harness.neurons.surrogate import spike


class Heaviside(nn.Module):
    """Fires wherever, and whenever, its input is at least 0; its surrogate is ``atan``.

    It means no ``NeuronSpec``: it stands outside the slots of a topology, where every method
    leaves it, on every simulator.
    """

    def forward(self, signal: Tensor) -> Tensor:
        """Return 1 where ``signal`` is at least 0 and 0 elsewhere, in its shape and type."""
        fired = spike(widened(signal), v_threshold=0.0, surrogate=_SURROGATE)
        return fired.to(signal.dtype)


_SURROGATE = Surrogate()
