"""Counts derived by hand, each with its derivation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.contracts.ledger import Counts, Shape
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from harness.training.bntt import BatchNormThroughTime
from tests.meter.neurons import Given, PlainNeuron


def linear(*, zeros: tuple[tuple[int, int], ...] = ()) -> nn.Linear:
    layer = nn.Linear(3, 5, bias=False)
    nn.init.ones_(layer.weight)
    for place in zeros:
        layer.weight.data[place] = 0
    return layer


def spikes_at(shape: tuple[int, ...], *places: tuple[int, ...]) -> Tensor:
    """Return one sample of zeros with ones at ``places``."""
    signal = torch.zeros(1, *shape)
    for place in places:
        signal[(0, *place)] = 1
    return signal


# G1: Linear 3 -> 5, one sample.


@pytest.mark.parametrize(
    ("values", "operand", "ac", "mac"),
    [
        ([1, 0, 1], "binary", 10, 0),  # 2 spikes x 5 outputs
        ([0.7, 0, 0.7], "scaled", 10, 0),  # the same, 0.7 goes into the weights
        ([1, 0, -1], "ternary", 10, 0),  # a negative spike subtracts, once
        ([2, 0, 1], "integer", 15, 0),  # 2 + 1 unit accumulates x 5
        ([0.5, 0, 2], "analog", 0, 10),  # 2 values x 5
        ([0, 0, 0], "silent", 0, 0),
    ],
)
def test_g1_a_linear_layer_costs_what_its_operand_class_says(
    values: list[float], operand: str, ac: int, mac: int
) -> None:
    measured = measure(linear(), torch.tensor([values], dtype=torch.float32))
    layer = measured.layers["model"]
    assert layer.operand == operand
    assert (layer.total.ac, layer.total.mac, layer.total.bias_add) == (ac, mac, 0)
    assert layer.total.dense_valid == layer.total.dense_padded == 3 * 5
    assert layer.total.inputs_nonzero == sum(value != 0 for value in values)


def test_g1_a_residual_sum_of_spikes_costs_a_unit_a_spike() -> None:
    # [1,0,1] + [1,0,0] = [2,0,1]: 3 additions, then (2 + 1) x 5 accumulates.
    layer, first = linear(), torch.tensor([[1.0, 0, 1]])
    second = torch.tensor([[1.0, 0, 0]])
    both = torch.stack([first, second])
    measured = measure(layer, both, batch_axis=1, call=lambda x: layer(x[0] + x[1]))
    assert (measured.total.ac, measured.total.residual_add) == (15, 3)


def test_g1_pruned_weights_do_not_change_what_arrives() -> None:
    # 10, not 8: the synapses exist; skipping zero weights is another question.
    measured = measure(linear(zeros=((0, 0), (1, 2))), torch.tensor([[1.0, 0, 1]]))
    assert measured.total.ac == 10


def test_g1_one_class_for_the_run_and_samples_apart() -> None:
    batch = torch.tensor([[1.0, 0, 1], [0.5, 0, 0]])
    measured = measure(linear(), batch)
    # 2 x 5 and 1 x 5; analog over the run, whatever the batches.
    assert measured.layers["model"].operand == "analog"
    assert (measured.total.ac, measured.total.mac) == (0, 15)
    assert measured.total.dense_valid == 30
    assert measured.per_sample()["mac"].tolist() == [10, 5]
    assert measure(linear(), [batch[:1], batch[1:]]).total == measured.total
    apart = [measure(linear(), sample).total for sample in (batch[:1], batch[1:])]
    # By itself the second is scaled spikes: half a weight once.
    assert [(counts.ac, counts.mac) for counts in apart] == [(10, 0), (5, 0)]


def test_g1_a_bias_is_added_once_an_output_and_is_no_synaptic_operation() -> None:
    measured = measure(nn.Linear(3, 5), torch.tensor([[1.0, 0, 1]]))
    assert (measured.total.ac, measured.total.bias_add) == (10, 5)


def test_g2_fan_out_at_the_borders_is_exact() -> None:
    # Fan-out [[5,10,5],[10,20,10],[5,10,5]]: the diagonal is 5 + 20 + 5; its sum is 80.
    measured = measure(nn.Conv2d(1, 5, 2, bias=False), torch.eye(3)[None, None])
    assert measured.total.ac == 30
    assert measured.total.dense_valid == measured.total.dense_padded == 80


class TwoLayers(nn.Module):
    """The network of G7, built as all our networks are: the first layer runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(2, 2, bias=False)
        self.neuron = PlainNeuron(NeuronSpec(kind="if", reset="subtract"))
        self.fc2 = nn.Linear(2, 2, bias=False)
        self.fc1.weight.data = torch.tensor([[0.5, 0.25], [0.9, 0.0]])
        self.fc2.weight.data = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])

    def forward(self, stimulus: Tensor, timesteps: int) -> Tensor:
        current = self.fc1(stimulus)
        spikes = self.neuron(current.unsqueeze(0).expand(timesteps, *current.shape))
        answer: Tensor = self.fc2(spikes.flatten(0, 1)).view(timesteps, -1, 2)
        return answer


def test_g7_a_network_of_two_layers_and_four_steps() -> None:
    network = TwoLayers()
    measured = measure(network, torch.tensor([[1.0, 0.5]]), call=lambda x: network(x, timesteps=4))
    # Currents (.625, .9): spikes by step [0,0], [1,1], [0,1], [1,1].
    neurons, first, second = (measured.layers[name] for name in ("neuron", "fc1", "fc2"))
    assert neurons.per_step()["spikes"].tolist() == [0, 2, 1, 2]
    assert (neurons.total.spikes, neurons.total.reset, neurons.total.compare) == (5, 5, 8)
    assert (neurons.total.neuron_add, neurons.total.neuron_mul) == (8, 0)
    assert neurons.rate() == 5 / (2 * 4)
    # Two values x 2 outputs, once or in each of 4 steps.
    assert (first.total.mac, first.encoding.cached.mac, first.encoding.per_step.mac) == (4, 4, 16)
    assert (second.total.ac, second.total.mac, second.total.dense_valid) == (10, 0, 16)
    assert second.per_step()["ac"].tolist() == [0, 4, 2, 4]
    # Dense over T: 2 layers x 4 products x 4 steps.
    assert measured.encoding.per_step.dense_valid == 32
    assert measured.steps == 4


