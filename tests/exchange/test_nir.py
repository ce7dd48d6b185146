"""Export and import are inverse: the same spikes, the same operations, in a file of NIR's own."""

import operator
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.contracts.backend import Backend
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.exchange.graph import GraphNetwork
from harness.exchange.judging import as_student, neurons_of
from harness.exchange.nir_export import to_nir, write
from harness.exchange.nir_import import from_nir, read
from harness.exchange.tracing import trace
from harness.meter import measure
from harness.neurons.spiking import SpikingLayer
from tests.exchange.networks import NAMES, answers, images, lively

STEPS = (1, 4, 16)
SPECS = {
    "lif": NeuronSpec(),
    "lif, odd tau": NeuronSpec(tau=1.7, v_threshold=0.3),
    "lif, unscaled": NeuronSpec(tau=3.0, scale_input=False),
    "lif, subtract": NeuronSpec(reset="subtract"),
    "if": NeuronSpec(kind="if"),
    "if, subtract": NeuronSpec(kind="if", reset="subtract", v_threshold=2.5),
    "plif": NeuronSpec(kind="plif", tau=2.3),
}


def through_a_file(
    network: nn.Module, shape: tuple[int, ...], folder: Path, simulator: str = "reference"
) -> GraphNetwork:
    path = folder / "network.nir"
    write(to_nir(network, shape), path)
    return from_nir(read(path), neurons_of(simulator)).eval()


