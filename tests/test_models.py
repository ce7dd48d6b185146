"""Laws of the topologies: shapes, names, counts, encoding once, memory layout."""

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, pad

from harness import discovery
from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model, Network, Output, taken_by
from harness.contracts.neuron import NeuronSpec
from harness.neurons.spiking import SpikingNeuron
from harness.neurons.time_major import join_steps, split_steps
from suites.models._convnet import ConvNet
from suites.models._resnet import ResNet
from suites.models._signal import PadShortcut, Socket, averaged, hold, through
from suites.models._vgg import VGG

ENTRIES = [
    name
    for name in discovery.names("models")
    if taken_by(cast("Model", discovery.load("models", name))) is Image
]
# Every family, style and kind of shortcut, as small as the laws allow. With AVX2 and no more,
# torch 2.13 writes beyond the gradient of a strided 1x1 convolution, channels last, of fewer
# than 8 channels.
TINY: dict[str, Model] = {
    "convnet": ConvNet(widths=(4, 6)),
    "vgg": VGG(widths=((4,), (6, 8)), side=2, hidden=5),
    "resnet": ResNet(blocks=(1, 2), widths=(8, 16), hidden=5),
    "padded": ResNet(blocks=(1, 2), widths=(8, 16), shortcut="pad", classifier="linear"),
    "sew": ResNet(blocks=(1, 2), widths=(8, 16), style="sew"),
    "ms": ResNet(blocks=(1, 2), widths=(8, 16), style="ms"),
    "ms padded": ResNet(blocks=(1, 2), widths=(8, 16), style="ms", shortcut="pad"),
}
STEPS = 3
SAMPLES = 2


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v >= 1).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (v,) = ctx.saved_tensors
        derivative: Tensor = 1 / (1 + (torch.pi * (v - 1)) ** 2)
        return gradients[0] * derivative


class Neuron(SpikingNeuron):
    """Leaky integrate-and-fire, half of the potential kept a step, reset to zero."""

    def __init__(self) -> None:
        super().__init__(NeuronSpec())

    def forward(self, current: Tensor, record: list[Tensor] | None = None) -> Tensor:
        v = torch.zeros_like(current[0])
        membranes, spikes = [], []
        for step in split_steps(current):
            v = v + (step - v) / 2
            membranes.append(v)
            spikes.append(cast("Tensor", _Spike.apply(v)))  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
            v = v * (1 - spikes[-1].detach())
        if record is not None:
            record.append(join_steps(membranes))
        return join_steps(spikes)


class Careless(Neuron):
    """The same neurons, written so that their gradient is not channels-last."""

    def forward(self, current: Tensor, record: list[Tensor] | None = None) -> Tensor:
        steps = torch.stack(current.unbind(0)).clone(memory_format=torch.contiguous_format)
        spikes = super().forward(steps, record)
        if spikes.dim() == 3:
            return spikes
        return join_steps([step.to(memory_format=torch.channels_last) for step in spikes])