def test_g7_costs_the_same_if_the_input_is_repeated_by_hand() -> None:
    network = TwoLayers()

    def run(frames: Tensor) -> Tensor:
        current = network.fc1(frames.flatten(0, 1)).view(4, -1, 2)
        answer: Tensor = network.fc2(network.neuron(current).flatten(0, 1))
        return answer

    frames = torch.tensor([[[1.0, 0.5]]]).repeat(4, 1, 1)
    measured = measure(network, frames, batch_axis=1, time_axis=0, call=run)
    assert measured.layers["fc1"].total.mac == 16
    assert measured.encoding.cached.mac == 4
    assert measured.layers["fc2"].total.ac == 10


# Convolutions.


def test_a_spike_in_a_padded_corner_reaches_four_outputs() -> None:
    # Kernel 3, padding 1: the corner is read by the 2 x 2 windows that hold it, not by 9.
    # Each dimension of 4 has 2 + 3 + 3 + 2 = 10 valid (output, tap) pairs of 12.
    measured = measure(nn.Conv2d(1, 1, 3, padding=1, bias=False), spikes_at((1, 4, 4), (0, 0, 0)))
    assert measured.total.ac == 4
    assert (measured.total.dense_valid, measured.total.dense_padded) == (100, 144)


def test_a_stride_skips_pixels_that_nothing_reads() -> None:
    layer = nn.Conv2d(1, 7, 1, stride=2, bias=False)
    # Of 3 x 3 pixels the 4 at even places are read, by 7 channels.
    assert measure(layer, spikes_at((1, 3, 3), (0, 0, 1), (0, 1, 1))).total.ac == 0
    assert measure(layer, spikes_at((1, 3, 3), (0, 0, 0), (0, 0, 1))).total.ac == 7
    assert measure(layer, torch.ones(1, 1, 3, 3)).total.ac == 4 * 7


def test_a_grouped_convolution_feeds_only_its_group() -> None:
    # 4 -> 6 channels in 2 groups: each input channel feeds 3 outputs.
    measured = measure(nn.Conv2d(4, 6, 1, groups=2, bias=False), spikes_at((4, 2, 2), (3, 1, 0)))
    assert (measured.total.ac, measured.total.dense_valid) == (3, 4 * 4 * 3)


def test_the_shape_of_a_layer_is_told_to_models_of_memory() -> None:
    layer = nn.Conv2d(4, 6, (3, 1), stride=(2, 1), groups=2)
    measured = measure(layer, torch.ones(1, 4, 5, 7)).layers["model"]
    assert measured.shape == Shape(
        in_channels=4,
        out_channels=6,
        kernel=(3, 1),
        stride=(2, 1),
        input_size=(5, 7),
        output_size=(2, 7),
        groups=2,
        bias=True,
    )
    fc = measure(nn.Linear(3, 5, bias=False), torch.ones(1, 3)).layers["model"]
    assert fc.shape == Shape(in_channels=3, out_channels=5)


def test_a_depthwise_convolution_feeds_one_channel() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    measured = measure(layer, spikes_at((3, 3, 3), (1, 1, 1)))
    # The centre of 3 x 3 is read 9 times; (2 + 3 + 2)^2 = 49 pairs a channel.
    assert (measured.total.ac, measured.total.dense_valid) == (9, 3 * 49)


def test_a_dilated_convolution_reads_every_second_value() -> None:
    # Length 5, taps (0,2) (1,3) (2,4): fan-out 1 1 2 1 1.
    layer = nn.Conv1d(1, 1, 2, dilation=2, bias=False)
    measured = [measure(layer, spikes_at((1, 5), (0, place))).total.ac for place in range(5)]
    assert measured == [1, 1, 2, 1, 1]


def test_a_step_that_is_shown_again_is_read_again() -> None:
    # Steps of 4, 8 and 4 spikes; the first, shown three times, is 12 spikes x 5 outputs.
    spikes = torch.ones(3, 2, 4)
    spikes[::2, :, 2:] = 0
    network = nn.ModuleList([Given(spikes), nn.Linear(4, 5, bias=False)])

    def run(x: Tensor) -> Tensor:
        fired = network[0](x)
        answer: Tensor = network[1](fired[:1].expand_as(fired))
        return answer

    measured = measure(network, torch.zeros_like(spikes), batch_axis=1, time_axis=0, call=run)
    assert measured.layers["1"].total.ac == 60


def test_rows_and_columns_of_a_square_are_told_apart() -> None:
    # Kernel 3 x 1 on 4 x 4 reads rows 1 2 2 1 times. Of the first row's 3 spikes 1 + 1 + 1;
    # transposed they stand in rows 0, 1, 2: 1 + 2 + 2.
    layers = nn.ModuleList(nn.Conv2d(1, 1, (3, 1), bias=False) for _ in range(2))
    signal = spikes_at((1, 4, 4), (0, 0, 0), (0, 0, 1), (0, 0, 2))
    measured = measure(layers, signal, call=lambda x: [layers[0](x), layers[1](x.transpose(2, 3))])
    assert [measured.layers[name].total.ac for name in "01"] == [3, 5]


def test_averages_in_another_order_are_read_by_themselves() -> None:
    # Spikes at (0, 1) and (0, 2) make averages 1/4, 2/4, 1/4 of one row, by 4 additions; of
    # its transpose kernel 3 x 1 reads each once. Composed in the wrong order it would be 4 ac.
    layer = nn.Conv2d(1, 1, (3, 1), bias=False)
    signal = spikes_at((1, 4, 4), (0, 0, 1), (0, 0, 2))
    measured = measure(
        layer, signal, call=lambda x: layer(functional.avg_pool2d(x, 2, 1).transpose(2, 3))
    )
    assert (measured.total.ac, measured.total.mac, measured.total.pool_add) == (0, 3, 4)