def assert_same_spikes(network: nn.Module, back: nn.Module, stimulus: Tensor, steps: int) -> None:
    ours, theirs = answers(network, stimulus, steps), answers(back, stimulus, steps)
    assert ours.keys() == theirs.keys()
    logits, others = ours.pop("logits"), theirs.pop("logits")
    for name, spikes in ours.items():
        assert torch.equal(spikes, theirs[name]), name
    # Norms were folded, which rounds once more: an ulp of a weight in a sum of a few hundred.
    torch.testing.assert_close(others, logits, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_export_and_import_give_the_same_spikes(name: str, tmp_path: Path) -> None:
    network, shape = lively(name)
    back, stimulus = through_a_file(network, shape, tmp_path), images(shape)
    for steps in STEPS:
        assert_same_spikes(network, back, stimulus, steps)
    rates = [float(spikes.mean()) for spikes in answers(network, stimulus, 4).values()]
    assert min(rates[:-1]) > 0.01  # or equal silence would pass


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_neuron_survives_the_file(
    spec: NeuronSpec, tmp_path: Path, simulator: Backend
) -> None:
    network, shape = lively("digits_convnet", spec, simulator=simulator.name)
    if spec.kind == "plif":
        with torch.no_grad():
            network.activation1.w.fill_(0.123456789)  # type: ignore[union-attr, operator]  # nn.Module types every attribute as Tensor or Module
    back = through_a_file(network, shape, tmp_path, simulator.name)
    assert_same_spikes(network, back, images(shape), 16)


def test_frames_are_shown_frame_by_frame(tmp_path: Path) -> None:
    network, shape = lively("events_convnet")
    back = through_a_file(network, shape, tmp_path)
    assert_same_spikes(network, back, images(shape, 4, 2), 4)


@pytest.mark.parametrize("name", ["digits_convnet", "vgg9", "ms_resnet20", "wrn16_2", "resnet18"])
def test_an_imported_network_is_metered_as_the_original(name: str, tmp_path: Path) -> None:
    network, shape = lively(name)
    back = through_a_file(network, shape, tmp_path)
    stimulus = images(shape)
    ours, theirs = (
        measure(each, stimulus, call=lambda x, each=each: each(x, 4).logits)  # type: ignore[misc]  # mypy infers no lambda with a default
        for each in (network, back)
    )
    assert ours.total.spikes > 0
    assert theirs.total == ours.total
    assert theirs.encoding == ours.encoding


def test_a_constant_image_passes_the_stem_once(tmp_path: Path) -> None:
    network, shape = lively("digits_convnet")
    back = through_a_file(network, shape, tmp_path)
    seen: list[torch.Size] = []
    for name in ("conv1", "conv2"):
        back.get_submodule(name).register_forward_hook(
            lambda _module, given, _answer: seen.append(given[0].shape)
        )
    answers(back, images(shape), 4)
    assert [shape[0] for shape in seen] == [2, 8]


def test_folding_leaves_no_norm_behind_a_convolution() -> None:
    network, shape = lively("resnet18")
    kinds = {type(node).__name__ for node in to_nir(network, shape).nodes.values()}
    assert kinds == {"Input", "Conv2d", "LIF", "AvgPool2d", "Flatten", "Affine", "Output"}


def test_the_maximum_of_spikes_is_a_sum_above_a_half() -> None:
    network, shape = lively("vgg9")
    graph = to_nir(network, shape)
    assert isinstance(graph.nodes["pool"], nir.SumPool2d)
    assert np.all(graph.nodes["pool_any"].threshold == 0.5)
    assert ("pool", "pool_any") in graph.edges
    back = from_nir(graph, neurons_of("reference"))
    assert isinstance(back.get_submodule("pool_any"), nn.MaxPool2d)


def test_a_sum_of_currents_above_a_threshold_stays_one() -> None:
    threshold = np.full((1, 1, 1), 0.5)
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    nodes = [
        nir.Input({"input": np.array([1, 2, 2])}),
        pool,
        nir.Threshold(threshold),
        nir.Flatten({"input": np.array([1, 1, 1])}, start_dim=0),
    ]
    network = from_nir(nir.NIRGraph.from_list(*nodes), neurons_of("reference"))
    currents = torch.tensor([[[[0.2, 0.2], [0.2, 0.2]]], [[[0.6, -0.2], [0.0, 0.0]]]])
    assert network(currents).logits.flatten().tolist() == [1.0, 0.0]


def test_a_sum_is_added_in_its_own_order() -> None:
    network, shape = lively("ms_resnet20")
    graph = trace(network, shape)
    assert graph.answer == ("linear",)
    sources = {node.name: node.sources for node in graph.nodes}
    first = ("bn1", "layer1_0_bn2", "layer1_1_bn2", "layer1_2_bn2")
    assert sources["layer2_0_activation1"] == first
    back = from_nir(to_nir(network, shape), neurons_of("reference"))
    steps = {step.name: step.sources for step in back.steps}
    assert steps["layer2_0_activation1"] == (
        "conv1",
        *(f"layer1_{block}_conv2" for block in range(3)),
    )


def test_what_nir_cannot_say_is_refused_in_words() -> None:
    for words, network in REFUSED.items():
        with pytest.raises(UnsupportedError, match=words):
            to_nir(network, (1, 4, 4))


class Topology(nn.Module):
    """A network of one's own around one layer."""

    def __init__(self, layer: nn.Module | None = None, *, spiking: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.neurons = neurons_of("reference")(NeuronSpec()) if spiking else nn.Identity()
        self.layer = layer or nn.Identity()

    def change(self, signal: Tensor) -> Tensor:
        return signal

    def forward(self, stimulus: Tensor, /, *_: object) -> Output:
        signal = self.neurons(self.conv(stimulus).unsqueeze(0))
        logits = self.layer(self.change(signal.flatten(0, 1)))
        return Output(logits=logits.unsqueeze(0))


class Squared(Topology):
    def change(self, signal: Tensor) -> Tensor:
        return signal.square()


class Doubled(Topology):
    def change(self, signal: Tensor) -> Tensor:
        return self.layer(signal + signal)


class Normed(Topology):
    """A norm behind a convolution with a bias, which something else may also read."""

    def __init__(self, *, read_twice: bool) -> None:
        norm = nn.BatchNorm2d(2).double()
        super().__init__(norm)
        self.double()
        self.read_twice = read_twice
        for values in norm.state_dict().values():
            if values.is_floating_point():
                nn.init.uniform_(values, 0.5, 2.0)
        self.last = nn.Conv2d(2, 3, 1).double()

    def forward(self, stimulus: Tensor, /, *_: object) -> Output:
        before = self.conv(stimulus)
        after = self.layer(before)
        return Output(logits=self.last(before + after if self.read_twice else after).unsqueeze(0))


@pytest.mark.parametrize("read_twice", [False, True])
def test_a_norm_is_folded_with_the_bias_and_only_for_its_only_reader(*, read_twice: bool) -> None:
    torch.manual_seed(0)
    network = Normed(read_twice=read_twice).eval()
    graph = to_nir(network, (1, 4, 4))
    assert ("layer" in graph.nodes) == read_twice
    stimulus = images((1, 4, 4))
    back = from_nir(graph, neurons_of("reference")).eval()
    with torch.no_grad():
        torch.testing.assert_close(back(stimulus).logits, network(stimulus).logits)


class Shortcut(nn.Module):
    """Two layers, and what ``combined`` makes of their answers."""

    def __init__(self, combined: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.linear = nn.Linear(60, 2)
        self.double().eval()
        self.combined = combined

    def forward(self, stimulus: Tensor, /, *_: object) -> Output:
        first = self.conv(stimulus)
        combined = self.combined(first, self.norm(first))
        return Output(logits=self.linear(combined.flatten(1)).unsqueeze(0))


FAITHFUL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a + b": lambda a, b: a + b,
    "a += b": operator.iadd,
    "a.add_(b)": lambda a, b: a.add_(b),
    "a view": lambda a, b: a.view(-1, 3, 20).view(a.shape) + b,
    "nothing": lambda a, b: nn.functional.dropout(a.contiguous(), training=False) + b,
}
UNFAITHFUL: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "a.mul_(3)": (lambda a, _: a.mul_(3), "writes into a signal by mul_"),
    "a.relu_()": (lambda a, _: a.relu_(), "writes into a signal by relu_"),
    "relu": (lambda a, _: nn.functional.relu(a, inplace=True), "writes into a signal by relu"),
    "a += 1": (lambda a, _: a.add_(1), "writes into a signal by add_"),
    "a.data": (lambda a, _: (a.data.mul_(3), a)[1], "writes into a signal by mul_"),
    "a[:] = 0": (lambda a, _: (operator.setitem(a, ..., 0), a)[1], "by __setitem__"),
    "out": (lambda a, b: torch.mul(b, 2, out=a), "writes into a signal by mul"),
    "alpha": (lambda a, b: torch.add(a, b, alpha=5), "computes add outside"),
    "alpha in place": (lambda a, b: a.add_(b, alpha=5), "writes into a signal by add_"),
    "transpose": (lambda a, _: a.transpose(1, 2), "by transpose, or its elements in another order"),
    "permute": (lambda a, _: a.permute(0, 2, 3, 1), "by permute, or its elements in another"),
    "a.mT": (lambda a, _: a.mT, "by mT, or its elements in another order"),
    "as_strided": (lambda a, _: a.as_strided(a.shape, (60, 0, 5, 1)), "a part .* by as_strided"),
    "slice": (lambda a, _: a[:, :1].expand(a.shape), "takes a part of a signal by __getitem__"),
    "chunk": (lambda a, b: a.chunk(3, 1)[0] + b, "takes a part of a signal by chunk"),
}


@pytest.mark.parametrize("combined", FAITHFUL.values(), ids=FAITHFUL)
@pytest.mark.parametrize("inference", [False, True])
def test_sums_and_views_are_exported_as_they_are(
    combined: Callable[[Tensor, Tensor], Tensor], *, inference: bool
) -> None:
    network, stimulus = Shortcut(combined), images((2, 4, 5))
    with torch.inference_mode(inference):
        graph = to_nir(network, (2, 4, 5))
    back = from_nir(graph, neurons_of("reference")).eval()
    with torch.no_grad():
        torch.testing.assert_close(back(stimulus).logits, network(stimulus).logits)


@pytest.mark.parametrize(("combined", "words"), UNFAITHFUL.values(), ids=UNFAITHFUL)
def test_what_changes_a_signal_where_it_lies_is_refused(
    combined: Callable[[Tensor, Tensor], Tensor], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words):
        to_nir(Shortcut(combined), (2, 4, 5))


class Turned(nn.Module):
    """A module without weights that answers what it is given, in another order."""

    def forward(self, value: Tensor) -> Tensor:
        return value.transpose(2, 3)


def test_a_signal_that_a_module_turned_is_another() -> None:
    turned = Turned()
    network = Shortcut(lambda a, _: (turned(a), a)[1])
    network.turned = turned
    with pytest.raises(UnsupportedError, match="flatten1 is made of a part of turned, or of its"):
        to_nir(network, (2, 4, 5))


def test_shapes_that_nir_cannot_follow_are_refused() -> None:
    network = Topology(nn.Linear(32, 2))
    network.change = lambda signal: signal.view(len(signal), -1)  # type: ignore[method-assign]  # short for a class
    with pytest.raises(UnsupportedError, match="nir refuses the graph of the network"):
        to_nir(network, (1, 4, 4))


class Unknown(SpikingLayer):
    def forward(self, current: Tensor, *_: object) -> Tensor:
        return current * 1


REFUSED = {
    "the maximum of currents": Topology(nn.MaxPool2d(2)),
    "pools with count_include_pad": Topology(
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), spiking=True
    ),
    "no node for layer, a Hardtanh": Topology(nn.Hardtanh(-8, 8)),
    "no node for layer, a ConvTranspose2d": Topology(nn.ConvTranspose2d(2, 2, 1)),
    "a norm by the statistics of each batch": Topology(
        nn.BatchNorm2d(2, track_running_stats=False)
    ),
    "by number, and not by .same": Topology(nn.Conv2d(2, 2, 3, padding="same")),
    "pools with dilation": Topology(nn.MaxPool2d(2, dilation=(1, 2)), spiking=True),
    "pools with ceil_mode": Topology(nn.MaxPool2d(2, ceil_mode=True), spiking=True),
    "computes square outside": Squared(),
    "sum of a signal with itself": Doubled(nn.Conv2d(2, 2, 1)),
    "no node for layer, a ReLU": Topology(nn.ReLU()),
    "NIR has no Unknown": Topology(Unknown()),
    "by number, and not by .reflect": Topology(
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
    ),
}


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPool2d(2, dilation=(1, 1)),
        nn.AvgPool2d(2, count_include_pad=False),
        nn.BatchNorm2d(2, affine=False),
    ],
    ids=str,
)
def test_options_that_change_nothing_are_written(layer: nn.Module, tmp_path: Path) -> None:
    network = Topology(layer, spiking=True).double().eval()
    if isinstance(layer, nn.BatchNorm2d):
        layer.running_mean, layer.running_var = torch.tensor([[0.5, -1.0], [2.0, 4.0]]).double()
    back = through_a_file(network, (1, 4, 4), tmp_path)
    stimulus = 3 * images((1, 4, 4))
    torch.testing.assert_close(back(stimulus, 1).logits, network(stimulus).logits)


