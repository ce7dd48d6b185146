"""What fits a DYNAP-CNN chip, by its documented limits, and its integers."""

import math
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import pytest
import torch

from harness.contracts.errors import UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.exchange.dynapcnn import (
    Layer,
    layer_of,
    objections,
    on_chip,
    placed,
    quantised,
)
from harness.exchange.judging import neurons_of
from harness.exchange.nir_export import to_nir
from harness.exchange.nir_import import from_nir
from harness.exchange.nir_neurons import DT_S, node_of
from tests.exchange.networks import images, lively

INTEGRATOR = NeuronSpec(kind="if", reset="subtract")


def test_a_network_of_integrators_fits() -> None:
    graph = to_nir(*lively("digits_convnet", INTEGRATOR))
    assert objections(graph) == []
    # The first convolution hears no spikes, and no neurons hear the read-out.
    assert on_chip(graph) == ("conv2",)
    # 8 inputs, 16 outputs, kernels of 3x3 (16 words), maps of 4x4.
    assert layer_of("conv2", graph) == Layer(
        name="conv2", kernel=8 * 16 * 16, neuron=16 * 4 * 4, bias=16
    )


def test_what_the_chip_has_not_is_said() -> None:
    # The first neurons are the host's, which has leaky ones.
    leaky = objections(to_nir(*lively("digits_convnet")))
    assert leaky == ["activation2 is a LIF, which the chip has not"]
    with pytest.raises(UnsupportedError, match="activation2 is a LIF"):
        quantised(to_nir(*lively("digits_convnet")))
    assert objections(to_nir(*lively("digits_convnet", NeuronSpec(kind="if", reset="zero")))) == []
    parts = ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold")
    synaptic = nir.CubaLIF(**{part: np.ones((4, 8, 8)) for part in parts})
    graph = behind_spikes("n1 c2 n2", c2=convolution(4, 4, 8, 8), n2=synaptic)
    assert objections(graph) == ["n2 is a CubaLIF, which the chip has not"]


def integrators(*shape: int, spec: NeuronSpec = INTEGRATOR) -> nir.NIRNode:
    return node_of(neurons_of("reference")(spec), shape, np.dtype(np.float64), dt_s=DT_S)


def convolution(outputs: int, *shape: int, **changed: Any) -> nir.Conv2d:
    """Return 1x1 over maps ``shape [C, H, W]``."""
    weight = np.random.default_rng(0).normal(size=(outputs, shape[0], 1, 1))
    plain = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": np.zeros(outputs)}
    return nir.Conv2d(shape[1:], **{"weight": weight} | plain | changed)


def linear(outputs: int, inputs: int) -> nir.Linear:
    return nir.Linear(np.random.default_rng(0).normal(size=(outputs, inputs)))


def flatten(*shape: int) -> nir.Flatten:
    return nir.Flatten({"input": np.array(shape)}, start_dim=0)


def pool(kind: Any, kernel: Any, stride: Any, padding: Any = 0) -> Any:
    return kind(*(np.array(np.broadcast_to(size, 2)) for size in (kernel, stride, padding)))


def behind_spikes(*paths: str, **nodes: Any) -> nir.NIRGraph:
    """Return ``nodes`` behind the spikes ``n1`` of 4 maps of 8x8.

    A path is names, each hearing the one before; the end of the last path is the output.
    """
    first = {"input": nir.Input({"input": np.array([2, 8, 8])})}
    nodes = first | {"c1": convolution(4, 2, 8, 8), "n1": integrators(4, 8, 8)} | nodes
    nodes["output"] = nir.Output(nodes[paths[-1].split()[-1]].output_type)
    paths = ("input c1 n1", *paths[:-1], f"{paths[-1]} output")
    edges = [edge for path in paths for edge in pairwise(path.split())]
    return nir.NIRGraph(nodes, edges)