@pytest.mark.parametrize("copied", [False, True])
def test_zeros_padded_beforehand_are_padding_wherever_they_are(*, copied: bool) -> None:
    # Zeros left of 3 x 2 ones stand above them once transposed: 6 values of 9 are read.
    layer = nn.Conv2d(1, 1, 1, bias=False)

    def run(x: Tensor) -> Tensor:
        turned = functional.pad(x, (1, 0)).transpose(2, 3)
        answer: Tensor = layer(turned.contiguous() if copied else turned)
        return answer

    measured = measure(layer, torch.ones(1, 1, 3, 2), call=run)
    assert (measured.total.ac, measured.total.dense_valid) == (6, 6)
    assert measured.total.dense_padded == 9


def test_a_transposed_convolution_spreads_and_is_cut_at_the_borders() -> None:
    # Kernel 2, stride 2: every input makes 2 x 2 outputs of its own.
    whole = measure(nn.ConvTranspose2d(1, 1, 2, stride=2, bias=False), torch.ones(1, 1, 2, 2))
    assert (whole.total.ac, whole.total.dense_valid, whole.total.dense_padded) == (16, 16, 16)
    # Padding 1 cuts the outer ring: of each input's 4 outputs 1 is left.
    cut = nn.ConvTranspose2d(1, 1, 2, stride=2, padding=1, bias=False)
    measured = measure(cut, torch.ones(1, 1, 2, 2))
    assert (measured.total.ac, measured.total.dense_valid) == (4, 4)
    assert measured.total.dense_padded == 16


def test_a_convolution_in_three_dimensions_multiplies_fan_outs() -> None:
    # Kernel 2 on 3 sites: 1 2 1 a dimension; the centre is read 2^3 times.
    measured = measure(nn.Conv3d(1, 1, 2, bias=False), spikes_at((1, 3, 3, 3), (0, 1, 1, 1)))
    assert (measured.total.ac, measured.total.dense_valid) == (8, 64)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "network",
    [
        nn.Conv2d(1, 1, 2, padding="same", bias=False),
        nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 1, 2, bias=False)),
    ],
)
def test_zeros_padded_beforehand_are_padding_too(network: nn.Module) -> None:
    # Torch itself pads an even kernel beforehand. Kernel 2 on 3 sites and one zero after
    # them: taps (0,1) (1,2) (2,-): 5 valid pairs of 6 a dimension.
    measured = measure(network, torch.ones(1, 1, 3, 3))
    assert measured.total.ac == measured.total.dense_valid == 25
    assert measured.total.dense_padded == 36


def test_mirrored_borders_are_read_like_any_value() -> None:
    # Reflection copies the second value to the left of the first: 3 sites become 5, of
    # which kernel 3 reads 1 2 3 2 1; the spike at 1 is also at -1 and 3: 1 + 3 + 1.
    layer = nn.Conv1d(1, 1, 3, padding=1, padding_mode="reflect", bias=False)
    assert measure(layer, spikes_at((1, 3), (0, 1))).total.ac == 5


def test_ternary_spikes_of_a_convolution_do_not_cancel() -> None:
    signal = spikes_at((1, 2, 2), (0, 0, 0)) - spikes_at((1, 2, 2), (0, 1, 1))
    layer = nn.Conv2d(1, 4, 1, bias=False)
    measured = measure(layer, signal)
    assert (measured.layers["model"].operand, measured.total.ac) == ("ternary", 2 * 4)


# Pooling.


class PooledSpikes(nn.Module):
    """Spikes, average pooling of 2 x 2, and a linear layer."""

    def __init__(self, spikes: Tensor) -> None:
        super().__init__()
        self.neuron = Given(spikes)
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(4, 3, bias=False)

    def forward(self, current: Tensor) -> Tensor:
        answer: Tensor = self.fc(self.pool(self.neuron(current).flatten(0, 1)).flatten(1))
        return answer


def test_average_pooling_of_spikes_is_one_linear_map_with_the_layer_after_it() -> None:
    # 3 spikes, two of them in one window: composed 3 x 3 accumulates and nothing else.
    # Explicit: 3 additions, then 2 averages that are not zero x 3 products.
    spikes = spikes_at((1, 4, 4), (0, 0, 0), (0, 1, 1), (0, 3, 3)).unsqueeze(0)
    measured = measure(PooledSpikes(spikes), torch.zeros(1, 1, 1, 4, 4))
    fc, pool = measured.layers["fc"], measured.layers["pool"]
    assert (fc.operand, fc.total.ac, fc.total.mac, pool.total.pool_add) == ("binary", 9, 0, 0)
    assert (fc.explicit.ac, fc.explicit.mac, pool.explicit.pool_add) == (0, 6, 3)
    assert (measured.explicit.pool_add, measured.total.pool_add) == (3, 0)


def test_overlapping_pooling_and_convolution_meet_each_output_once() -> None:
    # Pool 3, stride 2 on 5 sites: windows 0-2 and 2-4. Kernel 2 has one output. Site 2 is in
    # both windows and so reaches the output twice, through one composed weight.
    layer = nn.Conv1d(1, 1, 2, bias=False)
    signal = spikes_at((1, 5), (0, 2))
    measured = measure(layer, signal, call=lambda x: layer(functional.avg_pool1d(x, 3, 2)))
    assert (measured.total.ac, measured.total.pool_add) == (1, 0)
    # Explicit: the site is added in both windows; both averages, 1/3 of the same spike,
    # are scaled spikes and reach the output once each.
    assert (measured.explicit.pool_add, measured.explicit.ac) == (2, 2)


def test_pooled_spikes_reach_the_outputs_of_their_window() -> None:
    # Pool 2 on 6 sites makes 3, kernel 2 makes 2 outputs: the outer windows reach one of
    # them, the middle one both; 4 channels.
    layer = nn.Conv1d(1, 4, 2, bias=False)
    for site, outputs in enumerate([1, 1, 2, 2, 1, 1]):
        signal = spikes_at((1, 6), (0, site))
        measured = measure(layer, signal, call=lambda x: layer(functional.avg_pool1d(x, 2)))
        assert (measured.total.ac, measured.total.mac) == (outputs * 4, 0)


