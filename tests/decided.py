"""Logits that are made up, and networks that run over time, for decisions and early exits."""

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.contracts.neuron import NeuronSpec
from tests.meter.neurons import PlainNeuron


def random_case(
    seed: int, steps: int, samples: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, samples)
    # The truth is 1 above the noise, so that accuracy grows with the steps.
    truth = np.eye(classes)[labels]
    return truth + 2 * draw.normal(size=(steps, samples, classes)), labels


cases = st.builds(
    random_case,
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.integers(1, 30),
    st.integers(2, 5),
)


class Looped(nn.Module):
    """A static image, encoded once, then four steps of neurons, read out in each."""

    def __init__(self, *, steps: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        spec = NeuronSpec(kind="lif", tau=2.0, scale_input=False)
        self.steps = steps
        self.encoder = nn.Linear(6, 8)
        self.hidden = PlainNeuron(spec)
        self.middle = nn.Linear(8, 8)
        self.last = PlainNeuron(spec)
        self.read_out = nn.Linear(8, 3)
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator)

    def forward(self, image: Tensor) -> Tensor:
        current = self.encoder(image)
        spikes = self.hidden(current.expand(self.steps, *current.shape))
        spikes = self.last(self.middle(spikes))
        answer: Tensor = self.read_out(spikes)
        return answer


def images(samples: int = 5) -> Tensor:
    return torch.rand(samples, 6, generator=torch.Generator().manual_seed(1))


class EveryStep(Looped):
    """The same, but the encoder runs anew in every step."""

    def forward(self, image: Tensor) -> Tensor:
        current = self.encoder(image.expand(self.steps, *image.shape))
        answer: Tensor = self.read_out(self.last(self.middle(self.hidden(current))))
        return answer