def test_a_network_without_weights_is_written(tmp_path: Path) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neurons, self.flatten = neurons_of("reference")(NeuronSpec()), nn.Flatten()

        def forward(self, stimulus: Tensor, /, *_: object) -> Output:
            return Output(logits=self.flatten(self.neurons(stimulus.unsqueeze(0))[0]).unsqueeze(0))

    back = through_a_file(Bare(), (1, 2, 2), tmp_path)
    assert back(torch.full((1, 1, 2, 2), 2.5), 1).logits.tolist() == [[[1.0] * 4]]


@pytest.mark.parametrize("dt_s", [0.0, -1.0, float("inf"), float("nan"), 1e-320])
def test_a_step_that_no_reader_could_take_is_not_written(dt_s: float) -> None:
    with pytest.raises(SpecError, match="seconds is none"):
        to_nir(Topology(), (1, 4, 4), dt_s=dt_s)


def odd_nodes() -> dict[str, Any]:
    """Return by what is wrong a node that numpy, torch or a contract trips over."""
    conv: dict[str, Any] = {"input_shape": (4, 4), "stride": 1, "padding": 0, "dilation": 1}
    kernel, bias = np.ones((2, 1, 3, 3)), np.zeros(2)
    lif = {"tau": 2e-4, "r": 1.0, "v_leak": 0.0, "v_threshold": 1, "v_reset": 0.0}
    pool = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2])}
    return {
        "threshold of integers": nir.LIF(
            **{name: np.full((1, 4, 4), value) for name, value in lif.items()}
        ),
        "no groups": nir.Conv2d(**conv, weight=kernel, groups=0, bias=bias),
        "three strides": nir.Conv2d(
            **conv | {"stride": (1, 1, 1)}, weight=kernel, groups=1, bias=bias
        ),
        "padding over half": nir.AvgPool2d(**pool, padding=np.array([2, 2])),
        "no such axis": nir.Flatten({"input": np.array([1, 4, 4])}, start_dim=0, end_dim=7),
    }