def test_pooling_that_nothing_composes_with_adds_by_itself() -> None:
    # Adaptive pooling of 3 to 2 sites: windows 0-1 and 1-2, so site 1 is added twice.
    measured = measure(nn.AdaptiveAvgPool2d((1, 2)), spikes_at((1, 1, 3), (0, 0, 1)))
    assert measured.total.pool_add == 2


def test_global_averages_before_a_classifier_are_composed() -> None:
    # 5 spikes anywhere x 10 classes.
    layer = nn.Linear(2, 10, bias=False)
    signal = spikes_at((2, 4, 4), *((index % 2, index // 2, index % 4) for index in range(5)))
    measured = measure(layer, signal, call=lambda x: layer(x.mean((2, 3))))
    assert (measured.total.ac, measured.total.mac, measured.total.pool_add) == (50, 0, 0)


def test_a_pooling_of_a_pooling_is_one_linear_map_too() -> None:
    # Site 5 of 8 is in window 2 of 4 and in window 1 of 2, and so reaches 1 of 2 outputs.
    layer = nn.Conv1d(1, 3, 1, bias=False)

    def run(x: Tensor) -> Tensor:
        answer: Tensor = layer(functional.avg_pool1d(functional.avg_pool1d(x, 2), 2))
        return answer

    measured = measure(layer, spikes_at((1, 8), (0, 5)), call=run)
    assert (measured.total.ac, measured.total.mac, measured.total.pool_add) == (3, 0, 0)
    # One addition in each pooling by itself.
    assert measured.explicit.pool_add == 2


def test_analog_averages_are_computed_by_themselves() -> None:
    # Three values are not zero; then their two averages times 10 weights.
    layer = nn.Linear(2, 10, bias=False)
    signal = torch.tensor([[[[0.5, 0.25, 0.0, 1.0]]]])
    measured = measure(layer, signal, call=lambda x: layer(functional.avg_pool2d(x, (1, 2))[0, 0]))
    assert (measured.total.pool_add, measured.total.mac, measured.total.ac) == (3, 20, 0)
    assert measured.explicit == measured.total


def test_max_pooling_compares_what_is_inside_the_borders() -> None:
    # 4 windows of 4: 3 comparisons each.
    assert measure(nn.MaxPool2d(2), torch.ones(1, 1, 4, 4)).total.compare == 12
    # Kernel 3, stride 2, padding 1 on 4 sites: windows hold 2 and 3 of them; 5 x 5 taps in
    # 4 windows take 25 - 4 comparisons.
    measured = measure(nn.MaxPool2d(3, stride=2, padding=1), torch.ones(1, 1, 4, 4))
    assert measured.total.compare == 21


def test_the_largest_of_spikes_is_a_spike() -> None:
    layer = nn.Linear(1, 6, bias=False)
    network = nn.Sequential(Given(torch.eye(2)[None, None, None]), nn.Flatten(0, 1))
    whole = nn.Sequential(network, nn.MaxPool2d(2), nn.Flatten(), layer)
    measured = measure(whole, torch.zeros(1, 1, 1, 2, 2))
    assert (measured.total.ac, measured.total.compare) == (6, 3 + 4)  # 4 neurons, 3 in the pool


# Sums, scales and norms.


class SewBlock(nn.Module):
    """Spikes ``neuron(f(x)) + x`` into a convolution of 1 x 1 to four channels."""

    def __init__(self, inner: Tensor) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 1, bias=False)
        self.neuron = Given(inner)
        self.conv2 = nn.Conv2d(1, 4, 1, bias=False)

    def forward(self, spikes: Tensor) -> Tensor:
        fired = self.neuron(self.conv1(spikes).unsqueeze(0)).flatten(0, 1)
        answer: Tensor = self.conv2(fired + spikes)
        return answer


def test_a_sew_block_passes_integers_on() -> None:
    # x has 2 spikes, the neuron 3, of which 1 meets: values 2, 1, 1, 1 make 5 units x 4.
    inner = spikes_at((1, 2, 3), (0, 0, 0), (0, 1, 1), (0, 1, 2))
    outer = spikes_at((1, 2, 3), (0, 0, 0), (0, 0, 1))
    measured = measure(SewBlock(inner.unsqueeze(0)), outer)
    assert measured.layers["conv1"].total.ac == 2
    second = measured.layers["conv2"]
    assert (second.operand, second.total.ac, second.total.inputs_nonzero) == ("integer", 20, 4)
    assert measured.total.residual_add == 6


class Converted(nn.Module):
    """A converted network: spikes of height 0.5, pooled, into a linear layer."""

    def __init__(self, spikes: Tensor) -> None:
        super().__init__()
        self.neuron = Given(spikes)
        self.register_buffer("scale", torch.tensor(0.5))
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(1, 8, bias=False)

    def forward(self, current: Tensor) -> Tensor:
        spikes = self.neuron(current).flatten(0, 1) * self.scale
        answer: Tensor = self.fc(self.pool(spikes).flatten(1))
        return answer


def test_a_converted_network_accumulates_although_its_spikes_are_scaled() -> None:
    # 2 samples of 3 and 1 spikes x 8 outputs; a counter of zeros and ones sees no spike here.
    spikes = torch.tensor([[[[[1.0, 1], [1, 0]]], [[[0, 0], [0, 1]]]]])  # [T, N, C, H, W]
    measured = measure(Converted(spikes), torch.zeros(1, 2, 1, 2, 2), batch_axis=1, time_axis=0)
    fc = measured.layers["fc"]
    assert (fc.operand, fc.total.ac, fc.total.mac) == ("scaled", 32, 0)
    assert fc.per_sample()["ac"].tolist() == [24, 8]
    assert (measured.total.mac, measured.total.pool_add) == (0, 0)


def test_spikes_scaled_by_channel_fold_into_the_weights() -> None:
    # Heights .5 and .7, one a channel: 2 spikes x 3 outputs.
    layer = nn.Conv2d(2, 3, 1, bias=False)
    heights = nn.Parameter(torch.tensor([0.5, 0.7])[:, None, None])
    network = nn.Sequential(Given(torch.ones(1, 1, 2, 1, 1)), nn.Flatten(0, 1))
    both = nn.Sequential(network, layer)
    measured = measure(both, torch.zeros(1, 1, 2, 1, 1), call=lambda x: layer(network(x) * heights))
    assert (measured.total.ac, measured.total.mac) == (6, 0)


@pytest.mark.parametrize(("second", "mac"), [(0.3, 0), (0.4, 2)])
def test_scaling_is_free_for_spikes_of_any_height_and_nothing_else(second: float, mac: int) -> None:
    signal = torch.tensor([[0.3, second]])
    assert measure(nn.Identity(), signal, call=lambda x: x * 5).total.mac == mac


def test_patches_that_count_as_samples_are_their_sample() -> None:
    # 2 samples x 3 patches of one pixel, 2 channels out: 3 and 1 spikes x 2.
    layer = nn.Conv2d(1, 2, 1, bias=False)
    signal = torch.tensor([[1.0, 1, 1], [0, 0, 1]])
    measured = measure(layer, signal, call=lambda x: layer(x.reshape(6, 1, 1, 1)))
    assert measured.per_sample()["ac"].tolist() == [6, 2]
    assert measured.per_sample()["dense_valid"].tolist() == [6, 6]


def test_a_norm_after_a_layer_folds_and_leaves_a_bias() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2)).eval()
    measured = measure(network, torch.full((1, 1, 2, 2), 0.3))
    assert measured.layers["1"].folded
    # 4 pixels x 2 channels: the folded shift is their bias.
    assert measured.total == Counts(
        ac=8, bias_add=8, inputs_nonzero=4, dense_valid=8, dense_padded=8
    )


