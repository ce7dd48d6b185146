"""Where the other meters are exact, they and ours say the same, to the last operation."""

from dataclasses import dataclass
from typing import Any

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from neurobench.models import SNNTorchModel
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, interpolate
from torch.utils.flop_counter import FlopCounterMode

from harness.contracts.errors import CountingError
from harness.meter import measure
from tests.cross_check import tools
from tests.cross_check.cases import CASES, Case, ours
from tests.cross_check.networks import STEPS, Steps, converted, generic, integrate_and_fire

KINDS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution of binary input, as hypothesis draws it."""

    dims: int
    samples: int
    groups: int
    inputs: int
    outputs: int
    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    bias: bool
    seed: int

    def network(self) -> nn.Sequential:
        layer = KINDS[self.dims](
            self.groups * self.inputs,
            self.groups * self.outputs,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias,
        )
        return nn.Sequential(generic(layer))

    def spikes(self) -> Tensor:
        shape = (self.samples, self.groups * self.inputs, *[self.size] * self.dims)
        return bernoulli(shape, self.seed)


def bernoulli(shape: tuple[int, ...], seed: int, rate: float = 0.4) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def layers(dims: int) -> st.SearchStrategy[Layer]:
    drawn = st.builds(
        Layer,
        dims=st.just(dims),
        # Powers of two: a mean over them, times them, is the sum again.
        samples=st.sampled_from([1, 2, 4]),
        groups=st.integers(1, 3),
        inputs=st.integers(1, 2),
        outputs=st.integers(1, 3),
        size=st.integers(3, 8),
        kernel=st.integers(1, 3),
        stride=st.integers(1, 3),
        padding=st.integers(0, 3),
        dilation=st.integers(1, 2),
        bias=st.booleans(),
        seed=st.integers(0, 2**16),
    )
    return drawn.filter(lambda it: it.size + 2 * it.padding > it.dilation * (it.kernel - 1))


@settings(max_examples=80, deadline=None)
@given(layers(2))
def test_four_meters_count_a_binary_convolution_alike(layer: Layer) -> None:
    spikes = layer.spikes()
    total = measure(layer.network(), spikes).total
    neurobench = tools.neurobench(layer.network(), spikes)
    assert (total.ac, total.mac) == (neurobench.ac, neurobench.mac)
    assert total.dense_valid == neurobench.dense
    assert total.ac == tools.spikingjelly(layer.network(), spikes).ac
    assert total.ac == tools.sinabs(layer.network(), spikes).ac


@pytest.mark.parametrize("dims", [1, 3])
def test_three_meters_count_other_binary_convolutions_alike(dims: int) -> None:
    # Sinabs has no rule for them.
    @settings(max_examples=30, deadline=None)
    @given(layers(dims))
    def alike(layer: Layer) -> None:
        spikes = layer.spikes()
        total = measure(layer.network(), spikes).total
        neurobench = tools.neurobench(layer.network(), spikes)
        assert (total.ac, total.dense_valid) == (neurobench.ac, neurobench.dense)
        assert total.ac == tools.spikingjelly(layer.network(), spikes).ac

    alike()


@settings(max_examples=40, deadline=None)
@given(
    samples=st.sampled_from([1, 2, 4, 8]),
    inputs=st.sampled_from([1, 2, 4, 16]),
    outputs=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
def test_all_five_count_a_binary_linear_layer_alike(
    samples: int, inputs: int, outputs: int, seed: int
) -> None:
    spikes = bernoulli((samples, inputs), seed)

    def network() -> nn.Sequential:
        return nn.Sequential(generic(nn.Linear(inputs, outputs, bias=False)))

    expected = int(spikes.sum()) * outputs
    assert measure(network(), spikes).total.ac == expected
    for ask in (tools.neurobench, tools.spikingjelly, tools.sinabs):
        assert ask(network(), spikes).ac == expected
    # Its rate is spikes over places: exact where there is a power of two of them.
    assert tools.syops(network(), spikes).ac == expected


@settings(max_examples=40, deadline=None)
@given(layers(2))
def test_dense_products_with_borders_are_those_of_torch(layer: Layer) -> None:
    spikes = layer.spikes()
    with FlopCounterMode(display=False) as flops:
        layer.network()(spikes)
    # Two of torch's operations are one product with accumulation.
    assert 2 * measure(layer.network(), spikes).total.dense_padded == flops.get_total_flops()


def spiking() -> nn.Sequential:
    parts = (
        nn.Conv2d(1, 4, 3, padding=1),
        Steps(integrate_and_fire()),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        Steps(integrate_and_fire()),
        nn.Flatten(),
        nn.Linear(6 * 3 * 3, 5),
    )
    return nn.Sequential(*(generic(part, low=-0.2) for part in parts))


def test_a_spiking_network_costs_the_same_under_four_meters() -> None:
    frames = torch.rand(STEPS * 2, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    network = spiking()
    measured = measure(
        network,
        torch.unflatten(frames, 0, (STEPS, 2)),
        time_axis=0,
        batch_axis=1,
        call=lambda steps: network(steps.flatten(0, 1)),
    )
    fired = [measured.layers[name].rate() for name in ("1.cell", "3.cell")]
    assert all(0 < rate < 1 for rate in fired)
    neurobench = tools.neurobench(spiking(), frames)
    assert (measured.total.ac, measured.total.mac) == (neurobench.ac, neurobench.mac)
    assert measured.total.dense_valid == neurobench.dense
    assert measured.total.ac == tools.spikingjelly(spiking(), frames).ac
    # Sinabs adds the analog frames to the spikes; here by layer.
    network = spiking()
    tools.sinabs(network, frames)
    data: Any = network.hook_data
    synops = data["synops_per_timestep"]
    for place in (2, 5):
        assert measured.layers[str(place)].total.ac == float(synops[place]) * len(frames)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_our_meter_counts_what_is_derived_by_hand(case: Case) -> None:
    total = ours(case).total
    assert (total.ac, total.mac) == (case.ac, case.mac)


def test_a_converted_network_costs_its_spikes_times_their_fan_out() -> None:
    network, images = converted()
    fired: list[Tensor] = []
    for name in ("spiking_0", "spiking_1"):
        cell = network.get_submodule(f"network.{name}.if_node")
        cell.register_forward_hook(lambda _module, _inputs, spikes: fired.append(spikes.detach()))
    network(images)
    # A spike is averaged into one pooled pixel, from where it reaches 8 channels of the
    # outputs that pixel touches; in the end each reaches 10 classes. Scales are folded.
    reached = conv_transpose2d(torch.ones(1, 8, 4, 4), torch.ones(8, 1, 3, 3), padding=1)
    fan_out = interpolate(reached, scale_factor=2)  # [1, 1, 8, 8]
    first = sum(float((spikes * fan_out).sum()) for spikes in fired[0::2])
    second = sum(float(spikes.sum()) * 10 for spikes in fired[1::2])
    total = measure(*converted()).total
    assert total.ac == first + second
    assert total.spikes == sum(float(spikes.sum()) for spikes in fired)
    # Every pixel is analog and not zero: all taps inside the borders, 4 channels.
    assert total.mac == (3 * 8 - 2) ** 2 * 4 * STEPS * len(images)


class OfSnnTorch(nn.Module):
    """The network of ``networks.two_layers``, one step a call, in snnTorch's manner."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2, bias=False)
        self.cell = snntorch.Leaky(beta=1.0, init_hidden=True)
        self.second = nn.Linear(2, 2, bias=False)
        self.first.weight.data = torch.tensor([[0.5, 0.25], [0.9, 0.0]])
        self.second.weight.data = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])

    def forward(self, frame: Tensor) -> tuple[Tensor, None]:
        return self.second(self.cell(self.first(frame))), None


