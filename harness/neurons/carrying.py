"""Going on in time where the last call stopped, for neurons that can."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from harness.neurons.spiking import SpikingLayer


@dataclass(kw_only=True)
class Memory:
    """What membranes hold between two calls.

    Attributes:
        held: ``[N, ...]`` after the last reset, in units of the threshold; None at rest.
    """

    held: Tensor | None = None


class CarryingLayer(SpikingLayer):
    """A layer that begins where its last call ended, while it has a ``memory``.

    Without one it starts from rest at each call, as every layer does.
    """

    memory: Memory | None = None


def carries(network: nn.Module) -> bool:
    """Return whether ``network`` may be run in parts: only its neurons know of time."""
    inside = {
        id(part)
        for module in network.modules()
        if isinstance(module, CarryingLayer)
        for part in module.modules()
    }
    return bool(inside) and not any(
        (isinstance(module, SpikingLayer) or getattr(module, "sees_time", False))
        and id(module) not in inside
        for module in network.modules()
    )


@contextmanager
def carrying(network: nn.Module) -> Iterator[None]:
    """Let the neurons of ``network`` begin at rest once, and then go on from call to call."""
    layers = [module for module in network.modules() if isinstance(module, CarryingLayer)]
    for layer in layers:
        layer.memory = Memory()
    try:
        yield
    finally:
        for layer in layers:
            layer.memory = None
