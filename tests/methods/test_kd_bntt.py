"""Distillation with batch norm through time."""

import math

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Output
from harness.training.bntt import BatchNormThroughTime
from suites.methods.kd_bntt import METHOD, KdBntt, convert
from suites.models._resnet import ResNet
from tests.methods.small import CLASSES, STATIC, lesson, student, teacher
from tests.methods.teaching_aids import Nobody

TEMPERATURE = 2.0


class _Said(Nobody):
    """A teacher that says 1 : 3 once softened."""

    def __init__(self) -> None:
        pass

    @property
    def logits(self) -> Tensor:
        return torch.tensor([[0.0, TEMPERATURE * math.log(3)]])


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_the_loss_mixes_labels_and_teacher_on_the_mean_logits(share: float) -> None:
    method = KdBntt(temperature=TEMPERATURE, teacher_share=share)
    logits = torch.tensor([[[5.0, 1.0]], [[-5.0, -1.0]]])  # mean (0, 0)
    loss = method.loss(Output(logits=logits), _Said(), torch.tensor([0]))
    # KL((1/4, 3/4) || (1/2, 1/2)) and the cross-entropy of (1/2, 1/2)
    divergence = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    expected = share * TEMPERATURE**2 * divergence + (1 - share) * math.log(2)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_student_begins_with_the_teachers_weights_and_its_scales_in_every_step() -> None:
    guide, learner = teacher("resnet"), student("resnet", method=METHOD, timesteps=3)
    for module in guide.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            assert module.running_mean is not None
            module.running_mean.fill_(7.0)
    METHOD.fit(learner, lesson(guide))  # copies; nothing is trained until it is iterated
    theirs, ours = guide.network.state_dict(), learner.network.state_dict()
    scales = 0
    for name, value in theirs.items():
        if name in ours:
            assert torch.equal(ours[name], value)
        elif name.endswith(".weight"):
            place = name.removesuffix(".weight")
            for step in range(3):
                assert torch.equal(ours[f"{place}.steps.{step}.weight"], value)
                assert not ours[f"{place}.steps.{step}.running_mean"].any()
            scales += 1
    assert scales == 6  # the stem's, two in each of two blocks, one in a shortcut


def test_each_step_learns_a_scale_and_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    learner = student("vgg", method=METHOD, timesteps=2)
    list(METHOD.fit(learner, lesson(teacher("vgg"))))
    norms = [n for n in learner.network.modules() if isinstance(n, BatchNormThroughTime)]
    assert norms
    for norm in norms:
        first, second = norm.steps
        assert not torch.equal(norm.scales[0], norm.scales[1])
        assert norm.scales.grad_fn is not None
        assert first.get_parameter("weight").grad is not None
        assert second.get_parameter("weight").grad is not None
    # The current is constant, but not what follows the first neurons.
    first, second = norms[-1].steps
    assert not torch.equal(first.get_buffer("running_mean"), second.get_buffer("running_mean"))


@pytest.mark.parametrize("deeper", ["teacher", "student"])
def test_another_topology_is_refused(deeper: str) -> None:
    shallow, deep = (
        ResNet(blocks=(blocks,), widths=(4,)).build(
            nn.ReLU, input=Image(shape=STATIC), output=Classes(CLASSES)
        )
        for blocks in (1, 2)
    )
    guide, learner = (deep, shallow) if deeper == "teacher" else (shallow, deep)
    with pytest.raises(UnsupportedError, match=r"another topology.*'layer1.1.conv1' does not fit"):
        convert(guide, learner)


def test_another_width_is_refused() -> None:
    narrow, wide = (
        ResNet(blocks=(1,), widths=(width,)).build(
            nn.ReLU, input=Image(shape=STATIC), output=Classes(CLASSES)
        )
        for width in (4, 6)
    )
    with pytest.raises(UnsupportedError, match=r"another topology.*'conv1' does not fit"):
        convert(narrow, wide)
