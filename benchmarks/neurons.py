"""One layer of neurons, forward and backward, on every simulator."""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.neuron import NeuronSpec


@lru_cache
def _layer(backend: str) -> nn.Module:
    """Return one layer; asv calls ``setup`` before every single timing."""
    return cast(Backend, discovery.load("backends", backend)).neuron(NeuronSpec())


@lru_cache
def _current(timesteps: int) -> Tensor:
    """Return ``[T, 64, 16, 16, 16]``, channels-last within a step, above the caches."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(timesteps * 64, 16, 16, 16, generator=generator)
    laid_out = steps.to(memory_format=torch.channels_last)
    return torch.unflatten(laid_out, 0, (timesteps, 64))


class Neurons:
    """A million currents a step, one thread."""

    params = (["reference", "norse", "spikingjelly"], [1, 4])
    param_names = ("backend", "timesteps")
    version = "1"
    timeout = 300
    number = 1
    repeat = (5, 20, 10.0)

    def setup(self, backend: str, timesteps: int) -> None:
        torch.set_num_threads(1)
        self.layer = _layer(backend)
        self.current = _current(timesteps)

    def time_forward(self, _backend: str, _timesteps: int) -> None:
        with torch.no_grad():
            self.layer(self.current)

    def time_forward_backward(self, _backend: str, _timesteps: int) -> None:
        current = self.current.detach().requires_grad_()
        self.layer(current).backward(self.current)