@pytest.mark.parametrize(
    ("paths", "objection"),
    [
        (["n1 a b n2"], "b hears a; weights of the chip hear neurons or pools"),
        (["c1 a", "n1 a n2"], "a hears c1; weights of the chip hear neurons or pools"),
        (["n1 n2"], "n2 hears n1; neurons of the chip hear weights"),
        (["n1 a n2", "n1 b n2"], "n2 adds a and b; a core has one layer of weights"),
        (["n1 a n2", "a n3"], "a is heard by n2 and n3; a core has one layer of neurons"),
        (["a b", "n1 a n2 b"], "a is heard by b and n2; a core has one layer of neurons"),
    ],
)
def test_a_core_is_weights_that_neurons_hear(paths: list[str], objection: str) -> None:
    nodes: dict[str, Any] = {name: convolution(4, 4, 8, 8) for name in ("a", "b")}
    nodes |= {name: integrators(4, 8, 8) for name in ("n2", "n3")}
    graph = behind_spikes(*paths, **nodes)
    assert objection in objections(graph)
    with pytest.raises(UnsupportedError, match=objection):
        quantised(graph)


@pytest.mark.parametrize("branches", [2, 3])
def test_a_core_sends_to_two_others(branches: int) -> None:
    nodes: dict[str, Any] = {"c2": convolution(4, 4, 8, 8), "n2": integrators(4, 8, 8)}
    nodes |= {"flat": flatten(4, 8, 8), "fc": linear(3, 4 * 8 * 8)}
    paths = ["n1 c2"]
    for name in range(branches):
        nodes[f"p{name}"] = pool(nir.SumPool2d, 2, 2)
        nodes |= {f"a{name}": convolution(4, 4, 4, 4), f"m{name}": integrators(4, 4, 4)}
        paths.append(f"n2 p{name} a{name} m{name}")
    graph = behind_spikes(*paths, "c2 n2 flat fc", **nodes)  # the host reads along
    refused = ["n2 sends to a0, a1, a2; a core sends to 2 others"]
    assert objections(graph) == (refused if branches > 2 else [])


def test_the_first_neurons_send_to_any_number_of_cores() -> None:
    names = range(4)
    nodes: dict[str, Any] = {f"a{name}": convolution(4, 4, 8, 8) for name in names}
    nodes |= {f"m{name}": integrators(4, 8, 8) for name in names}
    assert objections(behind_spikes(*(f"n1 a{name} m{name}" for name in names), **nodes)) == []


def test_the_read_out_is_of_the_host() -> None:
    fc = linear(3, 4 * 8 * 8)
    alone = behind_spikes("n1 flat fc", flat=flatten(4, 8, 8), fc=fc)
    assert on_chip(alone) == ()
    assert objections(alone) == ["no weights are between neurons, so the chip would hold nothing"]
    # Behind the last neurons the host may pool as the chip cannot.
    layer = {"c2": convolution(4, 4, 8, 8), "n2": integrators(4, 8, 8)}
    read = {"p": pool(nir.AvgPool2d, 3, 1, 1), "flat": flatten(4, 8, 8), "fc": fc}
    graph = behind_spikes("n1 c2 n2 p flat fc", **layer, **read)
    assert on_chip(graph) == ("c2",)
    assert objections(graph) == []
    made = quantised(graph)
    assert np.array_equal(made.nodes["fc"].weight, fc.weight)
    assert isinstance(made.nodes["p"], nir.AvgPool2d)


def behind_pools(*pools: Any, height: int, width: int) -> nir.NIRGraph:
    """Return a layer ``c2``, ``n2`` behind pools ``p1``, ``p2``, one after the other."""
    nodes = {f"p{number}": each for number, each in enumerate(pools, start=1)}
    nodes["c2"], nodes["n2"] = convolution(4, 4, height, width), integrators(4, height, width)
    return behind_spikes(" ".join(["n1", *nodes]), **nodes)


