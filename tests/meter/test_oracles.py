"""Other people's counters, and brute force, where each of them is exact."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness.meter import measure
from tests.meter.networks import random_spikes, seeds

few = settings(deadline=None, max_examples=25)
PLAIN = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a convolution of ones and the shape of one sample for it."""
    dims = draw(st.integers(1, 3))
    transposed = draw(st.booleans())
    groups = draw(st.sampled_from([1, 2]))
    kernel = [draw(st.integers(1, 3)) for _ in range(dims)]
    stride = [draw(st.integers(1, 3)) for _ in range(dims)]
    dilation = [draw(st.integers(1, 2)) for _ in range(dims)]
    padding = [draw(st.integers(0, size - 1)) for size in kernel]
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    if transposed and draw(st.booleans()):
        options["output_padding"] = [step - 1 for step in stride]
    kind: Any = (TRANSPOSED if transposed else PLAIN)[dims - 1]
    layer = kind(2, 4, kernel, groups=groups, bias=False, **options)
    nn.init.ones_(layer.weight)
    return layer, (2, *(draw(st.integers(5, 7)) for _ in range(dims)))


@few
@given(seed=seeds, chosen=convolutions())
def test_accumulates_are_what_a_kernel_of_ones_adds_up(
    seed: int, chosen: tuple[nn.Module, tuple[int, ...]]
) -> None:
    layer, shape = chosen
    spikes = random_spikes(seed, 3, *shape)
    measured = measure(layer, spikes)
    with torch.no_grad():
        expected = layer.double()(spikes.double()).flatten(1).sum(1)
    assert measured.per_sample()["ac"].tolist() == expected.long().tolist()


@few
@given(chosen=convolutions())
def test_dense_products_with_borders_are_those_torch_counts(
    chosen: tuple[nn.Module, tuple[int, ...]],
) -> None:
    layer, shape = chosen
    signal = torch.rand(2, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(signal)
    assert 2 * measure(layer, signal).total.dense_padded == counter.get_total_flops()


@few
@given(seed=seeds, shape=st.tuples(*[st.integers(1, 5)] * 4))
def test_pairs_of_spikes_are_the_sum_of_their_product(
    seed: int, shape: tuple[int, int, int, int]
) -> None:
    samples, rows, inner, columns = shape
    left = random_spikes(seed, samples, rows, inner, rate=0.5)
    right = random_spikes(seed + 1, samples, inner, columns, rate=0.5)
    both = torch.cat([left.flatten(1), right.flatten(1)], 1)

    def run(x: Tensor) -> Tensor:
        one, other = x[:, : rows * inner], x[:, rows * inner :]
        return one.reshape(-1, rows, inner) @ other.reshape(-1, inner, columns)

    measured = measure(nn.Identity(), both, call=run)
    expected = (left @ right).flatten(1).sum(1)
    counted = measured.total
    assert measured.per_sample()["and_ac"].tolist() == expected.long().tolist()
    assert counted.ac == counted.mac == 0
    assert counted.gated == int(left.sum()) * columns
    assert counted.dense_valid == samples * rows * inner * columns


def test_spikingjelly_counts_binary_layers_alike() -> None:
    op_counter = pytest.importorskip("spikingjelly.activation_based.op_counter")
    layers: list[tuple[nn.Module, tuple[int, ...]]] = [
        (nn.Linear(7, 5, bias=False), (7,)),
        (nn.Conv2d(4, 6, 3, padding=1, bias=False), (4, 6, 5)),
        (nn.Conv2d(4, 6, 2, stride=2, groups=2, bias=False), (4, 7, 6)),
        (nn.Conv2d(4, 4, 3, dilation=2, groups=4, bias=False), (4, 8, 8)),
        (nn.Conv1d(2, 3, 3, stride=2, bias=False), (2, 9)),
        (nn.Conv2d(1, 5, 2, bias=False), (1, 3, 3)),
    ]
    for seed, (layer, shape) in enumerate(layers):
        spikes = random_spikes(seed, 3, *shape)
        counter = op_counter.synop.SynOpCounter()
        with op_counter.DispatchCounterMode([counter]), torch.no_grad():
            layer(spikes)
        assert measure(layer, spikes).total.ac == counter.get_total(), layer
