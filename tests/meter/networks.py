"""Random networks, stimuli and spikes for the laws."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.contracts.neuron import NeuronSpec
from tests.meter.neurons import PlainNeuron

seeds = st.integers(0, 2**31 - 1)


def random_spikes(
    seed: int,
    *shape: int,
    rate: float = 0.3,
) -> Tensor:
    """Return zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < rate).float()


class SpikingNet(nn.Module):
    """Convolutions, a norm, both poolings, a residual sum and a classifier, as ours are."""

    def __init__(
        self, seed: int = 0, neuron: Callable[[NeuronSpec], nn.Module] = PlainNeuron
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        spec = NeuronSpec(kind="lif", tau=1.5, v_threshold=0.1)
        self.conv1 = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(3)
        self.fire1 = neuron(spec)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.fire2 = neuron(spec)
        self.conv3 = nn.Conv2d(3, 4, 2, stride=2, bias=False)
        self.fire3 = neuron(spec)
        self.fc = nn.Linear(4, 5)
        self.eval()

    def forward(self, stimulus: Tensor, timesteps: int = 3) -> Tensor:
        """Return ``[T, N, K]`` for a static ``[N, C, H, W]``."""
        current = self.bn1(self.conv1(stimulus))
        spikes = self.fire1(current.unsqueeze(0).expand(timesteps, *current.shape))
        inner = self.conv2(spikes.flatten(0, 1)).view(spikes.shape)
        outer = self.conv3((self.fire2(inner) + spikes).flatten(0, 1))
        fired = self.fire3(outer.view(timesteps, -1, *outer.shape[1:])).flatten(0, 1)
        features = nn.functional.avg_pool2d(fired, fired.shape[-1]).flatten(1)
        logits: Tensor = self.fc(features).view(timesteps, -1, 5)
        return logits


def stimuli(seed: int, samples: int, *, side: int = 6) -> Tensor:
    """Return static images ``[N, 2, side, side]``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, 2, side, side, generator=generator)
