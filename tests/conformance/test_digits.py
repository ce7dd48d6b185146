"""Weights that were trained on one simulator decide the same on every other."""

from functools import cache
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.dataset import Samples
from harness.contracts.inputs import Classes, Image
from harness.contracts.neuron import NeuronSpec
from harness.neurons.activation import activation

EPOCHS = 4  # enough to answer two in three rightly


def network_on(simulator: Backend) -> nn.Module:
    model: Any = discovery.load("models", "digits_convnet")
    made: nn.Module = model.build(
        activation(simulator, NeuronSpec()),
        input=Image(shape=(1, 8, 8)),
        output=Classes(classes=10),
    )
    return made.double()


def images_and_labels(samples: Samples) -> tuple[Tensor, Tensor]:
    return torch.tensor(samples.inputs).double() / 255, torch.tensor(samples.labels).long()


@cache
def trained_on_norse() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return weights after a few epochs of two steps, and the test images and labels."""
    data: Any = discovery.load("datasets", "digits")
    splits = data.load(None)
    images, labels = images_and_labels(splits.train)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = network_on(cast(Backend, discovery.load("backends", "norse")))
    descent = torch.optim.Adam(network.parameters(), lr=0.01)
    batches = list(zip(images.split(64), labels.split(64), strict=True))
    for x, y in EPOCHS * batches:
        descent.zero_grad()
        cross_entropy(network(x, 2).logits.mean(0), y).backward()
        descent.step()
    return network.state_dict(), *images_and_labels(splits.test)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
def test_all_544_decisions_are_those_of_the_simulator_that_trained(
    simulator: Backend, steps: int
) -> None:
    state, images, labels = trained_on_norse()
    answers = []
    for each in (cast(Backend, discovery.load("backends", "norse")), simulator):
        network = network_on(each)
        network.load_state_dict(state)
        with torch.no_grad():
            answers.append(network.eval()(images, steps).logits.mean(0).argmax(1))
    assert len(answers[0]) == 544
    assert torch.equal(*answers)
    assert float((answers[0] == labels).double().mean()) > 2 / 3