class Parametric(Neuron):
    """Neurons with a trainable parameter, as ``plif`` has."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))


def model(name: str) -> Model:
    return TINY[name] if name in TINY else cast("Model", discovery.load("models", name))


def smallest_shape(name: str) -> tuple[int, int, int]:
    if name.startswith("digits"):
        return 1, 8, 8
    return (3, 32, 32) if name in ENTRIES else (3, 8, 8)


def build(
    name: str,
    activation: Callable[[], nn.Module] = Neuron,
    *,
    shape: tuple[int, int, int] | None = None,
) -> nn.Module:
    return model(name).build(
        activation, input=Image(shape=shape or smallest_shape(name)), output=Classes(10)
    )


def bare(name: str, activation: Callable[[], nn.Module] = Neuron) -> nn.Module:
    """Return the topology without memory behind its tensors."""
    with torch.device("meta"):
        return build(name, activation)


def stimulus(name: str, *leading: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    sizes = (*(leading or (SAMPLES,)), *smallest_shape(name))
    return torch.randn(sizes, generator=generator, dtype=dtype)


def lively(
    name: str, activation: Callable[[], nn.Module] = Neuron, *, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """Return a network in evaluation mode whose norms send plenty of spikes everywhere."""
    torch.manual_seed(0)
    network = build(name, activation).to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # the average of what is seen below
            nn.init.constant_(module.weight, 2.0)
            nn.init.constant_(module.bias, 0.5)
    with torch.no_grad():
        network(stimulus(name, 8, dtype=dtype), STEPS)
    return network.eval()


def answer(network: nn.Module, shown: Tensor, timesteps: int, *taps: str) -> Output:
    return cast("Network", network)(shown, timesteps, taps)


def tap_channels(network: nn.Module) -> dict[str, int]:
    return dict(cast("Network", network).tap_channels)


@pytest.mark.parametrize("timesteps", [1, 2])
@pytest.mark.parametrize("name", [*ENTRIES, *TINY])
def test_every_entry_answers_every_step_and_gives_the_taps_it_names(
    name: str, timesteps: int
) -> None:
    network = bare(name)
    channels = tap_channels(network)
    shown = torch.empty(SAMPLES, *smallest_shape(name), device="meta")
    output = answer(network, shown, timesteps, *channels)
    assert output.logits.shape == (timesteps, SAMPLES, 10)
    assert {"stem", "stage1", "penultimate"} <= output.taps.keys() == channels.keys()
    for tap, value in output.taps.items():
        assert value.shape[:3] == (timesteps, SAMPLES, channels[tap])
        assert value.dim() == (3 if tap == "penultimate" else 5)


@pytest.mark.parametrize("name", TINY)
def test_an_empty_batch_has_an_empty_answer(name: str) -> None:
    network = lively(name)
    output = answer(network, stimulus(name)[:0], STEPS, "stage1")
    assert output.logits.shape == (STEPS, 0, 10)
    assert output.taps["stage1"].shape[:2] == (STEPS, 0)


def convolutions(*widths: int, kernel: int = 3) -> int:
    """Count a chain of convolutions without bias, each with the two vectors of its norm."""
    return sum(kernel**2 * before * after + 2 * after for before, after in pairwise(widths))


def linear(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def hidden(inputs: int, outputs: int) -> int:
    return convolutions(inputs, outputs, kernel=1)  # no bias, but a norm


def cifar_resnet(blocks: int) -> int:
    stages = (
        convolutions(16, *[16] * 2 * blocks)
        + convolutions(16, *[32] * 2 * blocks)
        + convolutions(32, *[64] * 2 * blocks)
    )
    return convolutions(3, 16) + stages + linear(64, 10)  # option A has no parameters


def wide_resnet(stem: int, *stages: tuple[int, int]) -> int:
    total, before = convolutions(3, stem), stem
    for blocks, width in stages:
        total += convolutions(before, *[width] * 2 * blocks)
        total += convolutions(before, width, kernel=1) if width != before else 0
        before = width
    return total


DERIVED = {
    "digits_convnet": convolutions(1, 8, 16) + linear(16 * 4**2, 10),
    "digits_convnet_wide": convolutions(1, 32, 64) + linear(64 * 4**2, 10),
    "resnet20": cifar_resnet(3),
    "resnet56": cifar_resnet(9),
    "resnet18": wide_resnet(64, (2, 64), (2, 128), (2, 256), (2, 512)) + linear(512, 10),
    "resnet34": wide_resnet(64, (3, 64), (4, 128), (6, 256), (3, 512)) + linear(512, 10),
    "resnet19": wide_resnet(128, (3, 128), (3, 256), (2, 512)) + hidden(512, 256) + linear(256, 10),
    "vgg9": convolutions(3, 64, 64, 128, 128, 256, 256, 256)
    + hidden(256 * 4**2, 1024)
    + linear(1024, 10),
    "vgg11": convolutions(3, 64, 128, 256, 256, 512, 512, 512, 512) + linear(512, 10),
    "vgg16": convolutions(3, 64, 64, 128, 128, *[256] * 3, *[512] * 6) + linear(512, 10),
}


def plain(name: str) -> str:
    return name.removeprefix("sew_").removeprefix("ms_")


@pytest.mark.parametrize("name", [name for name in ENTRIES if plain(name) in DERIVED])
def test_parameters_are_as_many_as_derived_by_hand(name: str) -> None:
    # The styles move neurons and sums about, never weights.
    found = sum(parameter.numel() for parameter in bare(name).parameters())
    assert found == DERIVED[plain(name)]


def test_the_published_counts_are_met() -> None:
    # 0.27 M and 0.85 M in table 6 of He et al., CVPR 2016; exact from the checkpoints.
    assert (cifar_resnet(3), cifar_resnet(9)) == (269_722, 853_018)


@pytest.mark.parametrize("name", ENTRIES)
def test_realisations_share_the_names_and_shapes_of_their_parameters(name: str) -> None:
    artificial, spiking = (bare(name, part).state_dict() for part in (nn.ReLU, Neuron))
    assert {key: value.shape for key, value in artificial.items()} == {
        key: value.shape for key, value in spiking.items()
    }


@pytest.mark.parametrize("name", TINY)
def test_an_artificial_networks_weights_leave_only_neuron_parameters_out(name: str) -> None:
    spiking = build(name, Parametric)
    loaded = spiking.load_state_dict(build(name, nn.ReLU).state_dict(), strict=False)
    slots = {key for key, part in spiking.named_modules() if isinstance(part, Parametric)}
    assert slots
    assert set(loaded.missing_keys) == {f"{slot}.w" for slot in slots}
    assert not loaded.unexpected_keys


@pytest.mark.parametrize("name", TINY)
def test_the_same_seed_gives_every_realisation_the_same_weights(name: str) -> None:
    built = []
    for activation in (nn.ReLU, Neuron):
        torch.manual_seed(7)
        built.append(build(name, activation).state_dict())
    artificial, spiking = built
    assert all(torch.equal(value, spiking[key]) for key, value in artificial.items())
    reseeded = build(name).state_dict()
    assert any(not torch.equal(value, spiking[key]) for key, value in reseeded.items())


def test_convolutions_start_with_the_spread_of_their_fan_out() -> None:
    torch.manual_seed(0)
    weight = cast("Tensor", build("resnet20").get_parameter("layer3.0.conv1.weight"))
    expected = (2 / (64 * 9)) ** 0.5  # 64 outputs, 32 inputs, 3x3
    # The standard error of a spread estimated from n = 18,432 draws is s / sqrt(2n), 0.5 %.
    assert weight.std().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet20", "resnet20-12fca82f.th"), ("resnet56", "resnet56-4bfd9763.th")],
)
def test_the_published_checkpoints_load_without_a_key_too_many_or_too_few(
    name: str, file: str
) -> None:
    root = os.environ.get("SNN_DISTILL_DATA")
    if root is None:
        pytest.skip("SNN_DISTILL_DATA names no data root")
    path = Path(root, "checkpoints", "cifar10_resnet", file)
    if not path.exists():
        pytest.skip(f"the data root has no checkpoints/cifar10_resnet/{file}")
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    network = build(name, nn.ReLU, shape=(3, 32, 32))
    network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})


@pytest.mark.parametrize("name", TINY)
def test_a_static_stimulus_means_the_same_frame_again_and_again(name: str) -> None:
    network = lively(name, dtype=torch.float64)
    image = stimulus(name, dtype=torch.float64)
    taps = tuple(tap_channels(network))
    with torch.no_grad():
        static = answer(network, image, STEPS, *taps)
        frames = answer(network, image.expand(STEPS, *image.shape), STEPS, *taps)
    # Both sum the same float64 numbers, perhaps in another order; one spike more or less
    # would move a logit by a share of a weight, at least 1e-4.
    torch.testing.assert_close(static.logits, frames.logits, rtol=0, atol=1e-9)
    for tap in taps:
        torch.testing.assert_close(static.taps[tap], frames.taps[tap], rtol=0, atol=1e-9)
    assert static.logits.std(dim=0).max() > 0  # the steps do differ


@pytest.mark.parametrize("name", TINY)
def test_what_stands_before_the_first_neuron_sees_a_static_stimulus_once(name: str) -> None:
    network = build(name)
    seen = [_watched_batches(part) for part in network.modules() if isinstance(part, nn.Conv2d)]
    answer(network, stimulus(name), STEPS)
    assert seen[0] == [SAMPLES]
    assert all(batches == [STEPS * SAMPLES] for batches in seen[1:])


def _watched_batches(part: nn.Module) -> list[int]:
    batches: list[int] = []
    part.register_forward_pre_hook(lambda _part, inputs: batches.append(len(inputs[0])))
    return batches


@pytest.mark.parametrize("name", TINY)
def test_reading_the_mean_features_is_the_mean_of_what_is_read(name: str) -> None:
    network = lively(name, dtype=torch.float64)
    *_, classifier = (part for part in network.children() if isinstance(part, nn.Linear))
    with torch.no_grad():
        output = answer(network, stimulus(name, dtype=torch.float64), STEPS, "penultimate")
        read = classifier(output.taps["penultimate"].mean(0))
    # Linear maps commute with the mean but for rounding, 1e-16 a sum of 1e3 terms.
    torch.testing.assert_close(read, output.logits.mean(0), rtol=0, atol=1e-11)


def _strays(network: nn.Module) -> list[str]:
    """Return the list that collects what passes convolutions and norms in another layout."""
    strays: list[str] = []

    def look(value: Tensor, where: str) -> None:
        if not value.is_contiguous(memory_format=torch.channels_last):
            strays.append(where)

    def watch(where: str, _part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        for side, value in (("input", inputs[0]), ("output", output)):
            look(value, f"{side} of {where}")
            if value.requires_grad:
                place = f"gradient at the {side} of {where}"
                value.register_hook(partial(look, where=place))  # type: ignore[no-untyped-call]  # torch leaves it untyped

    for where, part in network.named_modules():
        if isinstance(part, nn.Conv2d | nn.BatchNorm2d):
            part.register_forward_hook(partial(watch, where))
    return strays


@pytest.mark.parametrize("activation", [nn.ReLU, Neuron, Careless])
@pytest.mark.parametrize("timesteps", [1, 2])
@pytest.mark.parametrize("name", [*TINY, "resnet20"])
def test_activations_and_gradients_stay_channels_last(
    name: str, timesteps: int, activation: type[nn.Module]
) -> None:
    network = build(name, activation)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this overload
    strays = _strays(network)
    shown = stimulus(name).to(memory_format=torch.channels_last).requires_grad_()
    output = answer(network, shown, timesteps, "stem", "stage1")
    hints = [tap.mean(0).square().mean() for tap in output.taps.values()]
    loss = cross_entropy(output.logits.mean(0), torch.arange(SAMPLES)) + sum(hints)
    torch.autograd.backward(loss)
    assert not strays


def _python_nodes(output: Tensor) -> list[str]:
    """Return the names of the graph's nodes whose backward pass is written in Python."""
    found, seen, waiting = list[str](), set[object](), [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            found.append(type(node).__name__)
    return sorted(found)


# How often a constant signal meets one that is not: at the first neuron, and in the style
# whose first block adds the stem to what comes after it, there too.
EXPANDED = dict.fromkeys(TINY, 1) | {"ms": 2, "ms padded": 2}


@pytest.mark.parametrize("name", TINY)
def test_a_graph_has_a_node_in_python_only_where_something_is_expanded_or_padded(
    name: str,
) -> None:
    network = build(name, nn.ReLU)  # which has none of its own
    padded = ["_PadShortcutBackward"] * ("padded" in name)
    frames = answer(network, stimulus(name, STEPS, SAMPLES), STEPS)
    static = answer(network, stimulus(name), STEPS)
    assert _python_nodes(frames.logits) == padded
    assert _python_nodes(static.logits) == ["_ExpandBackward"] * EXPANDED[name] + padded


def test_the_gradient_of_a_tap_is_added_after_those_of_the_layers_behind_it() -> None:
    signal = torch.zeros(1, 1, 1, requires_grad=True) * 1
    visit = Socket(shape=(1, 1, 1), channels={"stem": 1}, membranes=frozenset()).visit(1, ["stem"])
    visit.keep("stem", signal)
    loss = (signal - signal + 2**-30 * visit.taken["stem"]).sum()
    (gradient,) = torch.autograd.grad(loss, signal)
    assert gradient.item() == 2**-30  # 1 - 1 + 2^-30; in float32, (2^-30 + 1) - 1 is 0


def test_a_held_leaf_keeps_nothing_of_it() -> None:
    leaf = torch.zeros(STEPS, SAMPLES, requires_grad=True)
    assert hold(leaf, STEPS) is leaf
    assert not leaf._backward_hooks


@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    zero_planes=st.integers(0, 3),
    channels_last=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_the_padded_shortcut_is_its_formula_in_value_and_gradient(
    *, height: int, width: int, zero_planes: int, channels_last: bool
) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    value = torch.randn(2, 3, height, width).to(memory_format=layout).requires_grad_()
    # He et al. 2016, option A: every second pixel, and planes of zeros.
    expected = pad(value[:, :, ::2, ::2], (0, 0, 0, 0, zero_planes, zero_planes))
    found = PadShortcut(zero_planes)(value)
    assert torch.equal(found, expected)
    arriving = torch.randn_like(expected)
    ours, torchs = (torch.autograd.grad(out, value, arriving)[0] for out in (found, expected))
    assert torch.equal(ours, torchs)
    assert ours.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("pixels", "side"), [(6, 1), (6, 2), (5, 1), (5, 2), (4, 4)])