@pytest.mark.parametrize("wrong", odd_nodes())
def test_a_node_of_numbers_that_make_no_layer_is_named(wrong: str) -> None:
    graph = chained("in", "odd", "out")
    graph.nodes["in"] = nir.Input({"input": np.array([1, 4, 4])})
    graph.nodes["odd"] = odd_nodes()[wrong]
    with pytest.raises(SpecError, match="the node 'odd'"):
        from_nir(graph, neurons_of("reference"))(torch.ones(2, 1, 4, 4), 1)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no file"):
        read(tmp_path / "nothing.nir")
    damaged = tmp_path / "damaged.nir"
    damaged.write_bytes(b"not HDF5")
    with pytest.raises(SpecError, match=r"damaged\.nir is no file of NIR"):
        read(damaged)
    network, shape = lively("digits_convnet")
    with pytest.raises(SpecError, match="there is no folder"):
        write(to_nir(network, shape), tmp_path / "no" / "a.nir")


@pytest.mark.parametrize(
    ("error", "words"), [(KeyError(), "KeyError"), (OSError("a\n  b " + "c" * 999), "a b ccc+")]
)
def test_whatever_a_reader_raises_is_one_short_line(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr(nir, "read", fails)
    with pytest.raises(SpecError, match=f"is no file of NIR: {words}$") as refused:
        read(tmp_path / "a.nir")
    assert len(str(refused.value)) < len(str(tmp_path)) + 300


def test_a_recurrent_graph_is_refused() -> None:
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "a": nir.Affine(np.eye(2), np.zeros(2)),
        "b": nir.Affine(np.eye(2), np.zeros(2)),
        "output": nir.Output({"output": np.array([2])}),
    }
    edges = [("input", "a"), ("a", "b"), ("b", "a"), ("b", "output")]
    with pytest.raises(UnsupportedError, match="recurrent"):
        from_nir(nir.NIRGraph(nodes, edges), neurons_of("reference"))


