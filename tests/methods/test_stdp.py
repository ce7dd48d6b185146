"""Plasticity by the timing of spikes."""

import math

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.meter import measure
from harness.training import slots
from suites.methods.stdp import (
    Learning,
    OnePass,
    Stdp,
    heard_sizes,
    kernel_change,
    norms_of,
    pooled,
    traces,
    watched,
    winners,
)
from tests.methods import teaching_aids
from tests.methods.small import SAMPLES, Kind, lesson, student

# Three steps, traces that halve. Before the synapse 1, 0, 1; after it 0, 1, 1.
BEFORE, AFTER = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0])


def test_traces_leak_and_then_take_the_spike() -> None:
    assert traces(BEFORE, tau=2.0).tolist() == [1, 0.5, 1.25]
    assert traces(AFTER, tau=2.0).tolist() == [0, 1, 1.5]


@pytest.mark.parametrize(
    ("potentiation", "depression", "expected"),
    [
        # 0.5 at the second step and 1.25 at the third.
        (1.0, 0.0, 1.75),
        # 0 at the first step and 1.5 at the third.
        (0.0, 1.0, -1.5),
        (2.0, 0.5, 2.75),
    ],
)
def test_a_weight_changes_by_the_traces_at_spikes(
    potentiation: float, depression: float, expected: float
) -> None:
    synapse = nn.Conv2d(1, 1, 1, bias=False)
    change = kernel_change(
        BEFORE.view(3, 1, 1, 1, 1),
        AFTER.view(3, 1, 1, 1, 1),
        synapse,
        tau=2.0,
        potentiation=potentiation,
        depression=depression,
    )
    assert change.flatten().tolist() == [expected]


def test_causes_are_strengthened_and_consequences_weakened() -> None:
    def change(before: list[float], after: list[float]) -> float:
        given, made = (torch.tensor(each).view(2, 1, 1, 1, 1) for each in (before, after))
        synapse = nn.Conv2d(1, 1, 1, bias=False)
        change = kernel_change(given, made, synapse, tau=2.0, potentiation=1.0, depression=0.5)
        return change.item()

    assert change([1.0, 0.0], [0.0, 1.0]) == 0.5
    assert change([0.0, 1.0], [1.0, 0.0]) == -0.25


def test_places_that_share_a_kernel_add_up() -> None:
    # A 2x2 kernel at stride 2 on 2x4 pixels meets two places; samples add up too.
    before = torch.arange(16.0).view(1, 2, 1, 2, 4)
    after = torch.tensor([[[[1.0, 1.0]]], [[[0.0, 1.0]]]]).unsqueeze(0)  # [1, 2, 1, 1, 2]
    kernel = nn.Conv2d(1, 1, 2, stride=2, bias=False)
    change = kernel_change(before, after, kernel, tau=2.0, potentiation=1.0, depression=0.0)
    patches = torch.tensor([[0.0, 1, 4, 5], [2, 3, 6, 7], [10, 11, 14, 15]])
    assert change.flatten().tolist() == patches.sum(0).tolist()


def test_the_strongest_map_that_fired_wins_its_place() -> None:
    # Four places of one row. Maps 0 and 1; the last place is silent.
    current = torch.tensor([[3.0, 1.0, 2.0, 0.0], [2.0, 2.0, 9.0, 0.0]]).view(1, 1, 2, 1, 4)
    spikes = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]).view(1, 1, 2, 1, 4)
    rested = winners(current, spikes, torch.zeros(2))
    assert rested.view(2, 4).tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]
    tired = winners(current, spikes, torch.tensor([1.5, 0.0]))
    assert tired.view(2, 4).tolist() == [[0, 0, 1, 0], [1, 1, 0, 0]]


def test_a_convolution_is_watched_with_the_neurons_behind_it() -> None:
    learner = student("resnet", timesteps=4)
    neurons = [learner.network.get_submodule(name) for name in slots(learner)]
    block = learner.network.get_submodule("layer1.0")
    stimulus = next(iter(lesson(None))).stimulus
    with torch.no_grad(), watched(block.get_submodule("conv2"), neurons) as seen:
        taps = learner(stimulus, ["stage1"]).taps
    assert torch.equal(seen.spikes, taps["stage1"])
    assert seen.given.shape == (4 * SAMPLES, 4, 8, 8)
    assert seen.current.shape == seen.spikes.shape
    assert not any(neuron._forward_hooks for neuron in neurons)