def test_averages_are_those_of_their_fields_and_their_gradient_stays_channels_last(
    pixels: int, side: int
) -> None:
    layout = torch.channels_last
    value = torch.randn(2, 3, pixels, pixels).to(memory_format=layout).requires_grad_()
    found = averaged(value, side=side)
    # Both divide a sum of at most 36 terms, perhaps in another order.
    torch.testing.assert_close(found, adaptive_avg_pool2d(value, side).flatten(1))
    (gradient,) = torch.autograd.grad(found, value, torch.randn_like(found))
    assert gradient.is_contiguous(memory_format=layout)


@given(timesteps=st.integers(1, 5), samples=st.integers(0, 3), spatial=st.booleans())
@settings(deadline=None, max_examples=25)
def test_a_held_signal_costs_no_memory_and_its_gradient_is_the_sum_over_time(
    *, timesteps: int, samples: int, spatial: bool
) -> None:
    sizes = (1, samples, 3, 2, 2) if spatial else (1, samples, 3)
    constant = torch.randn(sizes, dtype=torch.float64, requires_grad=True)
    held = hold(constant, timesteps)
    assert held.data_ptr() == constant.data_ptr()
    assert torch.equal(held, constant.expand_as(held))
    arriving = torch.randint(-8, 8, held.shape).double()  # integers add up exactly
    (gradient,) = torch.autograd.grad(held, constant, arriving)
    assert torch.equal(gradient, arriving.sum(0, keepdim=True))


