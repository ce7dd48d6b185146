"""A network of first spikes is counted by its spikes, of which a neuron has one at most."""

from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from harness.contracts.inputs import Classes, Image
from harness.meter import measure
from harness.training.first_spike import FirstSpike
from suites.models._signal import PadShortcut


class Slot(FirstSpike):
    """First-spike neurons that are given one step, as ``[1, N, ...]``."""

    def forward(self, current: Tensor) -> Tensor:
        spikes: Tensor = super().forward(current.unsqueeze(0))
        return spikes.squeeze(0)


def first_spike() -> FirstSpike:
    return FirstSpike().eval()


class TwoLayers(nn.Module):
    """2 inputs, 2 neurons, 3 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False)
        self.neuron = first_spike()
        self.fc1.weight.data = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])

    def forward(self, stimulus: Tensor) -> Tensor:
        spikes: Tensor = self.neuron(self.fc1(stimulus).unsqueeze(0))
        answer: Tensor = self.fc2(spikes.flatten(0, 1))
        return answer


def test_a_spike_is_one_event_whenever_it_comes() -> None:
    # Currents (0.75, -0.5), (0.3, 0.1), (-1, 0): 1, 2 and 0 spikes, at different times.
    stimuli = torch.tensor([[0.5, 0.25], [-0.1, 0.4], [0.0, -1.0]])
    measured = measure(TwoLayers(), stimuli)
    first, neuron, second = (measured.layers[name] for name in ("fc1", "neuron", "fc2"))
    assert measured.per_sample()["spikes"].tolist() == [1, 2, 0]
    # Each spike adds 3 weights to 3 slopes, which arithmetic multiplies by the time left.
    assert second.per_sample()["ac"].tolist() == [3, 6, 0]
    assert second.per_sample()["neuron_mul"].tolist() == [3, 6, 0]
    assert (second.total.mac, second.operand, second.total.inputs_nonzero) == (0, "binary", 3)
    # 2 neurons and 3 samples: a time and a comparison each, and nothing to reset.
    assert (
        neuron.total.neuron_add,
        neuron.total.neuron_mul,
        neuron.total.compare,
        neuron.total.reset,
    ) == (6, 0, 6, 0)
    assert (neuron.neurons, neuron.operand, neuron.rate()) == (2, "binary", 3 / 6)
    # Stimuli are no spikes: their 5 values that are not zero meet 2 weights each.
    assert (first.total.mac, first.total.ac, first.total.neuron_mul) == (2 * 4 + 2 * 1, 0, 0)
    assert (measured.steps, measured.coverage) == (1, 1.0)


def test_neurons_that_never_spike_are_silent() -> None:
    measured = measure(TwoLayers(), torch.tensor([[0.0, -1.0]]))
    layer = measured.layers["fc2"]
    assert (layer.operand, layer.total.ac, layer.total.neuron_mul, measured.total.spikes) == (
        "silent",
        0,
        0,
        0,
    )


def given(*times_left: float) -> Tensor:
    """Return currents ``[1, 1, 2, 2]`` of which first-spike neurons make themselves."""
    return torch.tensor(times_left).view(1, 1, 2, 2)


def test_the_earliest_of_some_spikes_is_a_spike() -> None:
    network = nn.ModuleDict({"neuron": Slot().eval(), "fc": nn.Linear(1, 5, bias=False)})
    measured = measure(
        network,
        given(0.5, 2.0, 0.0, 0.0),
        call=lambda x: network["fc"](max_pool2d(network["neuron"](x), 2).flatten(1)),
    )
    layer = measured.layers["fc"]
    assert (layer.operand, layer.total.ac, layer.total.neuron_mul, layer.total.mac) == (
        "binary",
        5,
        5,
        0,
    )


def test_an_average_of_spikes_is_their_synapses() -> None:
    network = nn.ModuleDict({"neuron": Slot().eval(), "fc": nn.Linear(1, 5, bias=False)})
    measured = measure(
        network,
        torch.cat([given(0.5, 2.0, 0.0, 0.0), given(0.0, 0.0, 0.0, 0.25)]),
        call=lambda x: network["fc"](avg_pool2d(network["neuron"](x), 2).flatten(1)),
    )
    layer = measured.layers["fc"]
    # Each of 3 spikes reaches 5 outputs, through weights that are a quarter.
    assert (layer.operand, layer.total.ac, layer.total.neuron_mul, layer.total.mac) == (
        "binary",
        15,
        15,
        0,
    )
    # By itself the average makes one value a sample of them, which multiplies.
    assert (layer.explicit.ac, layer.explicit.mac, layer.explicit.neuron_mul) == (0, 10, 0)


@pytest.mark.parametrize(
    ("move", "spikes"),
    [
        (lambda x: pad(x, (1, 1)), 3),
        (lambda x: torch.cat([x, x], 1), 6),
        (lambda x: x.double().float(), 3),
        (lambda x: x * 0.5, 3),
        (lambda x: x[:, :, :1].clone(), 2),
        (PadShortcut(1), 1),  # every second pixel, between planes of zeros
    ],
    ids=["padded", "joined", "cast", "scaled", "cut", "shortcut"],
)
def test_spikes_stay_spikes_when_they_are_moved(
    move: Callable[[Tensor], Tensor], spikes: int
) -> None:
    network = nn.ModuleDict({"neuron": Slot().eval(), "conv": nn.LazyConv2d(3, 1, bias=False)})
    # Two samples that differ, so that no value is everywhere the same.
    stimuli = torch.cat([given(0.5, 2.0, 0.0, 0.25), given(1.5, 0.75, 1.25, 0.0)])
    network["conv"](move(stimuli))
    measured = measure(network, stimuli, call=lambda x: network["conv"](move(network["neuron"](x))))
    layer = measured.layers["conv"]
    assert layer.total.mac == 0
    assert layer.per_sample()["ac"].tolist() == [3 * spikes] * 2
    assert layer.per_sample()["neuron_mul"].tolist() == [3 * spikes] * 2


def test_times_that_meet_times_multiply() -> None:
    network = Slot().eval()

    def gate(x: Tensor) -> Tensor:
        spikes: Tensor = network(x)
        return spikes * spikes

    def attend(x: Tensor) -> Tensor:
        spikes = network(x).flatten(0, 1)
        return torch.bmm(spikes, spikes)

    # 3 of 4 are not zero. [[a, b], [0, d]] squared is [[aa, ab + bd], [0, dd]]: 4 pairs.
    for run, pairs in ((gate, 3), (attend, 4)):
        measured = measure(network, given(0.5, 2.0, 0.0, 0.25), call=run)
        assert (measured.total.mac, measured.total.ac, measured.total.and_ac) == (pairs, 0, 0)


@pytest.mark.parametrize("name", ["resnet20", "vgg9"])
def test_events_are_the_products_that_relu_would_need(name: str) -> None:
    model = import_module(f"suites.models.{name}").MODEL
    networks = []
    for activation in (first_spike, nn.ReLU):
        torch.manual_seed(0)
        networks.append(
            model.build(activation, input=Image(shape=(3, 32, 32)), output=Classes(10)).eval()
        )
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ours, theirs = (measure(network, images) for network in networks)
    assert ours.coverage == 1.0
    layers = [layer for layer in ours.layers.values() if layer.kind == "convolution"]
    first, *later = layers
    assert first.total.mac == theirs.layers[first.name].total.mac > 0
    for layer in later:
        twin = theirs.layers[layer.name]
        assert layer.operand == "binary"
        assert layer.total.ac == layer.total.neuron_mul == twin.total.mac > 0
        assert layer.total.mac == twin.total.ac == 0
    neurons = [layer for layer in ours.layers.values() if layer.neurons]
    assert all(0 < layer.rate() < 1 for layer in neurons)
    assert ours.total.reset == 0
