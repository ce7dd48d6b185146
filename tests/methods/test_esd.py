"""Self-distillation by branches against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from suites.methods.esd import Esd, Separable, branches_of, consensus
from suites.models._resnet import ResNet
from tests.methods.small import TOPOLOGIES, Kind, but, lesson, student, teacher

THREE = math.log(3)


def test_the_consensus_is_the_mean_of_those_that_are_right() -> None:
    # Sample 0: outputs 0 and 2 choose class 1, its label; the mean is of (0, 2) and (1, 4).
    # Sample 1: output 1 alone chooses class 0. Sample 2: nobody chooses class 1.
    outputs = torch.tensor(
        [
            [[0.0, 2.0], [1.0, 5.0], [3.0, 0.0]],
            [[9.0, 0.0], [6.0, 2.0], [4.0, 1.0]],
            [[1.0, 4.0], [0.0, 1.0], [2.0, 0.0]],
        ]
    )
    mean, known = consensus(outputs, torch.tensor([1, 0, 1]))
    assert mean.tolist() == [[0.5, 3.0], [6.0, 2.0], [0.0, 0.0]]
    assert known.tolist() == [True, True, False]


def test_the_loss_is_as_by_hand() -> None:
    # One sample of class 1. The network says 1 : 1 softened by 2 and, the first class
    # being chosen of equals, is wrong; the branch says 1 : 3 and is the consensus. So the
    # network's divergence is KL((1/4, 3/4) || (1/2, 1/2)), the branch's is 0; unsoftened
    # the branch says 1 : 9, and its cross-entropy is ln(10/9).
    own, branch = torch.zeros(1, 2), torch.tensor([[0.0, 2 * THREE]])
    method = Esd(temperature=2.0, weight=0.5, branch_weight=0.25)
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    expected = math.log(2) + 0.25 * math.log(10 / 9) + 0.5 * 2**2 * divergence
    found = method.loss(own, [branch], torch.tensor([1]))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_defaults_are_those_of_the_authors_scripts_for_cifar() -> None:
    # As above, softened by 3: the branch says 1 : 3, and 1 : 27 unsoftened. alp 1, beta 0.3.
    own, branch = torch.zeros(1, 2), torch.tensor([[0.0, 3 * THREE]])
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    expected = math.log(2) + math.log(28 / 27) + 0.3 * 3**2 * divergence
    assert Esd().loss(own, [branch], torch.tensor([1])).item() == pytest.approx(expected, rel=1e-6)


def test_a_sample_that_nobody_gets_right_has_no_divergence() -> None:
    own, branch = torch.zeros(2, 2), torch.tensor([[0.0, 2 * THREE], [1.0, 0.0]])
    method, labels = Esd(temperature=2.0, weight=0.5, branch_weight=0.0), torch.tensor([1, 1])
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)  # of the first sample, as above
    found = method.loss(own, [branch], labels)
    assert found.item() == pytest.approx(math.log(2) + 0.5 * 2**2 * divergence, rel=1e-6)
    # With the first sample gone there is none left, and the cross-entropy of 1 : 1 alone.
    assert method.loss(own[1:], [branch[1:]], labels[1:]).item() == pytest.approx(math.log(2))


def test_the_consensus_is_a_target_and_has_no_gradient() -> None:
    own = torch.zeros(1, 2, requires_grad=True)
    branch = torch.tensor([[0.0, 2.0]], requires_grad=True)
    method = Esd(branch_weight=0.0, weight=1.0)
    # The branch is the consensus, so its own divergence is at its minimum: no gradient.
    method.loss(own, [branch], torch.tensor([1])).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert branch.grad is not None
    assert branch.grad.abs().max() < 1e-6


def test_branches_stand_at_every_stage_but_the_last_and_end_as_wide_as_it() -> None:
    widths = (4, 8, 16)
    learner = student("resnet")
    network = ResNet(blocks=(1, 1, 1), widths=widths).build(
        lambda: learner.neuron(learner.spec),
        input=Image(shape=(1, 8, 8)),
        output=Classes(3),
    )
    object.__setattr__(learner, "network", network)
    branches = branches_of(learner)
    assert list(branches) == ["stage1", "stage2"]
    rates = {"stage1": torch.rand(2, 4, 8, 8), "stage2": torch.rand(2, 8, 4, 4)}
    for name, branch in branches.items():
        assert branch(rates[name]).shape == (2, 3)
        assert branch[-1].in_features == widths[-1]
    assert len(branches["stage1"]) == 3  # two blocks and the classifier
    assert len(branches["stage2"]) == 2


def test_a_network_of_one_stage_has_its_branch_there() -> None:
    assert list(branches_of(student("convnet"))) == ["stage1"]


def test_a_network_without_stages_is_refused() -> None:
    learner = student("convnet")
    learner.network.tap_channels = {"penultimate": 2}
    with pytest.raises(UnsupportedError, match="no stage where a branch could begin"):
        Esd().fit(learner, lesson(None))


@pytest.mark.parametrize("side", [8, 7])
def test_a_block_halves_the_resolution_and_ends_in_relu(side: int) -> None:
    answer = Separable(4, 6)(torch.randn(2, 4, side, side))
    assert answer.shape == (2, 6, 4, 4)
    assert (answer >= 0).all()


def test_a_block_adds_what_goes_around_to_what_goes_through() -> None:
    block = Separable(1, 1).eval()
    through = [each for each in block.through if isinstance(each, nn.Conv2d)]
    around = [each for each in block.around if isinstance(each, nn.Conv2d)]
    for convolution, factor in zip([*through, *around], [1, 2, 1, 3, 5], strict=True):
        nn.init.dirac_(convolution.weight).data.mul_(factor)
    # 1 * 2 * 1 * 3 + 5, but for the 1e-5 under the root of each norm.
    assert block(torch.ones(1, 1, 2, 2)).item() == pytest.approx(11, rel=1e-4)


@pytest.mark.parametrize("kind", list(TOPOLOGIES))
def test_a_branch_teaches_the_blocks_before_it(kind: Kind) -> None:
    def trained(weight: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        learner = student(kind)
        method = Esd(branch_weight=weight, weight=0.0)
        list(method.fit(learner, but(lesson(None, steps=1), weight_decay=0.0)))
        return learner.network.state_dict()

    without, with_branches = trained(0.0), trained(1.0)
    same = {name for name in without if torch.equal(without[name], with_branches[name])}
    weights = {name for name, _ in student(kind).network.named_parameters()}
    assert weights & same == {n for n in weights if n.startswith(("layer2", "fc"))}


def test_dividing_the_gradient_is_a_smaller_learning_rate() -> None:
    def trained(method: Esd, learning_rate: float) -> dict[str, Tensor]:
        torch.manual_seed(0)
        learner = student("vgg", timesteps=4)
        course = lesson(teacher("vgg"), steps=1, learning_rate=learning_rate)
        list(method.fit(learner, but(course, weight_decay=0.0)))
        return learner.network.state_dict()

    divided, slower = trained(Esd(), 0.2), trained(Esd(divide_by_timesteps=False), 0.05)
    for name, value in slower.items():
        assert torch.allclose(divided[name], value, atol=1e-6)