def _silenced(name: str) -> nn.Module:
    network = lively(name)
    for key, part in network.named_modules():
        if key.startswith("layer1") and key.endswith("bn2"):
            nn.init.zeros_(cast("nn.BatchNorm2d", part).weight)
            nn.init.zeros_(cast("nn.BatchNorm2d", part).bias)
    return network


@pytest.mark.parametrize("name", ["sew", "ms", "ms padded"])
def test_a_block_whose_branch_is_silent_passes_its_input_on(name: str) -> None:
    output = answer(_silenced(name), stimulus(name), STEPS, "stem", "stage1")
    assert output.taps["stem"].abs().sum() > 0
    assert torch.equal(output.taps["stage1"], output.taps["stem"])


def test_a_standard_block_whose_branch_is_silent_fires_on_its_input() -> None:
    output = answer(_silenced("resnet"), stimulus("resnet"), STEPS, "stem", "stage1")
    assert torch.equal(output.taps["stage1"], Neuron()(output.taps["stem"]))


def _received(network: nn.Module) -> dict[str, Tensor]:
    """Return the dictionary that collects what each convolution is given."""
    received: dict[str, Tensor] = {}

    def watch(where: str, _part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        received[where] = inputs[0]

    for where, part in network.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_pre_hook(partial(watch, where))
    return received


def _not_spikes(received: dict[str, Tensor]) -> set[str]:
    """Return the convolutions that saw other numbers than 0 and 1."""
    return {where for where, value in received.items() if not ((value == 0) | (value == 1)).all()}


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("convnet", "conv1"),
        ("vgg", "layer1.0.conv"),
        ("resnet", "conv1"),
        ("padded", "conv1"),
        ("ms padded", "conv1"),
    ],
)
def test_convolutions_after_the_first_receive_nothing_but_spikes(name: str, first: str) -> None:
    network = lively(name)
    received = _received(network)
    answer(network, stimulus(name), STEPS)
    assert _not_spikes(received) == {first}
    assert all(value.any() for value in received.values())