def chained(*names: str, metadata: dict[str, Any] | None = None) -> nir.NIRGraph:
    """Return nodes of those names in a row: an input, layers that double, an output."""
    nodes: dict[str, Any] = {name: nir.Linear(2 * np.eye(1)) for name in names}
    nodes[names[0]] = nir.Input({"input": np.array([1])})
    nodes[names[-1]] = nir.Output({"output": np.array([1])})
    return nir.NIRGraph(nodes, list(pairwise(names)), metadata=metadata or {})


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("in", "a.b", "a_b", "out"), "'a.b' and 'a_b' would both be called 'a_b'"),
        (("in", "input", "b", "out"), "'in' and 'input' would both be called 'input'"),
    ],
)
def test_nodes_whose_names_collide_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        from_nir(chained(*names), neurons_of("reference"))


def test_the_name_of_an_output_is_nobodys() -> None:
    back = from_nir(chained("in", "a.b", "c", "a_b"), neurons_of("reference"))
    assert back(torch.ones(1, 1, dtype=torch.float64)).logits.item() == 4.0


@pytest.mark.parametrize("said", ["abc", 0.0, -1.0, float("nan"), float("inf"), [1, 2]])
def test_a_file_whose_steps_last_no_time_is_refused(said: object) -> None:
    graph = chained("in", "a", "out", metadata={"dt": said})
    with pytest.raises(SpecError, match="dt in the graph's metadata is what a step lasts"):
        from_nir(graph, neurons_of("reference"))
    assert from_nir(graph, neurons_of("reference"), dt_s=1e-3).steps


def test_an_unknown_node_is_named() -> None:
    graph = nir.NIRGraph.from_list(nir.Delay(np.ones(3)))
    with pytest.raises(UnsupportedError, match="is a Delay, which we cannot run"):
        from_nir(graph, neurons_of("reference"))


def test_taps_and_stimuli_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network, shape = lively("digits_convnet")
    back = through_a_file(network, shape, tmp_path)
    with pytest.raises(SpecError, match="no tap 'nothing'"):
        back(images(shape), 2, taps=("nothing",))
    with pytest.raises(SpecError, match="timesteps must be at least 1"):
        back(images(shape), 0)
    with pytest.raises(SpecError, match="in 3 frames"):
        back(images(shape, 4, 2), 3)
    taken = back(images(shape), 2, taps=("activation1", "activation1.membrane", "conv1")).taps
    assert [len(tap) for tap in taken.values()] == [2, 2, 2]
    fired = taken["activation1.membrane"] >= 1
    assert torch.equal(fired.double(), taken["activation1"])


def test_an_imported_network_is_a_student(tmp_path: Path) -> None:
    network, shape = lively("digits_convnet")
    student = as_student(through_a_file(network, shape, tmp_path).float(), timesteps=3)
    assert student.classes == 10
    assert student(images(shape, dtype=torch.float32)).logits.shape == (3, 2, 10)
    with pytest.raises(UnsupportedError, match="no other realisation"):
        student.twin(nn.ReLU)
