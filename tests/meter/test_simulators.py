"""The same spikes cost the same, whoever simulated them."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.contracts.backend import Backend
from harness.contracts.errors import CountingError
from harness.contracts.inputs import Classes, Image
from harness.contracts.ledger import Ledger
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from tests.meter.networks import SpikingNet, random_spikes, stimuli
from tests.meter.neurons import PlainNeuron


def test_every_simulator_gives_the_same_ledger(simulator: Backend) -> None:
    images = stimuli(3, 4)
    plain, simulated = SpikingNet(3), SpikingNet(3, simulator.neuron)
    simulated.load_state_dict(plain.state_dict())
    expected, measured = measure(plain, images), measure(simulated, images)
    assert expected.total.spikes > 0
    assert measured.total == expected.total
    assert list(measured.layers) == list(expected.layers)
    for layer, other in zip(measured.layers.values(), expected.layers.values(), strict=True):
        assert layer.operand == other.operand
        for category, table in layer.tally.items():
            assert np.array_equal(table, other.tally[category]), (layer.name, category)


def spikingjelly_network() -> nn.Sequential:
    layer = import_module("spikingjelly.activation_based.layer")
    neuron = import_module("spikingjelly.activation_based.neuron")
    torch.manual_seed(0)
    network = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.IFNode(v_threshold=0.3, v_reset=None),
        layer.AvgPool2d(2),
        layer.Conv2d(4, 3, 3),
        neuron.LIFNode(v_threshold=0.1),
        layer.Flatten(),
        layer.Linear(12, 5),
    )
    return network.eval()


def run_spikingjelly(network: nn.Module, mode: str, images: Tensor) -> Ledger:
    functional: Any = import_module("spikingjelly.activation_based.functional")
    functional.set_step_mode(network, mode[0])
    functional.reset_net(network)
    if mode == "many, repeated inside":
        return measure(network, images, call=lambda x: network(x.repeat(4, 1, 1, 1, 1)))
    if mode == "many":
        frames = images.unsqueeze(0).repeat(4, 1, 1, 1, 1)
        return measure(network, frames, batch_axis=1, time_axis=0)
    return measure(network, images, call=lambda x: [network(x) for _ in range(4)])


def test_many_steps_at_once_or_one_by_one_are_the_same_steps() -> None:
    images = stimuli(1, 3, side=8)[:, :1] * 2
    network = spikingjelly_network()
    together, apart = (run_spikingjelly(network, mode, images) for mode in ("many", "single"))
    inside = run_spikingjelly(network, "many, repeated inside", images)
    assert together.total.spikes > 0
    for other in (apart, inside):
        assert together.total == other.total
        assert together.encoding == other.encoding
        assert (together.steps, other.steps) == (4, 4)
        for category, table in together.tally().items():
            assert np.array_equal(table, other.tally()[category]), category


def test_spikingjelly_networks_cost_what_ours_cost() -> None:
    images = stimuli(1, 3, side=8)[:, :1] * 2
    theirs = spikingjelly_network()
    measured = run_spikingjelly(theirs, "many", images)

    class Ours(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({str(i): part for i, part in enumerate(theirs)})
            spec = NeuronSpec(kind="if", v_threshold=0.3, reset="subtract")
            self.parts["2"] = PlainNeuron(spec)
            self.parts["5"] = PlainNeuron(NeuronSpec(kind="lif", v_threshold=0.1))

        def forward(self, frames: Tensor) -> Tensor:
            signal = frames
            for name, part in self.parts.items():
                flat = signal if name in "25" else signal.flatten(0, 1)
                value = part(flat)
                signal = value if name in "25" else value.view(4, -1, *value.shape[1:])
            return signal

    functional: Any = import_module("spikingjelly.activation_based.functional")
    functional.set_step_mode(theirs, "s")
    frames = images.unsqueeze(0).repeat(4, 1, 1, 1, 1)
    ours = measure(Ours(), frames, batch_axis=1, time_axis=0)
    assert ours.total == measured.total
    assert ours.encoding == measured.encoding


def test_a_converted_network_accumulates() -> None:
    # SpikingJelly's own counters find no synaptic operation in what its converter makes.
    ann2snn = import_module("spikingjelly.activation_based.ann2snn")
    functional: Any = import_module("spikingjelly.activation_based.functional")
    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(27, 10),
    ).eval()
    images = stimuli(0, 4)
    recipe = ann2snn.RateCodingRecipe(dataloader=[(images, torch.zeros(4))])
    network = ann2snn.FXConverter(recipe=recipe).convert(ann)

    def run(x: Tensor) -> list[Tensor]:
        functional.reset_net(network)
        return [network(x) for _ in range(4)]

    measured = measure(network, images, call=run)
    pooled, last = measured.layers["3"], measured.layers["6"]
    neurons = [layer for layer in measured.layers.values() if layer.kind == "neuron"]
    assert (pooled.operand, last.operand) == ("scaled", "scaled")
    assert last.total.ac == neurons[1].total.spikes * 10
    # Every spike of a 6 x 6 map is in a 3 x 3 average; the 4 corners of those are read
    # 4 times, the edges 6, the centre 9, by 3 channels.
    assert neurons[0].total.spikes * 4 * 3 <= pooled.total.ac <= neurons[0].total.spikes * 9 * 3
    # Only the first layer multiplies: 4 steps of the same image.
    assert measured.total.mac == measured.layers["0"].total.mac
    assert measured.encoding.cached.mac * 4 == measured.total.mac


def test_norse_networks_are_counted_cell_by_cell() -> None:
    norse: Any = import_module("norse.torch")
    torch.manual_seed(0)
    network = norse.SequentialState(
        nn.Linear(6, 5, bias=False), norse.LIFBoxCell(), nn.Linear(5, 3), norse.LICell()
    )
    network[0].weight.data.abs_().mul_(20)
    frames = random_spikes(0, 4, 2, 6)

    def run(x: Tensor) -> Tensor:
        state, answers = None, []
        for frame in x:
            answer, state = network(frame, state)
            answers.append(answer)
        return torch.stack(answers)

    measured = measure(network, frames, batch_axis=1, time_axis=0, call=run)
    first, cell, second, readout = (measured.layers[name] for name in "0123")
    assert first.total.ac == int(frames.sum()) * 5
    assert second.total.ac == cell.total.spikes * 3 > 0
    # Leaky integrate and fire without a synapse: our lif; 4 steps, 2 samples, 5 neurons.
    assert (cell.total.neuron_add, cell.total.neuron_mul, cell.total.compare) == (80, 40, 40)
    assert (readout.total.spikes, readout.total.compare, readout.total.reset) == (0, 0, 0)
    assert measured.steps == 4
    assert second.per_step()["ac"].tolist() == (cell.per_step()["spikes"] * 3).tolist()


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("spikingjelly.activation_based.neuron", "QIFNode"),
        ("spikingjelly.activation_based.neuron", "TernaryIFNode"),
        ("norse.torch", "LIFAdExCell"),
        ("norse.torch", "LSNNCell"),
    ],
)
def test_a_neuron_whose_cost_nobody_derived_is_refused(module: str, kind: str) -> None:
    neuron = getattr(import_module(module), kind)()
    with pytest.raises(CountingError, match=f"'0'.*{kind}.*NeuronSpec"):
        measure(nn.Sequential(neuron), torch.ones(1, 2))


@pytest.mark.parametrize("name", ["resnet20", "sew_resnet20", "ms_resnet20", "vgg9"])
def test_our_models_are_counted_whole(name: str) -> None:
    model = import_module(f"suites.models.{name}").MODEL
    for activation in (lambda: PlainNeuron(NeuronSpec(v_threshold=0.3)), nn.ReLU):
        torch.manual_seed(0)
        network = model.build(activation, input=Image(shape=(3, 32, 32)), output=Classes(10)).eval()
        spikes = activation is not nn.ReLU
        images = torch.rand(2, 3, 32, 32)
        steps = 2 if spikes else 1
        measured = measure(network, images, call=lambda x: network(x, steps))  # noqa: B023  called at once
        assert measured.coverage == 1.0
        assert measured.steps == steps
        norms = [layer for layer in measured.layers.values() if layer.kind == "norm"]
        assert norms
        assert all(layer.folded for layer in norms)
        assert (measured.total.ac > 0) == spikes
        classes = {layer.operand for layer in measured.layers.values()}
        assert ("integer" in classes) == (spikes and name == "sew_resnet20")