def test_a_network_of_snntorch_costs_what_the_same_network_of_spikingjelly_does() -> None:
    network = OfSnnTorch()
    frames = torch.tensor([[1.0, 0.5]]).expand(1, STEPS, 2)
    measured = measure(
        network, frames, time_axis=1, call=lambda batch: [network(x) for x in batch.unbind(1)]
    )
    # Derived in tests/cross_check/cases.py. No tie with the threshold: `>` is as good as `>=`.
    assert (measured.total.ac, measured.total.spikes) == (10, 5)
    assert (measured.encoding.per_step.mac, measured.encoding.cached.mac) == (16, 4)
    # v <- beta v + x, in each of 2 neurons and 4 steps.
    assert (measured.total.neuron_add, measured.total.neuron_mul) == (8, 8)
    answer = tools.neurobench(SNNTorchModel(OfSnnTorch()), frames)
    assert answer.ac == measured.total.ac
    # Without the weight that is zero: 3 of the 4.
    assert answer.mac == 12


def test_neurons_that_nobody_described_are_refused() -> None:
    from sinabs.layers import IAF

    with pytest.raises(CountingError, match="looks like spiking neurons of unknown cost"):
        measure(nn.Sequential(nn.Linear(3, 5), IAF()), torch.ones(1, 3))
