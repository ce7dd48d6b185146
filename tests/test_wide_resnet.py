"""Wide residual networks: their counts, and what flows where."""

from typing import cast

import pytest
import torch
from torch import nn

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Network
from suites.models._wide_resnet import WideResNet
from tests.test_models import Neuron, answer, bare

TINY = WideResNet(depth=10, widening=1)


@pytest.mark.parametrize(
    ("name", "blocks", "widening", "millions"),
    # Xu et al., CVPR 2023, table 3, have 0.69 and 5.85; Zagoruyko & Komodakis 2.2 for the third.
    [("wrn16_2", 2, 2, 0.69), ("wrn28_4", 4, 4, 5.85), ("wrn40_2", 6, 2, 2.24)],
)
def test_parameters_are_as_many_as_derived_by_hand(
    name: str, blocks: int, widening: int, millions: float
) -> None:
    expected, before = 3 * 16 * 9, 16
    for width in (16 * widening, 32 * widening, 64 * widening):
        # A block has convolutions of 9 io and 9 oo, norms of 2 i and 2 o; a projection has io.
        expected += 9 * before * width + 9 * width**2 + 2 * before + 2 * width + before * width
        expected += (blocks - 1) * (18 * width**2 + 4 * width)
        before = width
    expected += 2 * before + 11 * before - before + 10  # the last norm, and ten classes
    found = sum(parameter.numel() for parameter in bare(name).parameters())
    assert found == expected
    assert found / 1e6 == pytest.approx(millions, abs=0.006)


def _lively(activation: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = TINY.build(activation, input=Image(shape=(3, 8, 8)), output=Classes(10))
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.constant_(part.weight, 2.0)
            nn.init.constant_(part.bias, 0.5)
            part.momentum = None
    with torch.no_grad():
        network(torch.randn(8, 3, 8, 8), 3, ())
    return network.eval()


def test_convolutions_after_the_first_receive_nothing_but_spikes() -> None:
    network = _lively(Neuron)
    received: dict[str, torch.Tensor] = {}
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_pre_hook(
                lambda _, given, name=name: received.update({name: given[0]})
            )
    with torch.no_grad():
        answer(network, torch.randn(2, 3, 8, 8), 3)
    binary = {name for name, value in received.items() if bool(((value == 0) | (value == 1)).all())}
    assert set(received) - binary == {"conv1"}
    assert len(received) == 1 + 3 * 2 + 2  # widening 1 projects where it strides
    assert all(value.any() for value in received.values())


def test_a_block_whose_branch_is_silent_passes_its_input_on() -> None:
    network = _lively(Neuron)
    nn.init.zeros_(cast(nn.Conv2d, network.get_submodule("layer1.0.conv2")).weight)
    with torch.no_grad():
        taps = answer(network, torch.randn(2, 3, 8, 8), 3, "stem", "stage1").taps
    assert torch.equal(taps["stage1"], taps["stem"])
    assert taps["stem"].abs().sum() > 0


@pytest.mark.parametrize("activation", [nn.ReLU, Neuron])
def test_the_tail_goes_on_from_every_stage_to_the_same_answer(activation: type[nn.Module]) -> None:
    network = _lively(activation)
    names = ["stage1", "stage2", "stage3", "penultimate"]
    with torch.no_grad():
        output = answer(network, torch.randn(2, 3, 8, 8), 3, *names)
        for name in names:
            found = cast(Network, network).tail(name, output.taps[name])
            assert torch.allclose(found, output.logits, atol=1e-6)
    assert [output.taps[name].shape[2:] for name in names] == [
        (16, 8, 8),
        (32, 4, 4),
        (64, 2, 2),
        (64,),
    ]


@pytest.mark.parametrize("depth", [4, 9, 17])
def test_a_depth_that_is_no_wide_network_is_refused(depth: int) -> None:
    with pytest.raises(SpecError, match=f"6 n \\+ 4 with n from 1 on, got {depth}"):
        WideResNet(depth=depth, widening=2)
