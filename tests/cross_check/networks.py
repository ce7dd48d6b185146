"""Networks that are small enough to count by hand."""

from collections.abc import Callable

import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.ann2snn import FXConverter, RateCodingRecipe
from torch import Tensor, nn

STEPS = 4


def linear(
    *, weight: float | None = None, zeros: tuple[tuple[int, int], ...] = (), bias: bool = False
) -> nn.Sequential:
    """Return a layer from 3 to 5, in a container, because a bare layer is not seen by all.

    Args:
        weight: All weights; by default they differ, and none is 0 or 1.
        zeros: Pruned weights.
        bias: Whether there is one.
    """
    layer = nn.Linear(3, 5, bias=bias)
    differing = torch.linspace(0.25, 0.75, 15).reshape(5, 3)
    layer.weight.data = differing if weight is None else torch.full((5, 3), weight)
    for place in zeros:
        layer.weight.data[place] = 0
    return nn.Sequential(layer)


def diagonal() -> tuple[nn.Sequential, Tensor]:
    """Return the layer and the input of Sinabs' own ``test_conv_synops_counter``."""
    return nn.Sequential(generic(nn.Conv2d(1, 5, 2, bias=False))), torch.eye(3)[None, None]


def generic(layer: nn.Module, *, low: float = 0.25) -> nn.Module:
    """Return ``layer`` with weights from ``low`` to ``low + 1/2``.

    None is 0 or 1: SpikingJelly would take such weights for spikes, and NeuroBench
    skips those that are 0.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        parameter.data = low + 0.5 * torch.rand(parameter.shape, generator=generator)
    return layer


class Steps(nn.Module):
    """SpikingJelly's neurons inside a network that sees all steps as samples."""

    def __init__(self, cell: nn.Module, steps: int = STEPS) -> None:
        super().__init__()
        functional.set_step_mode(cell, "m")
        self.cell = cell
        self.steps = steps

    def forward(
        self,
        current: Tensor,  # [T*N, ...]
    ) -> Tensor:
        functional.reset_net(self.cell)
        spikes: Tensor = self.cell(torch.unflatten(current, 0, (self.steps, -1))).flatten(0, 1)
        return spikes


def integrate_and_fire() -> neuron.IFNode:
    """Return neurons with threshold 1 and soft reset."""
    return neuron.IFNode(v_reset=None)


def two_layers(cell: Callable[[], nn.Module] = integrate_and_fire) -> nn.Sequential:
    """Return the network whose spikes on ``[1, 1/2]`` are derived in ``cases``."""
    network = nn.Sequential(nn.Linear(2, 2, bias=False), Steps(cell()), nn.Linear(2, 2, bias=False))
    network[0].weight.data = torch.tensor([[0.5, 0.25], [0.9, 0.0]])
    network[2].weight.data = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    return network


class Repeated(nn.Module):
    """A single-step network shown the same image in each of four steps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        images: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        functional.reset_net(self.network)
        return torch.stack([self.network(images) for _ in range(STEPS)])


def converted() -> tuple[nn.Module, Tensor]:
    """Return what SpikingJelly's ``RateCodingRecipe`` makes of a small ReLU network, and images."""
    generator = torch.Generator().manual_seed(0)
    artificial = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10, bias=False),
    ).eval()
    for parameter in artificial.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) - 0.4
    images = torch.rand(2, 1, 8, 8, generator=generator)
    # Calibrated on the images themselves, the largest current would equal its threshold.
    spiking = FXConverter(recipe=RateCodingRecipe([0.9 * images])).convert(artificial)
    return Repeated(spiking).eval(), images