def test_a_norm_after_something_else_is_computed() -> None:
    network = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(1)).eval()
    measured = measure(network, torch.full((1, 1, 2, 2), 0.3))
    assert not measured.layers["1"].folded
    assert (measured.total.mac, measured.total.compare) == (4, 4)  # one product a value


def test_a_norm_does_not_fold_if_its_input_is_needed_as_it_is() -> None:
    layer, norm = nn.Linear(1, 3, bias=False), nn.BatchNorm1d(3).eval()
    network = nn.ModuleDict({"layer": layer, "norm": norm})

    def run(x: Tensor) -> Tensor:
        current = layer(x)
        answer: Tensor = norm(current) + current
        return answer

    measured = measure(network, torch.ones(1, 1), call=run)
    assert not measured.layers["norm"].folded
    assert (measured.layers["norm"].total.mac, measured.layers["layer"].total.bias_add) == (3, 0)
    assert measured.total.residual_add == 3


def test_a_norm_that_keeps_no_statistics_measures_them() -> None:
    # Sum and sum of squares, then scale and shift: 1 addition and 2 products a value.
    measured = measure(nn.BatchNorm1d(3, track_running_stats=False), torch.randn(4, 3))
    assert (measured.total.pool_add, measured.total.mac) == (12, 24)


def test_a_norm_does_not_fold_if_its_input_was_needed_before() -> None:
    layer, norm = nn.Linear(1, 3, bias=False), nn.BatchNorm1d(3).eval()
    network = nn.ModuleDict({"layer": layer, "norm": norm})

    def run(x: Tensor) -> list[Tensor]:
        current = layer(x)
        return [current.relu(), norm(current)]

    measured = measure(network, torch.ones(1, 1), call=run)
    assert not measured.layers["norm"].folded
    assert (measured.layers["norm"].total.mac, measured.total.compare) == (3, 3)


def test_a_weighted_sum_of_activations_multiplies() -> None:
    # x + 2 y: a product and a sum for each of 3 values, and no residual sum.
    both = torch.randn(2, 1, 3)
    measured = measure(nn.Identity(), both, batch_axis=1, call=lambda x: x[0].add(x[1], alpha=2))
    assert (measured.total.mac, measured.total.residual_add) == (3, 0)


def test_averages_that_something_else_needs_are_added_up_as_well() -> None:
    # One spike in each of two windows: composed 2 x 5 accumulates, and since the averages
    # are also compared, 2 additions.
    layer = nn.Linear(2, 5, bias=False)

    def run(x: Tensor) -> list[Tensor]:
        averages = functional.avg_pool2d(x, 2).flatten(1)
        return [layer(averages), averages.relu()]

    measured = measure(layer, spikes_at((1, 2, 4), (0, 0, 0), (0, 1, 3)), call=run)
    assert (measured.total.ac, measured.total.pool_add, measured.total.compare) == (10, 2, 2)


def test_another_reader_of_averages_changes_nothing_for_a_layer_with_weights() -> None:
    # 3 spikes, two in one window: composed 3 x 2 accumulates. By themselves 3 additions, for
    # whoever reads them, and averages 2/4 and 1/4 x 2 products.
    layer = nn.Conv2d(1, 2, 1, bias=False)
    signal = spikes_at((1, 2, 4), (0, 0, 0), (0, 1, 1), (0, 1, 3))

    def run(x: Tensor, others: int) -> list[Tensor]:
        averages = functional.avg_pool2d(x, 2)
        return [layer(averages), *(averages.relu() for _ in range(others))]

    for others in range(3):
        measured = measure(layer, signal, call=lambda x, others=others: run(x, others))
        assert (measured.total.ac, measured.total.mac) == (6, 0)
        assert measured.total.pool_add == (3 if others else 0)
        explicit = measured.explicit
        assert (explicit.ac, explicit.mac, explicit.pool_add) == (0, 4, 3)


def test_another_reader_of_a_pooling_of_a_pooling_needs_that_pooling_alone() -> None:
    # One spike is added once in each pooling by itself; composed it reaches 3 outputs.
    layer = nn.Conv1d(1, 3, 1, bias=False)

    def run(x: Tensor) -> list[Tensor]:
        first = functional.avg_pool1d(x, 2)
        return [layer(functional.avg_pool1d(first, 2)), first.relu()]

    measured = measure(layer, spikes_at((1, 8), (0, 5)), call=run)
    assert (measured.total.ac, measured.total.pool_add, measured.explicit.pool_add) == (3, 1, 2)


# Products of activations.


