"""Threshold-dependent batch norm: what arrives at a neuron is as large as its threshold."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.meter import measure
from harness.neurons.spiking import SpikingNeuron
from harness.training import Student
from harness.training.tdbn import norm_by_threshold
from suites.methods.direct import METHOD as DIRECT
from suites.methods.tdbn import METHOD, Tdbn
from suites.models._resnet import ResNet
from suites.models._vgg import VGG
from tests.methods import small

TOPOLOGIES: dict[str, Model] = {
    "vgg": VGG(widths=((4,), (6,)), hidden=5),
    "resnet": ResNet(blocks=(2, 2), widths=(8, 12), hidden=7),
    "resnet_pad": ResNet(blocks=(2, 2), widths=(8, 12), shortcut="pad"),
    "sew": ResNet(blocks=(2, 2), widths=(8, 12), style="sew"),
    "ms": ResNet(blocks=(1, 1), widths=(8, 12), style="ms"),
}
TIMESTEPS, SAMPLES = 3, 32


def _student(name: str, v_threshold: float = 1.0) -> Student:
    spec = replace(small.SPEC, v_threshold=v_threshold)

    def twin(activation: Callable[[], nn.Module]) -> nn.Module:
        return TOPOLOGIES[name].build(activation, input=Image(shape=(2, 8, 8)), output=Classes(3))

    make = small.student().neuron
    torch.manual_seed(0)
    return Student(
        network=twin(lambda: make(spec)), timesteps=TIMESTEPS, twin=twin, spec=spec, neuron=make
    )


def _frames() -> Tensor:
    return torch.randn(TIMESTEPS, SAMPLES, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def _currents(learner: Student) -> dict[str, Tensor]:
    """Return what arrives at each layer of neurons in training, ``[T, N, ...]``."""
    seen: dict[str, Tensor] = {}
    for name, module in learner.network.named_modules():
        if isinstance(module, SpikingNeuron):

            def look(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                seen[name] = given[0]

            module.register_forward_pre_hook(look)
    learner.network.train()
    with torch.no_grad():
        learner(_frames())
    return seen


@pytest.mark.parametrize("v_threshold", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["vgg", "resnet", "resnet_pad", "sew"])
def test_every_current_begins_with_mean_0_and_the_thresholds_variance(
    name: str, v_threshold: float
) -> None:
    learner = _student(name, v_threshold)
    norm_by_threshold(learner)
    for place, current in _currents(learner).items():
        by_channel = current.transpose(0, 2).flatten(1)  # [C, ...]
        alive = by_channel[by_channel.var(1) > 0]
        assert len(alive) > 0, place
        assert alive.mean(1).abs().max() < 1e-4 * v_threshold
        share = alive.var(1, unbiased=False).mean() / v_threshold**2
        # One norm gives its variance but for the epsilon beside it; two summands share it in
        # halves and are not quite independent.
        sums = "activation2" in place and name.startswith("resnet")
        assert share == pytest.approx(1, rel=0.25 if sums else 0.02), place


@pytest.mark.parametrize("name", ["resnet", "resnet_pad"])
def test_both_summands_of_a_block_start_with_half_the_variance(name: str) -> None:
    learner = _student(name, v_threshold=2.0)
    norm_by_threshold(learner)
    for stage in (1, 2):
        for block in learner.network.get_submodule(f"layer{stage}").children():
            ways = [block.get_submodule(way) for way in ("bn2", "downsample")]
            norms = [
                each for way in ways for each in way.modules() if isinstance(each, nn.BatchNorm2d)
            ]
            assert len(norms) == 2
            for norm in norms:
                assert norm.weight.tolist() == pytest.approx([2**0.5] * norm.num_features)
            inner = block.get_submodule("bn1").get_parameter("weight")
            assert inner.tolist() == [2.0] * len(inner)


def test_sums_of_spikes_have_no_summands_to_scale() -> None:
    learner = _student("sew", v_threshold=2.0)
    before = list(learner.network.state_dict())
    norm_by_threshold(learner)
    assert list(learner.network.state_dict()) == before
    norms = [each for each in learner.network.modules() if isinstance(each, nn.BatchNorm2d)]
    assert {weight for norm in norms for weight in norm.weight.tolist()} == {2.0}


def test_shortcuts_can_be_left_as_they_are() -> None:
    learner = _student("resnet_pad")
    before = list(learner.network.state_dict())
    Tdbn(every_shortcut=False).realise(learner)
    assert list(learner.network.state_dict()) == before
    last = learner.network.get_submodule("layer1.0.bn2").get_parameter("weight")
    assert last.tolist() == pytest.approx([2**-0.5] * len(last))


def test_sums_that_no_norm_has_made_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="network's style 'ms' adds currents up"):
        norm_by_threshold(_student("ms"))


@pytest.mark.parametrize("kind", ["convnet", "vgg"])
def test_without_residual_sums_and_at_threshold_1_it_is_direct(kind: small.Kind) -> None:
    ends = []
    for method in (METHOD, DIRECT):
        learner = small.student(kind, method=method)
        list(method.fit(learner, small.lesson(None)))
        ends.append(learner.network.state_dict())
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_another_threshold_is_another_training() -> None:
    spec = NeuronSpec(scale_input=False, v_threshold=0.5)
    plain, normed = small.student(spec=spec), small.student(spec=spec, method=METHOD)
    weights = (learner.network.get_parameter("bn1.weight").tolist() for learner in (plain, normed))
    assert list(weights) == [[1.0] * 4, [0.5] * 4]


@pytest.mark.parametrize("every_shortcut", [False, True])
def test_of_the_norms_that_of_a_shortcuts_spikes_alone_is_charged(*, every_shortcut: bool) -> None:
    learner = small.student("resnet", timesteps=TIMESTEPS)
    norm_by_threshold(learner, every_shortcut=every_shortcut)
    learner.network.eval()
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = measure(learner.network, images, call=lambda x: learner(x).logits)
    assert found.coverage == 1
    charged = {
        name: layer.total.mac
        for name, layer in found.layers.items()
        if layer.kind == "norm" and not layer.folded
    }
    # One shortcut of two is an identity: 4 channels of 8 x 8, in each step of each sample.
    expected = {"layer1.0.downsample": TIMESTEPS * 2 * 4 * 64} if every_shortcut else {}
    assert charged == expected
