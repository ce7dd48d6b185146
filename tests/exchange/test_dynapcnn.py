"""What fits a DYNAP-CNN chip, by its documented limits, and its integers."""

import nir
import numpy as np
import pytest
import torch

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
from tests.exchange.networks import images, lively

INTEGRATOR = NeuronSpec(kind="if", reset="subtract")


def test_a_network_of_integrators_fits() -> None:
    graph = to_nir(*lively("digits_convnet", INTEGRATOR))
    assert objections(graph) == []
    assert on_chip(graph) == ("conv2", "fc")  # the first convolution hears no spikes
    # 8 inputs, 16 outputs, kernels of 3x3 (16 words), maps of 4x4.
    assert layer_of("conv2", graph) == Layer(
        name="conv2", kernel=8 * 16 * 16, neuron=16 * 4 * 4, bias=16
    )
    # 256 inputs, 10 outputs (16 words).
    assert layer_of("fc", graph) == Layer(name="fc", kernel=256 * 16, neuron=10, bias=10)


def test_what_the_chip_has_not_is_said() -> None:
    leaky = objections(to_nir(*lively("digits_convnet")))
    assert leaky == [
        "activation1 is a LIF, which the chip has not",
        "activation2 is a LIF, which the chip has not",
    ]
    to_zero = objections(to_nir(*lively("digits_convnet", NeuronSpec(kind="if"))))
    assert "activation1 resets to zero, and the chip subtracts its threshold" in to_zero
    pooled = objections(to_nir(*lively("resnet20", INTEGRATOR)))
    assert "pool1 is a AvgPool2d, which the chip has not" in pooled


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