def test_ms_sums_are_currents_which_only_projections_read() -> None:
    network = lively("ms")
    received = _received(network)
    output = answer(network, stimulus("ms"), STEPS, "stem", "stage1", "penultimate")
    assert _not_spikes(received) == {"conv1", "layer2.0.downsample.0"}
    assert torch.equal(output.taps["stem"][0], output.taps["stem"][-1])
    assert output.taps["stage1"].min() < 0
    counts = output.taps["penultimate"] * 4 * 4  # the last neurons' maps are 4x4
    assert torch.equal(counts, counts.round())
    assert 0 < counts.max() <= 4 * 4


def test_sew_stages_count_the_spikes_of_their_blocks() -> None:
    output = answer(lively("sew"), stimulus("sew"), STEPS, "stage1", "stage2")
    # One from the stem and one a block; the projection of stage 2 starts the count anew.
    for tap, most in (("stage1", 1 + 1), ("stage2", 1 + 2)):
        counts = output.taps[tap]
        assert torch.equal(counts, counts.round())
        assert 1 < counts.max() <= most


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("convnet", ("stem", "stage1")),
        ("resnet", ("stem", "stage1", "stage2", "penultimate")),
        ("padded", ("stem", "stage1", "stage2")),
        ("vgg", ("stem", "stage1", "stage2", "penultimate")),  # stem and stage 1 are one neuron
        ("sew", ("stem",)),
    ],
)
def test_a_membrane_tap_explains_the_tap_it_belongs_to(name: str, taps: tuple[str, ...]) -> None:
    both = [*taps, *(f"{tap}.membrane" for tap in taps)]
    spiking = answer(lively(name), stimulus(name), STEPS, *both).taps
    artificial = answer(lively(name, nn.ReLU), stimulus(name), 1, *both).taps
    for tap in taps:
        membrane = spiking[f"{tap}.membrane"]
        assert torch.equal(spiking[tap], (membrane >= 1).float())
        assert torch.equal(artificial[tap], artificial[f"{tap}.membrane"].relu())
        assert artificial[f"{tap}.membrane"].min() < 0