@pytest.mark.parametrize("kind", [nir.SumPool2d, nir.AvgPool2d])
def test_pools_are_squares_side_by_side(kind: Any) -> None:
    assert objections(behind_pools(pool(kind, 2, 2), pool(kind, 2, 2), height=2, width=2)) == []
    (overlapping,) = objections(behind_pools(pool(kind, 3, 1), height=6, width=6))
    assert overlapping.startswith("p1 pools [3, 3] pixels, [1, 1] apart and padded by [0, 0]")
    (padded,) = objections(behind_pools(pool(kind, 2, 2, 1), height=5, width=5))
    assert "padded by [1, 1]" in padded
    (oblong,) = objections(behind_pools(pool(kind, (2, 1), (2, 1)), height=4, width=8))
    assert "pools [2, 1] pixels" in oblong


def test_a_pool_of_the_chip_is_not_the_hosts() -> None:
    layer = {"c2": convolution(4, 4, 4, 4), "n2": integrators(4, 4, 4)}
    heard = {"p": pool(nir.AvgPool2d, 2, 2), "host": convolution(4, 4, 4, 4)}
    graph = behind_spikes("n1 p c2 n2 host", "p host", **layer, **heard)
    assert objections(graph) == ["p is heard by c2 and host, of which some are the host's"]


def test_a_matrix_is_a_convolution_as_large_as_the_maps() -> None:
    layer = {"c2": convolution(4, 4, 8, 8, stride=(2, 1)), "n2": integrators(4, 4, 8)}
    matrix = {"flat": flatten(4, 4, 8), "fc": linear(5, 4 * 4 * 8), "n3": integrators(5)}
    graph = behind_spikes("n1 c2 n2 flat fc n3", **layer, **matrix)
    assert objections(graph) == ["fc has kernels of 4x8; those of the chip are squares"]


@pytest.mark.parametrize(
    ("shape", "outputs", "words"),
    [
        ((24, 3, 3), 200, 24 * 16 * 256),
        ((16, 3, 3), 200, 16 * 16 * 256),
        ((8, 5, 5), 100, 8 * 32 * 128),
        ((16, 4, 4), 10, 16 * 16 * 16),
    ],
)
def test_kernels_of_a_matrix_are_rounded_up_a_map(
    shape: tuple[int, ...], outputs: int, words: int
) -> None:
    graph = nir.NIRGraph.from_list(flatten(*shape), linear(outputs, math.prod(shape)))
    expected = Layer(name="linear", kernel=words, neuron=outputs, bias=0)
    assert layer_of("linear", graph) == expected


def test_kernels_and_channels_are_rounded_up_apart() -> None:
    convolution = nir.Conv2d((4, 6), np.ones((10, 3, 3, 3)), 1, 1, 1, 1, np.zeros(10))
    graph = nir.NIRGraph.from_list(convolution)
    # 3 inputs; 9 pixels take 16 words, 10 channels 16; a map of 4x6 takes 4x8; no bias.
    expected = Layer(name="conv2d", kernel=3 * 16 * 16, neuron=10 * 32, bias=0)
    assert layer_of("conv2d", graph) == expected


def core(kernel: int, neuron: int = 1) -> Layer:
    return Layer(name="x", kernel=kernel, neuron=neuron, bias=0)


def test_layers_are_placed_on_cores_that_hold_them() -> None:
    small, large = core(1), core(64 * 1024)
    assert placed([large, large]) == (5, 6)
    assert placed([large] * 3) is None
    assert placed([core(1, 64 * 1024)] * 4) is None
    assert placed([small] * 9) is not None
    assert placed([small] * 10) is None
    # The only cores for the second are also good for the first, which has to make way.
    assert placed([core(16 * 1024)] * 7 + [large] * 2) == (0, 1, 2, 3, 4, 7, 8, 5, 6)
    assert not core(64 * 1024 + 1).fits(5)
    assert not Layer(name="x", kernel=1, neuron=1, bias=1025).fits(0)


