"""The marks of layers of neurons. Every other module is taken for a stateless one."""

from torch import nn

from harness.contracts.neuron import NeuronSpec


class SpikingLayer(nn.Module):
    """A layer that fires: given ``(current, record)`` it also tells its membrane.

    See ``harness.contracts.backend.Neuron``; its spikes may have a size.
    """


class SpikingNeuron(SpikingLayer):
    """A layer of neurons that mean ``spec``. Every simulator's derive from it.

    It answers 0 or 1. By this class the meter knows what it costs, and training by rates
    what its gradient is.
    """

    def __init__(self, spec: NeuronSpec) -> None:
        """Keep ``spec``."""
        super().__init__()
        self.spec = spec