def test_attention_of_spikes_meets_where_both_spike() -> None:
    # Q = [[1,0,1],[0,1,0]], K = [[1,1,1],[0,0,1]]: Q K^T = [[2,1],[1,0]], whose sum is 4.
    # Gated by Q: its 3 spikes x 2 keys. Dense: 2 x 2 x 3.
    query = torch.tensor([[[1.0, 0, 1], [0, 1, 0]]])
    key = torch.tensor([[[1.0, 1, 1], [0, 0, 1]]])
    both = torch.stack([query, key])
    measured = measure(
        nn.Identity(), both, batch_axis=1, call=lambda x: x[0] @ x[1].transpose(1, 2)
    )
    total = measured.total
    assert (total.and_ac, total.gated, total.dense_valid) == (4, 6, 12)
    assert (total.ac, total.mac) == (0, 0)


def test_a_product_of_spikes_and_currents_accumulates() -> None:
    # [[1,0],[1,1]] times [[.3,.1],[0,.7]]: the left column meets 2 values twice, the right
    # one meets 1 once.
    both = torch.tensor([[[[1.0, 0], [1, 1]]], [[[0.3, 0.1], [0, 0.7]]]])
    measured = measure(nn.Identity(), both, batch_axis=1, call=lambda x: x[0] @ x[1])
    assert (measured.total.ac, measured.total.mac, measured.total.and_ac) == (5, 0, 0)


class Block(nn.Module):
    """A transformer block with one head, two tokens and two features, on spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(2, 2, bias=False) for _ in range(4))
        self.norm = nn.LayerNorm(2)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.query(tokens), self.key(tokens), self.value(tokens)
        shares = (query @ key.transpose(1, 2)).softmax(-1)
        answer: Tensor = self.norm(tokens + self.out(shares @ value))
        return answer


def test_a_transformer_block_is_counted_whole() -> None:
    torch.manual_seed(0)
    measured = measure(Block(), torch.randn(3, 2, 2))
    of = measured.layers
    # 3 samples x 2 tokens x 2 features x 2 outputs, three times.
    assert [of[name].total.mac for name in ("query", "key", "value")] == [24, 24, 24]
    # Q K^T: 2 x 2 scores of 2 products; softmax of 4 scores; shares times values again.
    assert [of[name].total.mac for name in ("matmul", "matmul_1")] == [3 * 8, 3 * 8]
    assert of["softmax"].total.function == 3 * 4 * 2
    assert of["out"].total.mac == 24
    # x + f(x), and the difference to the largest score in the softmax.
    assert (of["add"].total.residual_add, of["softmax"].total.residual_add) == (12, 12)
    assert of["norm"].total.mac == 3 * 4 * 3
    assert of["query"].per_sample()["mac"].tolist() == [8, 8, 8]
    assert measured.coverage == 1.0


def test_fused_attention_costs_the_products_of_the_written_one() -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 1, 3, 4)  # 2 samples, 1 head, 3 tokens, 4 features

    def written(x: Tensor) -> Tensor:
        return (x * 0.5 @ x.transpose(2, 3)).softmax(-1) @ x

    def fused(x: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(x, x, x)

    assert (
        measure(nn.Identity(), query, call=fused).total
        == measure(nn.Identity(), query, call=written).total
    )


# Time.


class Recurrent(nn.Module):
    """Two neurons without memory that hear the input and each other, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = nn.Linear(1, 2, bias=False)
        self.recurrent = nn.Linear(2, 2, bias=False)
        self.heard.weight.data = torch.tensor([[1.0], [0.0]])
        self.recurrent.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        self.neuron = PlainNeuron(NeuronSpec(kind="if"))

    def forward(self, frames: Tensor) -> Tensor:
        state: Tensor = torch.zeros(frames.shape[1], 2)
        for frame in frames:
            current = self.heard(frame) + self.recurrent(state)
            state = self.neuron(current.unsqueeze(0))[0]
        return state


def test_a_recurrent_network_is_counted_step_by_step() -> None:
    # Spikes [1,0], [1,1], [1,1]; the state before them [0,0], [1,0], [1,1], x 2 outputs.
    measured = measure(Recurrent(), torch.ones(3, 1, 1), batch_axis=1, time_axis=0)
    recurrent = measured.layers["recurrent"]
    assert recurrent.per_step()["ac"].tolist() == [0, 2, 4]
    assert recurrent.total.dense_valid == 3 * 4
    assert measured.layers["heard"].total.ac == 3 * 2
    assert measured.layers["neuron"].per_step()["spikes"].tolist() == [1, 2, 2]
    assert (measured.total.residual_add, measured.total.bias_add) == (3 * 2, 0)


def test_frames_that_stay_are_computed_once_when_cached() -> None:
    # Frames a a b b a: 3 fresh ones of 5.
    first, second = torch.tensor([0.3, 0.4]), torch.tensor([0.5, 0.0])
    frames = torch.stack([first, first, second, second, first]).unsqueeze(1)
    network = nn.ModuleDict({"fc": nn.Linear(2, 10, bias=False)})
    network["neuron"] = PlainNeuron(NeuronSpec(kind="if"))

    def run(x: Tensor) -> Tensor:
        answer: Tensor = network["neuron"](network["fc"](x))
        return answer

    measured = measure(network, frames, batch_axis=1, time_axis=0, call=run)
    fc = measured.layers["fc"]
    assert fc.total.mac == fc.encoding.per_step.mac == (2 + 2 + 1 + 1 + 2) * 10
    assert fc.encoding.cached.mac == (2 + 1 + 2) * 10


@pytest.mark.parametrize("form", ["at once", "one by one", "samples first", "in a loop"])
def test_a_sample_that_pauses_is_cached_whatever_the_others_do(form: str) -> None:
    # 3 values x 5 outputs, of the first sample once and of the other in each of 4 steps.
    network = nn.ModuleList([nn.Linear(3, 5, bias=False), PlainNeuron(NeuronSpec(kind="if"))])
    frames = torch.arange(1.0, 25).view(4, 2, 3) / 10
    frames[:, 0] = frames[0, 0]

    def run(x: Tensor) -> list[Tensor]:
        steps = list(x.split(1)) if form == "in a loop" else [x]
        if form == "samples first":
            return [network[1](network[0](x).transpose(0, 1))]
        return [network[1](network[0](step)) for step in steps]

    if form == "samples first":
        measured = measure(network, frames.transpose(0, 1), time_axis=1, call=run)
    else:
        batches = frames.split(1, 1) if form == "one by one" else [frames]
        measured = measure(network, batches, batch_axis=1, time_axis=0, call=run)
    cached = replace(measured, layers={"0": measured.layers["0"]}).tally("cached")["mac"]
    assert cached.tolist() == [[15, 0, 0, 0], [15, 15, 15, 15]]