def test_the_membrane_of_a_sew_stage_is_that_of_the_neuron_whose_spikes_are_added_last() -> None:
    network = lively("sew")
    fired: list[Tensor] = []
    last = network.get_submodule("layer2.1.activation2")
    last.register_forward_hook(lambda _part, _inputs, output: fired.append(output))
    output = answer(network, stimulus("sew"), STEPS, "stage2.membrane")
    assert torch.equal(fired[0], (output.taps["stage2.membrane"] >= 1).float())


def test_taps_carry_a_gradient() -> None:
    network = build("resnet")
    output = answer(network, stimulus("resnet"), STEPS, "stage1.membrane")
    torch.autograd.backward(output.taps["stage1.membrane"].sum())
    gradient = network.get_parameter("conv1.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ["resnet18", "sew_resnet18", "ms_resnet18", "resnet19"])
@pytest.mark.parametrize(("side", "stage1", "stride"), [(127, 127, 1), (128, 32, 2)])
def test_the_stem_is_chosen_by_the_size_of_the_image(
    name: str, side: int, stage1: int, stride: int
) -> None:
    with torch.device("meta"):  # shapes only
        network = build(name, nn.ReLU, shape=(3, side, side))
        output = answer(network, torch.empty(SAMPLES, 3, side, side), 1, "stem", "stage1")
    assert cast("nn.Conv2d", network.get_submodule("conv1")).stride == (stride, stride)
    assert output.taps["stem"].shape[-1] == -(-side // stride)  # before any pooling
    assert output.taps["stage1"].shape[-1] == stage1


@pytest.mark.parametrize("side", [32, 48, 64])
@pytest.mark.parametrize("name", ["vgg9", "vgg11", "vgg16"])
def test_a_vgg_takes_images_of_any_size_from_32_pixels(name: str, side: int) -> None:
    with torch.device("meta"):
        network = build(name, nn.ReLU, shape=(2, side, side))
        output = answer(network, torch.empty(SAMPLES, 2, side, side), 1, "stage2")
    assert output.logits.shape == (1, SAMPLES, 10)
    # Taps are taken before the pooling.
    assert output.taps["stage2"].shape == (1, SAMPLES, 128, side // 2, side // 2)


def test_a_vgg_too_small_to_pool_says_so() -> None:
    with pytest.raises(SpecError, match=r"at least 32 pixels a side, got 8 x 8"):
        build("vgg16", shape=(3, 8, 8))


@pytest.mark.parametrize(
    ("shape", "timesteps", "taps", "words"),
    [
        ((2, 3, 8, 8), 0, (), "timesteps must be at least 1, got 0"),
        ((4, 2, 3, 8, 8), 2, (), "has 4 frames and timesteps is 2; pass timesteps=4"),
        ((2, 3, 16, 16), 2, (), r"is \[2, 3, 16, 16\]; this network was built for \[N, 3, 8, 8\]"),
        ((3, 8, 8), 2, (), r"is \[3, 8, 8\]"),
        ((2, 3, 8, 8), 2, ("stag1",), "no tap 'stag1'; did you mean 'stage1'"),
        ((2, 3, 8, 8), 2, ("stage4",), "there are: stem, stage1, stage2, penultimate, "),
        ((2, 3, 8, 8), 2, ("stage3.membrane",), "no tap 'stage3.membrane'; did you mean"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    shape: tuple[int, ...], timesteps: int, taps: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        answer(build("resnet"), torch.zeros(shape), timesteps, *taps)


def test_a_sum_has_no_membrane_of_its_own() -> None:
    with pytest.raises(UnsupportedError, match=r"no neuron of this network made 'stage1'"):
        answer(build("ms"), stimulus("ms"), STEPS, "stage1.membrane")


def test_a_topology_names_a_width_for_every_stage() -> None:
    with pytest.raises(SpecError, match="equally long"):
        ResNet(blocks=(2, 2), widths=(16, 32, 64))


@pytest.mark.parametrize("family", TINY)
def test_the_tail_goes_on_from_every_stage_to_the_same_answer(family: str) -> None:
    network = TINY[family].build(Neuron, input=Image(shape=(1, 8, 8)), output=Classes(3)).eval()
    names = [n for n in tap_channels(network) if n.startswith("stage") or n == "penultimate"]
    stimulus = torch.rand(SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    answer = network(stimulus, STEPS, names)
    for name in names:
        assert torch.equal(cast("Network", network).tail(name, answer.taps[name]), answer.logits)


def test_a_tail_that_is_not_there_is_refused_by_name() -> None:
    network = cast(
        "Network",
        TINY["vgg"].build(Neuron, input=Image(shape=(1, 8, 8)), output=Classes(3)),
    )
    with pytest.raises(SpecError, match="no way on from 'stem'; there is one from: stage1"):
        network.tail("stem", torch.zeros(1, 1, 4, 8, 8))


class _Doubled(nn.Module):
    """Answers a constant signal with one of two steps."""

    sees_time = True

    def forward(self, signal: Tensor) -> Tensor:
        return torch.cat([signal, 2 * signal])


def test_a_layer_that_sees_time_is_given_it_and_may_add_steps() -> None:
    signal = torch.ones(1, SAMPLES, 2, 3, 3)
    answer = through(signal, _Doubled(), nn.Identity())
    assert answer.shape == (2, SAMPLES, 2, 3, 3)
    assert torch.equal(answer[1], 2 * signal[0])
