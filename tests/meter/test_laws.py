"""What must not change a count, and what must change it in a known way."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from harness.contracts.ledger import CATEGORIES, Counts, Ledger
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from harness.neurons.spiking import SpikingNeuron
from harness.training.bfloat16 import through_float32
from tests.meter.networks import SpikingNet, random_spikes, seeds, stimuli
from tests.meter.neurons import Given

CLOCKED = {"bias_add", "residual_add", "compare", "neuron_add", "neuron_mul"}
DENSE = {"dense_valid", "dense_padded"}

few = settings(deadline=None, max_examples=15)


def spikes_of(counts: Counts) -> dict[str, int]:
    """Return the counts that events alone determine."""
    return {name: n for name, n in asdict(counts).items() if name not in CLOCKED | DENSE}


@few
@given(seed=seeds, cuts=st.lists(st.integers(0, 7), max_size=3), order=st.permutations(range(7)))
def test_neither_batches_nor_their_order_matter(
    seed: int, cuts: list[int], order: list[int]
) -> None:
    network, images = SpikingNet(seed), stimuli(seed, 7)
    whole = measure(network, images)
    places = [0, *sorted(set(cuts) - {0, 7}), 7]
    shuffled = images[list(order)]
    parts = [shuffled[a:b] for a, b in pairwise(places)]
    split = measure(network, parts)
    assert split.total == whole.total
    assert (split.encoding, split.explicit) == (whole.encoding, whole.explicit)
    assert {n: layer.operand for n, layer in split.layers.items()} == {
        n: layer.operand for n, layer in whole.layers.items()
    }
    for category, table in whole.tally().items():
        assert np.array_equal(table[list(order)], split.tally()[category]), category


@few
@given(seed=seeds)
def test_samples_and_steps_add_up_to_the_total(seed: int) -> None:
    measured = measure(SpikingNet(seed), stimuli(seed, 3))
    for category in CATEGORIES:
        total = getattr(measured.total, category)
        assert measured.per_sample()[category].sum() == total
        assert measured.per_step()[category].sum() == total
        assert sum(getattr(layer.total, category) for layer in measured.layers.values()) == total


@few
@given(seed=seeds)
def test_modules_functions_and_einsum_cost_the_same(seed: int) -> None:
    layer, spikes = nn.Linear(6, 4), random_spikes(seed, 5, 3, 6)
    weight, bias = layer.weight, layer.bias
    forms: list[Callable[[Tensor], Any]] = [
        layer,
        lambda x: nn.functional.linear(x, weight, bias),
        lambda x: x @ weight.T + bias,
        lambda x: torch.matmul(x, weight.t()).add(bias),
        lambda x: torch.einsum("nld,od->nlo", x, weight) + bias,
        lambda x: torch.einsum("od,nld->nlo", weight, x) + bias,
        lambda x: (weight @ x.transpose(1, 2)).transpose(1, 2) + bias,
        lambda x: torch.stack([layer(token) for token in x.unbind(1)], 1),
        lambda x: nn.functional.conv1d(x.transpose(1, 2), weight[:, :, None], bias),
    ]
    # The same ledger, layer by layer, and the same samples; a kernel of one is a matrix.
    expected = measure(layer, spikes)
    for form in forms:
        measured = measure(layer, spikes, call=form)
        assert measured.total == expected.total
        assert measured.per_sample()["ac"].tolist() == expected.per_sample()["ac"].tolist()
        assert list(measured.layers) == ["model"]


@few
@given(seed=seeds)
def test_a_convolution_unfolded_by_hand_costs_the_same(seed: int) -> None:
    spikes, layer = random_spikes(seed, 2, 3, 6, 5), nn.Conv2d(3, 4, 3, padding=1, bias=False)

    def unfolded(x: Tensor) -> Tensor:
        columns = nn.functional.unfold(x, 3, padding=1)
        return layer.weight.flatten(1) @ columns

    measured = measure(layer, spikes, call=unfolded)
    assert measured.total.ac == measure(layer, spikes).total.ac
    # By hand the zeros around the borders are values like others.
    assert measured.total.dense_valid == measure(layer, spikes).total.dense_padded


@few
@given(seed=seeds)
def test_the_type_of_the_numbers_does_not_matter(seed: int) -> None:
    spikes, layer = random_spikes(seed, 4, 3, 5, 5), nn.Conv2d(3, 7, 3, padding=1)
    expected = measure(layer, spikes).total
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        assert measure(layer.to(dtype), spikes.to(dtype)).total == expected
    last = spikes.to(memory_format=torch.channels_last)
    layer.weight.data = layer.weight.data.float().contiguous(memory_format=torch.channels_last)
    assert measure(layer.float(), last).total == expected


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(2, 3),
        lambda x: x.transpose(1, 2),
        lambda x: x[:, :1].expand_as(x),
        lambda x: x[:, :, :1].expand_as(x),
        lambda x: x.transpose(2, 3).contiguous(),
        lambda x: x[:, :, :1].expand_as(x).contiguous(),
        lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
        lambda x: x.contiguous(memory_format=torch.channels_last),
    ],
)
def test_a_view_costs_what_the_same_values_in_memory_of_their_own_cost(
    view: Callable[[Tensor], Tensor],
) -> None:
    layer, spikes = nn.Conv2d(4, 2, (3, 1)), random_spikes(2, 3, 4, 4, 4)
    both = measure(layer, spikes, call=lambda x: [layer(x), layer(view(x))])
    assert both.total == measure(layer, spikes).total + measure(layer, view(spikes).clone()).total


def test_windows_that_overlap_in_memory_are_counted_each_as_it_is() -> None:
    # Ones in the first row: by pairs of rows 3 ones of 12, by pairs of columns 4.
    spikes, layer = torch.zeros(1, 3, 3), nn.Linear(2, 5, bias=False)
    spikes[0, 0] = 1
    measured = measure(
        layer, spikes, call=lambda x: [layer(y) for y in (x.unfold(1, 2, 1), x.unfold(2, 2, 1))]
    )
    assert measured.total.ac == (3 + 4) * 5


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.uint8])
def test_spikes_that_are_no_floats_are_spikes(dtype: torch.dtype) -> None:
    spikes = random_spikes(0, 3, 2, 4)

    class Compact(Given):
        def forward(self, current: Tensor) -> Tensor:
            return super().forward(current).to(dtype)

    layer = nn.Linear(4, 5, bias=False)
    network = nn.ModuleList([Compact(spikes), layer])
    measured = measure(
        network,
        spikes,
        batch_axis=1,
        time_axis=0,
        call=lambda x: layer(network[0](x).float().flatten(0, 1)),
    )
    assert measured.total.ac == int(spikes.sum()) * 5
    assert measured.layers["1"].operand == "binary"


@pytest.mark.parametrize(
    "lowering", [partial(torch.autocast, "cpu", torch.bfloat16), through_float32]
)
def test_autocast_does_not_change_the_ledger_of_given_spikes(
    lowering: Callable[[], AbstractContextManager[object]],
) -> None:
    spikes = random_spikes(0, 2, 3, 4, 5, 5)
    network = nn.Sequential(Given(spikes), nn.Flatten(0, 1), nn.Conv2d(4, 6, 3, bias=False))

    def lowered(x: Tensor) -> Tensor:
        with lowering():
            answer: Tensor = network(x)
        return answer

    plain = measure(network, spikes, batch_axis=1, time_axis=0)
    lower = measure(network, spikes, batch_axis=1, time_axis=0, call=lowered)
    assert plain.total == lower.total
    assert list(plain.layers) == list(lower.layers)


def test_inference_mode_does_not_change_the_ledger() -> None:
    network, images = SpikingNet(), stimuli(0, 3)
    plain = measure(network, images)

    def inferred(x: Tensor) -> Tensor:
        with torch.inference_mode():
            answer: Tensor = network(x)
        return answer

    measured = measure(network, images, call=inferred)
    assert measured.total == plain.total
    assert (measured.encoding, list(measured.layers)) == (plain.encoding, list(plain.layers))


def test_names_of_layers_are_names_and_nothing_else() -> None:
    network = SpikingNet()
    images = stimuli(0, 2)
    wrapped = nn.ModuleDict({"another": nn.ModuleDict({"name": network})})
    plain, renamed = measure(network, images), measure(wrapped, images, call=network)
    assert renamed.total == plain.total
    assert list(renamed.layers) == [f"another.name.{name}" for name in plain.layers]


@few
@given(seed=seeds, height=st.sampled_from([0.5, 0.7, 3.0, -1.5]))
def test_spikes_of_another_height_cost_the_same(seed: int, height: float) -> None:
    spikes = random_spikes(seed, 3, 2, 4, 4)
    layer, scaled = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    scaled.weight.data, scaled.bias.data = layer.weight.data / height, layer.bias.data  # type: ignore[union-attr]  # it has one
    assert measure(scaled, spikes * height).total == measure(layer, spikes).total


@few
@given(seed=seeds, silent=st.integers(1, 3))
def test_silent_steps_cost_only_what_is_clocked(seed: int, silent: int) -> None:
    spikes = random_spikes(seed, 2, 3, 4)  # [T, N, C]
    longer = torch.cat([spikes, torch.zeros(silent, 3, 4)])

    def run(given_: Tensor) -> Ledger:
        network = nn.Sequential(Given(given_), nn.Flatten(0, 1), nn.Linear(4, 5))
        return measure(network, given_, batch_axis=1, time_axis=0)

    short, long = run(spikes), run(longer)
    assert spikes_of(short.total) == spikes_of(long.total)
    for name in ("bias_add", "neuron_add", "compare", "dense_valid"):
        assert getattr(long.total, name) * 2 == getattr(short.total, name) * (2 + silent)


@few
@given(seed=seeds, data=st.data())
def test_counts_add_up_over_disjoint_spikes(seed: int, data: st.DataObject) -> None:
    layer = nn.Conv2d(
        4,
        6,
        data.draw(st.integers(1, 3)),
        stride=data.draw(st.integers(1, 2)),
        padding=data.draw(st.integers(0, 2)),
        groups=data.draw(st.sampled_from([1, 2])),
    )
    spikes = random_spikes(seed, 2, 4, 7, 6)
    chosen = random_spikes(seed + 1, 2, 4, 7, 6, rate=0.5)
    parts = [
        measure(layer, spikes * chosen).total.ac,
        measure(layer, spikes * (1 - chosen)).total.ac,
    ]
    assert sum(parts) == measure(layer, spikes).total.ac


@few
@given(data=st.data())
def test_ones_everywhere_cost_what_is_dense(data: st.DataObject) -> None:
    kernel, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    stride = data.draw(st.integers(1, 3))
    padding = data.draw(st.integers(0, kernel - 1))
    groups = data.draw(st.sampled_from([1, 2]))
    shape = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    kind = data.draw(
        st.sampled_from([nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d])
    )
    dims = 1 if kind in (nn.Conv1d, nn.ConvTranspose1d) else 2
    measured = measure(kind(2, 4, kernel, **shape), torch.ones(1, 2, *[7] * dims))
    assert measured.total.ac == measured.total.dense_valid <= measured.total.dense_padded


@few
@given(seed=seeds)
def test_the_order_of_channels_does_not_matter(seed: int) -> None:
    spikes = random_spikes(seed, 2, 5, 6, 6)
    layer = nn.Conv2d(5, 3, 3)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    permuted = nn.Conv2d(5, 3, 3)
    permuted.weight.data = layer.weight.data[:, order]
    assert measure(permuted, spikes[:, order]).total == measure(layer, spikes).total


def test_the_meter_leaves_every_answer_as_it_was_and_no_trace_of_itself() -> None:
    network, images = SpikingNet(), stimuli(0, 4)
    before = torch.get_rng_state()
    with torch.no_grad():
        plain = network(images)
    metered: list[Tensor] = []
    measure(network, images, call=lambda x: metered.append(network(x)))
    with torch.no_grad():
        after = network(images)
    assert torch.equal(metered[0], plain)
    assert torch.equal(after, plain)
    assert torch.equal(torch.get_rng_state(), before)
    assert not _get_current_dispatch_mode_stack()
    assert not any(module._forward_hooks for module in network.modules())
    assert not nn.modules.module._global_forward_hooks
    assert torch.is_grad_enabled()


def test_an_error_in_the_model_leaves_no_trace_either() -> None:
    class Failing(SpikingNeuron):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError(list(x.shape))

    with pytest.raises(ValueError, match="1, 2"):
        measure(nn.Sequential(nn.Linear(2, 2), Failing(NeuronSpec())), torch.ones(1, 2))
    assert not _get_current_dispatch_mode_stack()
    assert not nn.modules.module._global_forward_hooks
    assert measure(nn.Linear(2, 2), torch.ones(1, 2)).total.ac == 4


def test_two_meters_one_in_the_other_count_as_if_alone() -> None:
    network, other = SpikingNet(0), nn.Sequential(nn.Linear(72, 4), nn.ReLU())
    images = stimuli(0, 3)
    inner: list[Ledger] = []

    def both(x: Tensor) -> Any:
        inner.append(measure(network, x))
        inner.append(measure(other, x.flatten(1)))
        return network(x)

    outer = measure(network, images, call=both)
    alone = measure(network, images)
    assert inner[0].total == alone.total
    assert inner[1].total == measure(other, images.flatten(1)).total
    # The outer meter saw the same network twice and the other one once, and no counting.
    assert outer.total == alone.total + alone.total + inner[1].total


def test_counting_is_exact_where_single_precision_is_not() -> None:
    # 4097 x 4097 = 16 785 409 > 2**24: a float32 sum gives ...408.
    with torch.device("meta"):
        wide = nn.Linear(4097, 4097, bias=False)
    wide = wide.to_empty(device="cpu")
    torch.nn.init.zeros_(wide.weight)
    assert measure(wide, torch.ones(1, 4097)).total.ac == 16_785_409
    # bfloat16 has every integer up to 256; 301 would become 300.
    half = nn.Linear(301, 301, bias=False).bfloat16()
    assert measure(half, torch.ones(1, 301, dtype=torch.bfloat16)).total.ac == 301 * 301
    conv = nn.Conv2d(301, 2, 1, bias=False).bfloat16()
    spikes = torch.ones(1, 301, 2, 2, dtype=torch.bfloat16)
    assert measure(conv, spikes).total.ac == 301 * 4 * 2
    network = nn.Sequential(Given(spikes[None]), nn.Flatten(0, 1), conv)
    assert measure(network, spikes[None], batch_axis=1, time_axis=0).total.ac == 301 * 4 * 2


def test_a_deep_network_is_remembered_to_its_end() -> None:
    parts = [part for _ in range(90) for part in (nn.Linear(3, 3), nn.ReLU())]
    measured = measure(nn.Sequential(*parts), torch.rand(2, 3))
    kinds = {name: layer.kind for name, layer in measured.layers.items()}
    assert kinds == {str(n): "activation" if n % 2 else "linear" for n in range(180)}


def test_no_batch_outlives_its_turn() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def batches() -> Iterator[Tensor]:
        for seed in range(4):
            gc.collect()
            assert not any(batch() is not None for batch in alive[:-1])
            batch = stimuli(seed, 2)
            alive.append(weakref.ref(batch))
            yield batch

    assert measure(SpikingNet(), batches()).samples == 8


def test_activations_die_when_the_model_lets_them_go() -> None:
    network = nn.ModuleList([Given(random_spikes(0, 3, 2, 4)), nn.Linear(4, 5), nn.ReLU()])

    def run(x: Tensor) -> Tensor:
        value, dead = x, []
        for layer in network:
            value = layer(value)
            dead.append(weakref.ref(value))
        gc.collect()
        assert [one() is None for one in dead] == [True, True, False]
        return value

    measured = measure(network, torch.zeros(3, 2, 4), batch_axis=1, time_axis=0, call=run)
    assert measured.steps == 3


@few
@given(seed=seeds, timesteps=st.integers(1, 5))
def test_layers_before_the_first_neuron_scale_with_time_only_by_convention(
    seed: int, timesteps: int
) -> None:
    network, images = SpikingNet(seed), stimuli(seed, 2)
    measured = measure(network, images, call=lambda x: network(x, timesteps))
    first = measured.layers["conv1"]
    assert first.encoding.cached.mac == first.total.mac
    assert first.encoding.per_step.mac == timesteps * first.total.mac
    assert measured.steps == timesteps
    rest = measured.layers["conv2"]
    assert rest.encoding.cached == rest.encoding.per_step