def test_a_sum_is_a_repetition_only_if_both_summands_are() -> None:
    # 2 sums in each of 3 steps; the first summand stays, the other does not.
    neuron, frames = PlainNeuron(NeuronSpec(kind="if")), torch.arange(1.0, 7).view(3, 1, 2)

    def run(x: Tensor) -> list[Tensor]:
        first = x[:1]
        return [neuron(first + frame) for frame in x.split(1)]

    measured = measure(neuron, frames, batch_axis=1, time_axis=0, call=run)
    assert measured.total.residual_add == measured.encoding.cached.residual_add == 6


def test_a_layer_used_twice_a_step_has_both_uses_in_its_step() -> None:
    layer = nn.Linear(2, 3, bias=False)
    frames = torch.tensor([[[1.0, 0]], [[1, 1]], [[0, 0]]])

    def run(x: Tensor) -> list[Tensor]:
        return [layer(value) for frame in x for value in (frame, frame[:, :1].expand(-1, 2))]

    measured = measure(layer, frames, batch_axis=1, time_axis=0, call=run)
    # Step by step 1 + 2, 2 + 2 and 0 + 0 spikes, x 3 outputs.
    assert measured.layers["model"].per_step()["ac"].tolist() == [9, 12, 0]


@pytest.mark.parametrize(
    ("form", "ran"),
    [("once", 30), ("in a loop", 120), ("frame by frame", 120), ("all at once", 120)],
)
def test_a_layer_used_twice_before_the_neurons_is_used_twice_in_every_step(
    form: str, ran: int
) -> None:
    # 3 values x 5 outputs, and again mirrored: 30 products a step, 4 steps of one image.
    layer, neuron = nn.Linear(3, 5, bias=False), PlainNeuron(NeuronSpec(kind="if"))
    image = torch.tensor([[0.3, 0.4, 0.5]])

    def once(x: Tensor) -> Tensor:
        both: Tensor = layer(x) + layer(x.flip(-1))
        return both

    def run(x: Tensor) -> list[Tensor]:
        if form == "once":
            return [neuron(once(x).expand(4, -1, -1))]
        if form == "in a loop":
            return [neuron(once(x)[None]) for _ in range(4)]
        if form == "all at once":
            return [neuron(once(x.repeat(4, 1)).unsqueeze(1))]
        return [neuron(torch.stack([once(frame) for frame in x]))]

    network = nn.ModuleList([layer, neuron])
    if form == "frame by frame":
        frames = image.expand(4, 1, 3)
        measured = measure(network, frames, batch_axis=1, time_axis=0, call=run)
    else:
        measured = measure(network, image, call=run)
    counts = measured.layers["0"]
    assert (counts.total.mac, counts.encoding.per_step.mac) == (ran, 120)
    assert (counts.encoding.cached.mac, counts.encoding.cached.dense_valid) == (30, 30)


def test_uses_of_other_shapes_are_uses_in_one_step() -> None:
    # One token and two tokens, 3 values x 5 outputs each: 45 products, in each of 2 steps.
    network = nn.ModuleList([nn.Linear(3, 5, bias=False), PlainNeuron(NeuronSpec(kind="if"))])

    def run(x: Tensor) -> Tensor:
        both = network[0](x[:, 0]) + network[0](x[:, 1:]).sum(1)
        answer: Tensor = network[1](both.expand(2, -1, -1))
        return answer

    counts = measure(network, torch.rand(2, 3, 3), call=run).layers["0"]
    assert counts.total.mac == counts.encoding.cached.mac == 2 * 45
    assert counts.encoding.per_step.mac == 2 * 90


@pytest.mark.parametrize("form", ["stacked", "joined", "filled"])
def test_steps_put_together_by_hand_are_still_steps(form: str) -> None:
    layer = nn.Linear(2, 3, bias=False)
    frames = torch.tensor([[[1.0, 0], [1, 1]], [[0, 0], [0, 1]], [[1, 1], [1, 1]]])

    def run(x: Tensor) -> Tensor:
        steps = [value.roll(1, -1) for value in x.unbind(0)]
        if form == "stacked":
            whole = torch.stack(steps).flatten(0, 1)
        elif form == "joined":
            whole = torch.cat(steps)
        else:
            whole = x.new_zeros(3, 2, 2)
            for step, value in enumerate(steps):
                whole[step] = value
            whole = whole.flatten(0, 1)
        answer: Tensor = layer(whole)
        return answer

    measured = measure(layer, frames, batch_axis=1, time_axis=0, call=run)
    assert measured.per_step()["ac"].tolist() == [3 * 3, 1 * 3, 4 * 3]
    assert measured.per_sample()["ac"].tolist() == [3 * 3, 5 * 3]


def test_spikes_written_over_something_else_do_not_make_it_spikes() -> None:
    # Half of the values stay 0.3 or 0.6: 4 products of each sample x 3.
    network = nn.Sequential(Given(torch.ones(1, 2, 2)), nn.Flatten(0, 1))
    layer = nn.Linear(4, 3, bias=False)
    both = nn.ModuleList([network, layer])

    def run(x: Tensor) -> Tensor:
        spikes = network(x)
        mixed = torch.cat([x[0], x[0] * 2], 1)
        mixed[:, :2] = spikes
        answer: Tensor = layer(mixed)
        return answer

    measured = measure(both, torch.full((1, 2, 2), 0.3), batch_axis=1, call=run)
    assert measured.layers["1"].operand == "analog"
    assert measured.layers["1"].total.mac == 2 * 4 * 3