def test_kernels_learn_in_turn_and_the_classifier_always() -> None:
    method = Stdp(share=0.5)
    learner = student("vgg", method=method, timesteps=4)
    kernels = ["layer1.0.conv.weight", "layer2.0.conv.weight", "layer2.1.conv.weight"]
    watched_names = [*kernels, "fc.weight"]
    state = {name: learner.network.get_parameter(name).clone() for name in watched_names}
    changed = []
    # Twelve batches: two for each kernel, and six for the classifier alone.
    for _ in method.fit(learner, lesson(None, steps=12)):
        now = {name: learner.network.get_parameter(name).clone() for name in watched_names}
        changed.append([not torch.equal(now[name], state[name]) for name in watched_names])
        state = now
    turns = [[step // 2 == layer for layer in range(3)] + [True] for step in range(12)]
    assert changed == turns


def test_only_the_first_layers_learn() -> None:
    method = Stdp(share=1.0, layers=2)
    learner = student("vgg", method=method, timesteps=4)
    before = {name: value.clone() for name, value in learner.network.named_parameters()}
    list(method.fit(learner, lesson(None, steps=4)))
    changed = {
        name for name, value in learner.network.named_parameters()
        if not torch.equal(value, before[name])
    }  # fmt: skip
    readout = {"fc.weight", "fc.bias", "fc.readers.0.weight", "fc.readers.1.weight"}
    assert changed == {"layer1.0.conv.weight", "layer2.0.conv.weight", *readout}


def test_kernels_keep_their_norm() -> None:
    method = Stdp(share=1.0, rate=1.0, layers=1)
    learner = student("convnet", method=method, timesteps=4)
    kernels = learner.network.get_parameter("conv1.weight")
    before = norms_of(kernels.detach()).clone()
    list(method.fit(learner, lesson(None, steps=3)))
    assert torch.allclose(norms_of(kernels.detach()), before, rtol=1e-5)


def test_a_kernel_turns_to_what_made_it_win() -> None:
    # Two pixels, two maps, one step. Map 0 wins the first sample, map 1 nothing.
    convolution = nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 2.0]]).view(2, 2, 1, 1))
    learning = Learning.of(convolution)
    learning.tiredness.fill_(0.5)
    seen = OnePass()
    seen.given = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    seen.spikes = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 2, 2, 1, 1)
    seen.current = seen.spikes
    with torch.no_grad():
        Stdp(rate=1.0, potentiation=1.0, depression=0.5, fatigue=2.0).change(learning, seen)
    # Less its mean of (1/2, 1/2) the winning input is (1/2, -1/2); potentiation less depression
    # halves it. (3, 4) has norm 5: (0.6, 0.8) + (0.25, -0.25) = (0.85, 0.55), again of norm 5.
    scale = 5 / (0.85**2 + 0.55**2) ** 0.5
    kernels = convolution.weight.detach().flatten(1)
    assert kernels[0].tolist() == pytest.approx([0.85 * scale, 0.55 * scale], rel=1e-6)
    assert kernels[1].tolist() == pytest.approx([0.0, 2.0])
    # A tenth leaks; all wins are the first map's.
    assert learning.tiredness.tolist() == pytest.approx([0.45 + 2.0, 0.45])


def test_by_default_a_kernel_turns_by_a_hundredth_of_its_norm() -> None:
    # Two pixels, two steps, one map that fires in the first. Less their means of 1/2 the inputs
    # are (1, -1)/2 and (-1, 1)/2, and traces halve: potentiation sees (1, -1)/2, depression
    # 1 (1, -1)/2 + 1/2 (-1, 1)/2 = (1, -1)/4, of which half counts: (3, -3)/8 remain.
    convolution = nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([3.0, 4.0]).view(1, 2, 1, 1))
    learning, seen = Learning.of(convolution), OnePass()
    seen.given = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    seen.spikes = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1, 1)
    seen.current = seen.spikes
    with torch.no_grad():
        Stdp().change(learning, seen)
    moved = 0.6 + 0.01 * 3 / 8, 0.8 - 0.01 * 3 / 8  # (3, 4) has norm 5
    expected = [5 * each / math.hypot(*moved) for each in moved]
    assert convolution.weight.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    assert learning.tiredness.tolist() == [1.0]


def test_by_default_half_of_the_batches_teach_four_convolutions() -> None:
    learner = student("resnet", method=Stdp(), timesteps=4)
    state = {name: value.clone() for name, value in learner.network.named_parameters()}
    changed = []
    # Ten batches: five for four kernels, of which the first has two, and five for none.
    for _ in Stdp().fit(learner, lesson(None, steps=10)):
        now = {name: value.clone() for name, value in learner.network.named_parameters()}
        changed.append([name for name in now if not torch.equal(now[name], state[name])])
        state = now
    turns = ["conv1", "conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1"]
    head = ["fc.weight", "fc.bias", *(f"fc.readers.{place}.weight" for place in range(4))]
    assert changed == [[f"{name}.weight", *head] for name in turns] + [head] * 5


