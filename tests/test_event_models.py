"""Networks for events: the published widths, frames in, one answer a step."""

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Image
from harness.contracts.neuron import NeuronSpec
from harness.neurons.activation import activation
from suites.models.dvs_gesture_net import MODEL as GESTURE_NET
from suites.models.dvs_gesture_net import GestureNet
from suites.models.events_convnet import MODEL as EVENTS_CONVNET
from suites.models.resnet18 import MODEL as RESNET18
from suites.models.resnet19 import MODEL as RESNET19
from suites.models.resnet20 import MODEL as RESNET20
from suites.models.vggsnn import MODEL as VGGSNN

SUITES = ("nmnist", "dvs_gesture", "cifar10_dvs", "events_quick")


def counts(timesteps: int, samples: int, side: int) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    drawn = torch.randint(0, 4, (timesteps, samples, 2, side, side), generator=chance)
    return drawn.float()


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_vggsnn_has_the_published_widths() -> None:
    network = VGGSNN.build(nn.ReLU, input=Image(shape=(2, 48, 48)), output=Classes(10))
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [64, 128, 256, 256, 512, 512, 512, 512]
    # 48 pixels halved four times are 3x3 of 512 channels.
    (classifier,) = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
    assert classifier.in_features == 512 * 9
    inputs = [2, *widths[:-1]]
    convolutions = sum(9 * a * b for a, b in zip(inputs, widths, strict=True))
    assert parameters(network) == convolutions + 2 * sum(widths) + 10 * (512 * 9 + 1)


@pytest.mark.parametrize(("side", "maps"), [(128, 16), (64, 4), (48, 1)])
def test_the_gesture_net_has_the_published_widths_at_any_size(side: int, maps: int) -> None:
    network = GESTURE_NET.build(nn.ReLU, input=Image(shape=(2, side, side)), output=Classes(11))
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [128] * 5
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    # 128 pixels halved five times are 4x4 of 128 channels, as in the paper.
    assert [layer.in_features for layer in linear] == [128 * maps, 512]
    assert linear[-1].out_features == 11


def test_frames_too_small_for_five_poolings_are_refused() -> None:
    with pytest.raises(SpecError, match="31 x 31"):
        GESTURE_NET.build(nn.ReLU, input=Image(shape=(2, 31, 31)), output=Classes(11))


@pytest.mark.parametrize(
    ("model", "side"),
    [
        (EVENTS_CONVNET, 34),
        (GestureNet(width=8, hidden=16), 48),
        (GestureNet(width=8, hidden=16), 128),
        (RESNET20, 34),
        (RESNET18, 32),
        (RESNET19, 32),
    ],
)
def test_frames_of_two_polarities_give_an_answer_a_step(model: object, side: int) -> None:
    network = model.build(nn.ReLU, input=Image(shape=(2, side, side)), output=Classes(11))  # type: ignore[attr-defined]  # models of several classes
    answer = network(counts(2, 3, side), 2)
    assert answer.logits.shape == (2, 3, 11)
    answer.logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_steps_of_a_stateless_network_do_not_hear_each_other() -> None:
    network = EVENTS_CONVNET.build(
        nn.ReLU, input=Image(shape=(2, 34, 34)), output=Classes(10)
    ).eval()
    frames = counts(3, 2, 34)
    together = network(frames, 3).logits
    # A step alone runs other kernels: 1e-5 of logits of order 1.
    torch.testing.assert_close(together[1:2], network(frames[1:2], 1).logits, atol=1e-5, rtol=0)


def test_spiking_networks_learn_from_frames() -> None:
    pytest.importorskip("spikingjelly")
    backend = discovery.load("backends", "spikingjelly")
    assert isinstance(backend.name, str)  # type: ignore[attr-defined]  # a backend
    network = EVENTS_CONVNET.build(
        spiking(backend), input=Image(shape=(2, 34, 34)), output=Classes(10)
    )  # type: ignore[arg-type]  # likewise
    network(counts(4, 2, 34), 4).logits.sum().backward()
    first = next(network.parameters())
    assert first.grad is not None
    assert first.grad.any()


def spiking(backend: Backend) -> "nn.Module":
    return activation(backend, NeuronSpec())  # type: ignore[return-value]  # what a model calls


@pytest.mark.parametrize("name", SUITES)
def test_suites_name_models_that_take_their_data(name: str) -> None:
    suite = discovery.load("suites", name)
    card = discovery.load("datasets", suite.dataset).card  # type: ignore[attr-defined]  # a suite
    for model in (*suite.models, suite.teacher.model):  # type: ignore[attr-defined]  # likewise
        discovery.load("models", model).build(  # type: ignore[attr-defined]  # a model
            nn.ReLU, input=card.input, output=card.output
        )