@pytest.mark.parametrize("buffered", [False, True])
def test_frames_one_by_one_are_cached_like_frames_at_once(*, buffered: bool) -> None:
    # Frames a a b b a: 3 fresh ones. A buffer that is overwritten is never the same.
    first, second = torch.tensor([[0.3, 0.4]]), torch.tensor([[0.5, 0.6]])
    frames = torch.stack([first, first, second, second, first])
    network = nn.ModuleList([nn.Linear(2, 10, bias=False), PlainNeuron(NeuronSpec(kind="if"))])
    buffer = torch.zeros(1, 2)

    def run(x: Tensor) -> list[Tensor]:
        answers = []
        for frame in x:
            value = buffer.copy_(frame) if buffered else frame
            answers.append(network[1](network[0](value).unsqueeze(0)))
        return answers

    measured = measure(network, frames, batch_axis=1, time_axis=0, call=run)
    layer = measured.layers["0"]
    assert layer.total.mac == layer.encoding.per_step.mac == 5 * 20
    assert layer.encoding.cached.mac == (5 if buffered else 3) * 20


class Unrolled(nn.Module):
    """A layer, a norm of which each step has one of its own, neurons, a read-out; T = 3."""

    def __init__(self, timesteps: int = 3) -> None:
        super().__init__()
        self.timesteps = timesteps
        self.fc1 = nn.Linear(2, 5, bias=False)
        self.norm = BatchNormThroughTime(nn.BatchNorm1d(5), timesteps)
        self.neuron = PlainNeuron(NeuronSpec(kind="if"))
        self.norm2 = BatchNormThroughTime(nn.BatchNorm1d(5), timesteps)
        self.fc2 = nn.Linear(5, 2, bias=False)
        self.eval()

    def forward(self, stimulus: Tensor) -> Tensor:
        current = self.fc1(stimulus)
        given = current if current.ndim == 3 else current.unsqueeze(0)
        spikes = self.neuron(self.norm(given))
        answer: Tensor = self.fc2(self.norm2(spikes).flatten(0, 1))
        return answer


@pytest.mark.parametrize("form", ["image", "frames", "equal frames"])
def test_a_norm_of_each_step_is_charged_to_its_step(form: str) -> None:
    # A product for each of 5 elements, in every step by another norm, so that nothing
    # repeats; 2 x 5 products in the layer before it, or one a step.
    image = torch.tensor([[0.3, 0.4], [0.5, 0.6]])
    frames = torch.stack([image * (1 if form == "equal frames" else step) for step in (1, 2, 3)])
    if form == "image":
        measured = measure(Unrolled(), image)
    else:
        measured = measure(Unrolled(), frames, batch_axis=1, time_axis=0)
    assert [name for name, layer in measured.layers.items() if layer.kind == "norm"] == [
        "norm",
        "norm2",
    ]
    for name in ("norm", "norm2"):
        norm = measured.layers[name]
        assert (norm.steps, norm.folded) == (3, False)
        assert norm.per_sample()["mac"].tolist() == [15, 15]
        assert norm.per_step()["mac"].tolist() == [10, 10, 10]
        assert norm.encoding.per_step == norm.encoding.cached == norm.total
    once = form != "frames"
    assert measured.layers["fc1"].encoding.cached.mac == 20 * (1 if once else 3)
    first = {name: measured.layers[name] for name in ("fc1", "norm")}
    cached = replace(measured, layers=first).tally("cached")["mac"]
    assert cached.tolist() == [[15, 5, 5] if once else [15, 15, 15]] * 2


def test_what_runs_for_other_steps_stands_at_the_first_under_both_conventions() -> None:
    # A read-out of the last 2 of 4 steps: 1 and 2 spikes x 3 outputs.
    spikes = torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 1]]).unsqueeze(1)
    network = nn.ModuleList([Given(spikes), nn.Linear(2, 3, bias=False)])
    measured = measure(
        network,
        torch.zeros(4, 1, 2),
        batch_axis=1,
        time_axis=0,
        call=lambda x: network[1](network[0](x)[2:].flatten(0, 1)),
    )
    assert measured.layers["1"].per_step()["ac"].tolist() == [3, 6]
    for encode in ("per_step", "cached"):
        assert measured.tally(encode)["ac"].tolist() == [[9, 0, 0, 0]]
        assert getattr(measured.encoding, encode).ac == 9


def test_a_norm_of_the_only_step_folds() -> None:
    measured = measure(Unrolled(timesteps=1), torch.tensor([[0.3, 0.4]]))
    assert measured.layers["norm"].folded
    assert (measured.layers["norm"].total.mac, measured.layers["fc1"].total.bias_add) == (0, 5)


@pytest.mark.parametrize("form", ["at once", "step by step"])
def test_neurons_called_twice_a_step_are_all_there(form: str) -> None:
    # 2 and 5 neurons under one name, 3 steps, each fires in each of them: 21 spikes.
    neuron = PlainNeuron(NeuronSpec(kind="if"))
    current = torch.ones(3, 1, 7)

    def run(x: Tensor) -> list[Tensor]:
        steps = [x] if form == "at once" else x.split(1)
        return [neuron(part) for step in steps for part in step.split([2, 5], -1)]

    measured = measure(neuron, current, batch_axis=1, time_axis=0, call=run)
    layer = measured.layers["model"]
    assert (measured.steps, layer.steps, layer.neurons, layer.total.spikes) == (3, 3, 7, 21)
    assert layer.rate() == measured.firing_rate == 1


@pytest.mark.parametrize(
    ("spec", "adds", "products"),
    [
        (NeuronSpec(kind="if"), 1, 0),  # v + x
        (NeuronSpec(kind="lif"), 2, 1),  # v + (x - v) / tau
        (NeuronSpec(kind="lif", scale_input=False), 1, 1),  # v (1 - 1/tau) + x
        (NeuronSpec(kind="plif"), 2, 1),
    ],
)
def test_a_neuron_costs_what_its_equation_says(spec: NeuronSpec, adds: int, products: int) -> None:
    # 2 steps of 3 samples of 5 neurons, 7 spikes.
    spikes = torch.zeros(2, 3, 5)
    spikes.view(-1)[:7] = 1
    measured = measure(Given(spikes, spec), torch.zeros(2, 3, 5), batch_axis=1, time_axis=0)
    assert measured.total == Counts(
        neuron_add=30 * adds, neuron_mul=30 * products, compare=30, reset=7, spikes=7
    )
    assert measured.layers["model"].neurons == 5