def test_integers_fit_and_are_the_nearest() -> None:
    graph = to_nir(*lively("digits_convnet", INTEGRATOR))
    made = quantised(graph)
    for name in on_chip(graph):
        weight, exact = made.nodes[name].weight, graph.nodes[name].weight
        bias, before = made.nodes[name].bias, graph.nodes[name].bias
        assert np.array_equal(weight, np.round(weight))
        assert max(np.abs(weight).max(), np.abs(bias).max()) == 127  # as far as there is room
        scale = 127 / max(np.abs(exact).max(), np.abs(before).max())
        assert np.abs(weight / scale - exact).max() <= 0.5 / scale + 1e-12
        assert np.abs(bias / scale - before).max() <= 0.5 / scale + 1e-12
    assert np.array_equal(made.nodes["conv1"].weight, graph.nodes["conv1"].weight)
    threshold = made.nodes["activation2"].v_threshold
    assert np.all(np.ceil(threshold) - threshold < 1e-9)  # one below an integer


def test_an_average_is_a_sum_that_the_weights_divide() -> None:
    pools = [pool(nir.AvgPool2d, 2, 2), pool(nir.SumPool2d, 2, 2)]
    graph = behind_pools(*pools, height=2, width=2)
    made = quantised(graph)
    assert isinstance(made.nodes["p1"], nir.SumPool2d)
    weight = graph.nodes["c2"].weight / 4
    scale = 127 / np.abs(weight).max()
    assert np.array_equal(made.nodes["c2"].weight, np.round(weight * scale))
    assert math.ceil(made.nodes["n2"].v_threshold[0, 0, 0]) == round(scale)
    exact, said = (from_nir(each, neurons_of("reference")) for each in (graph, made))
    with torch.no_grad():
        stimulus = images((2, 8, 8), 50)
        spikes, rounded = (net(stimulus, 16, taps=("n2",)).taps["n2"] for net in (exact, said))
    assert 0.1 < float(spikes.mean()) < 0.9
    assert float((spikes != rounded).double().mean()) < 0.05  # as for the student below


def test_averages_and_sums_into_one_layer_have_no_common_divisor() -> None:
    pools = {"p": pool(nir.AvgPool2d, 2, 2), "q": pool(nir.SumPool2d, 2, 2)}
    layer = {"c2": convolution(4, 4, 4, 4), "n2": integrators(4, 4, 4)}
    (said,) = objections(behind_spikes("n1 q c2", "n1 p c2 n2", **pools, **layer))
    assert said.startswith("c2 hears averages of [1, 4] pixels")


def test_thresholds_of_files_without_our_words_are_scaled_too() -> None:
    spec = NeuronSpec(kind="if", reset="zero", v_threshold=0.75)
    layer = {"c2": convolution(4, 4, 8, 8), "n2": integrators(4, 8, 8, spec=spec)}
    graph = behind_spikes("n1 c2 n2", **layer)
    ours = quantised(graph)
    layer["n2"].metadata = {}
    theirs = quantised(behind_spikes("n1 c2 n2", **layer))
    assert np.array_equal(theirs.nodes["n2"].v_threshold, ours.nodes["n2"].v_threshold)
    assert from_nir(ours, neurons_of("reference")).get_submodule("n2").spec.reset == "zero"
    layer["n2"].v_reset = layer["n2"].v_reset + 0.5
    (said,) = objections(behind_spikes("n1 c2 n2", **layer))
    assert said.startswith("n2.v_reset is not 0")


def test_quantised_membranes_are_integers_of_sixteen_bits() -> None:
    network, shape = lively("digits_convnet", INTEGRATOR)
    back = from_nir(quantised(to_nir(network, shape)), neurons_of("reference"))
    with torch.no_grad():
        said = back(images(shape), 16, taps=("activation2", "activation2.membrane"))
        exact = network(images(shape), 16, taps=("stage1",)).taps["stage1"]
    membrane = said.taps["activation2.membrane"]
    assert torch.equal(membrane, membrane.round())
    assert membrane.abs().max() < 2**15
    differing = (said.taps["activation2"] != exact).double().mean()
    assert float(differing) == pytest.approx(0, abs=0.05)  # eight bits are not exact, and near