def test_the_read_out_hears_every_layer_and_the_last_as_the_classifier_does() -> None:
    method = Stdp()
    learner, plain = student("vgg", method=method, timesteps=3), student("vgg", timesteps=3)
    for network in (learner.network, plain.network):
        network.eval()
    stimulus = next(iter(lesson(None))).stimulus
    with torch.no_grad():
        expected = plain(stimulus, ["stem", "stage2.membrane", "penultimate"])
        # What it reads besides begins at zero.
        found = learner(stimulus, ["stem", "stage2.membrane", "penultimate"])
        assert torch.equal(found.logits, expected.logits)
        assert all(torch.equal(found.taps[name], expected.taps[name]) for name in found.taps)
        # Of the stem's 4 maps of 8 x 8 it hears 4 x 4 averages, each of 4 pixels.
        reader = learner.network.get_parameter("fc.readers.0.weight")
        assert reader.shape == (3, 4 * 4 * 4)
        reader[1, 16 + 5].fill_(8.0)  # the second map, second row and column
        more = learner(stimulus).logits - expected.logits
    pixels = expected.taps["stem"][:, :, 1, 2:4, 2:4].mean((-2, -1))
    assert torch.allclose(more[..., 1], 8 * pixels, atol=1e-6)
    assert pixels.std() > 0
    assert torch.equal(more[..., 0], torch.zeros_like(pixels))


@pytest.mark.parametrize(("window", "features"), [(2, 4 * 16), (3, 4 * 4), (100, 4)])
def test_a_window_is_no_larger_than_the_map(window: int, features: int) -> None:
    sizes = heard_sizes(student("vgg"), window=window)
    assert list(sizes) == ["layer1.0.activation", "layer2.0.activation"]
    assert sizes["layer1.0.activation"] == features


def test_spikes_of_vectors_are_heard_as_they_are() -> None:
    spikes = torch.tensor([[1.0, 0.0, 1.0]])
    assert torch.equal(pooled(spikes, window=2), spikes)


def test_no_gradient_leaves_the_read_out() -> None:
    learner = student("resnet", method=Stdp(), timesteps=2)
    learner(next(iter(lesson(None))).stimulus).logits.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    reached = [name for name, value in learner.network.named_parameters() if value.grad is not None]
    assert reached == [
        "fc.weight",
        "fc.bias",
        *(f"fc.readers.{place}.weight" for place in range(4)),
    ]


def test_the_tail_reads_what_was_heard_behind_its_signal() -> None:
    learner = student("vgg", method=Stdp(), timesteps=2)
    network = learner.network.eval()
    with torch.no_grad():
        for reader in ("fc.readers.0.weight", "fc.readers.1.weight"):
            network.get_parameter(reader).fill_(1.0)
        taps = learner(next(iter(lesson(None))).stimulus, ["stem", "penultimate"]).taps
        alone = network.tail("penultimate", taps["penultimate"])
    fc = network.get_submodule("fc")
    assert torch.equal(alone, nn.functional.linear(taps["penultimate"], fc.weight, fc.bias))


def test_a_topology_that_takes_unknown_images_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"does not say which images"):
        Stdp().realise(teaching_aids.student())


@pytest.mark.parametrize("kind", ["convnet", "vgg", "resnet"])
def test_the_meter_counts_all_that_is_read(kind: Kind) -> None:
    learner = student(kind, method=Stdp(), timesteps=2)
    learner.network.eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = measure(learner.network, images, call=lambda x: learner(x).logits)
    assert not found.uncounted
    readers = [name for name in found.layers if name.startswith("fc.readers.")]
    assert len(readers) == len(slots(learner)) - 1


def test_a_kernel_learns_a_mean_over_its_wins() -> None:
    def kernel(samples: int) -> list[float]:
        convolution = nn.Conv2d(1, 1, 1, bias=False)
        with torch.no_grad():
            convolution.weight.fill_(1.0)
        seen = OnePass()
        seen.given = torch.tensor([3.0, -1.0]).repeat(samples).view(-1, 1, 1, 1)
        seen.spikes = (seen.given > 0).float().unsqueeze(0)
        seen.current = seen.spikes
        learning = Learning(
            convolution=convolution, norms=torch.ones(1, 1, 1, 1), tiredness=torch.zeros(1)
        )
        with torch.no_grad():
            Stdp().change(learning, seen)
        return [learning.convolution.weight.item(), learning.tiredness.item()]

    assert kernel(1) == kernel(5)
