"""Weights that are taken over, and what is imitated afterwards."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model, Output
from harness.contracts.neuron import NeuronSpec
from harness.training import Answer, Lesson, Student, Teacher
from harness.training.transfer import copy_weights
from suites.methods import sakd
from suites.methods.sakd import METHOD, Sakd
from suites.models._resnet import ResNet
from suites.models._vgg import VGG
from tests.methods.small import CLASSES, STATIC, lesson, student, teacher
from tests.methods.teaching_aids import Nobody

Loss = Callable[[Output, Answer, torch.Tensor], torch.Tensor]


def _teacher_of(topology: Model) -> Teacher:
    network = topology.build(nn.ReLU, input=Image(shape=STATIC), output=Classes(CLASSES)).eval()
    return Teacher(network=network.requires_grad_(requires_grad=False), mean=(0.5,), std=(0.5,))


def _caught(
    monkeypatch: pytest.MonkeyPatch, method: Sakd, learner: Student, course: Lesson
) -> tuple[Loss, nn.ModuleDict]:
    """Return the loss of ``method`` and its transforms, before anything is trained."""
    found: list[tuple[Loss, nn.ModuleDict]] = []

    def catch(_student: Student, _lesson: Lesson, loss: Loss, **words: object) -> tuple[()]:
        (transforms,) = words["also_train"]
        found.append((loss, transforms))
        return ()

    monkeypatch.setattr(sakd, "descend", catch)
    list(method.fit(learner, course))
    return found[0]


@pytest.mark.parametrize("kind", ["vgg", "resnet", "convnet"])
def test_level_one_starts_where_the_teacher_is(kind: str) -> None:
    learner, guide = student(kind, seed=0), teacher(kind, seed=1)
    with torch.no_grad():
        for buffer in guide.network.buffers():
            buffer.copy_(torch.rand_like(buffer.float()) * 5)
    Sakd().fit(learner, lesson(guide))  # copies; nothing is trained until it is iterated
    theirs = guide.network.state_dict()
    assert theirs.keys() == learner.network.state_dict().keys()
    for name, value in learner.network.state_dict().items():
        assert torch.equal(value, theirs[name])


def test_neurons_keep_parameters_of_their_own() -> None:
    learner = student(backend="spikingjelly", spec=NeuronSpec(kind="plif", tau=3.0))
    own = [name for name in learner.network.state_dict() if name.endswith(".w")]
    assert own
    Sakd().fit(learner, lesson(teacher()))
    for name in own:
        assert learner.network.state_dict()[name].item() == pytest.approx(-math.log(2))


def test_a_head_that_differs_keeps_its_start_and_the_rest_is_copied() -> None:
    learner, guide = student("vgg"), _teacher_of(VGG(widths=((4,), (6, 8)), hidden=5))
    head = {name: learner.network.get_parameter(name).clone() for name in ("fc.weight", "fc.bias")}
    copy_weights(learner, guide, head_may_differ=True)
    ours, theirs = learner.network.state_dict(), guide.network.state_dict()
    for name, value in ours.items():
        # The bias would fit, but belongs to weights that do not.
        assert torch.equal(value, head[name] if name in head else theirs[name])
    with pytest.raises(UnsupportedError, match=r"another topology.*does not fit"):
        copy_weights(learner, guide)


def test_equal_names_and_shapes_make_no_equal_topology() -> None:
    kind = ResNet(blocks=(1, 1), widths=(4, 8))
    network = _teacher_of(replace(kind, style="ms")).network
    learner = Student(network=network, timesteps=1, twin=lambda _: network)
    guide = _teacher_of(kind)
    with pytest.raises(UnsupportedError, match="its style is 'standard', the student's 'ms'"):
        copy_weights(learner, guide)
    copy_weights(learner, guide, head_may_differ=True)


@pytest.mark.parametrize("blocks", [(1, 2), (2, 1)])
def test_another_depth_is_refused_though_the_names_of_one_are_among_the_others(
    blocks: tuple[int, int],
) -> None:
    deeper = ResNet(blocks=blocks, widths=(4, 8))
    guide = _teacher_of(deeper)
    with pytest.raises(UnsupportedError, match=r"another topology.*does not fit"):
        Sakd().fit(student("resnet"), lesson(guide))
    learner = replace(
        student("resnet"),
        network=deeper.build(nn.ReLU, input=Image(shape=STATIC), output=Classes(CLASSES)),
        twin=lambda activation: deeper.build(
            activation, input=Image(shape=STATIC), output=Classes(CLASSES)
        ),
    )
    with pytest.raises(UnsupportedError, match=r"another topology.*does not fit"):
        Sakd().fit(learner, lesson(teacher("resnet")))


def test_another_width_is_refused() -> None:
    guide = _teacher_of(ResNet(blocks=(1, 1), widths=(4, 6)))
    with pytest.raises(UnsupportedError, match=r"another topology.*does not fit"):
        Sakd().fit(student("resnet"), lesson(guide))


class _Said(Nobody):
    """A teacher that says 1 : 3 once softened by 2, and whose maps are full of ones."""

    logits = torch.tensor([[0.0, 2 * math.log(3)]])

    def __init__(self, channels: dict[str, int]) -> None:
        self._channels = channels

    @property
    def taps(self) -> dict[str, torch.Tensor]:
        return {name: torch.ones(1, count, 4, 4) for name, count in self._channels.items()}

    def now(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers[0]


def test_level_two_is_the_sum_of_its_three_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Sakd(feature_weight=8.0, logit_weight=0.5, temperature=2.0)
    loss, transforms = _caught(monkeypatch, method, student(), lesson(teacher()))
    _make_identity(transforms["stage1"])
    # Half of the channels fire in both steps, the other half in one: rates 1 and 1/2.
    spikes = torch.ones(2, 1, 6, 4, 4)
    spikes[0, :, 3:] = 0
    features = 0.5 * 0.5**2
    # On average the student says 3 : 1 once softened and 9 : 1 before.
    divergence = 0.25 * math.log(1 / 3) + 0.75 * math.log(3)
    expected = math.log(10 / 9) + 8.0 * features + 0.5 * 4 * divergence
    logits = torch.tensor([[[5.0 + 4 * math.log(3), 1.0]], [[-5.0, -1.0]]])
    output = Output(logits=logits, taps={"stage1": spikes})
    found = loss(output, _Said({"stage1": 6}), torch.tensor([0])).item()
    assert found == pytest.approx(expected, rel=1e-4)  # the norm's 1e-5 under the root


def _make_identity(transform: nn.Module) -> None:
    """Let ``transform`` return what it is given."""
    transform.eval()
    nn.init.dirac_(transform[0].weight)


def test_stages_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    method = Sakd(feature_weight=1.0, logit_weight=0.0)
    loss, transforms = _caught(monkeypatch, method, student("vgg"), lesson(teacher("vgg")))
    for transform in transforms.values():
        _make_identity(transform)
    channels = {"stage1": 4, "stage2": 8}
    taps = {name: torch.zeros(1, 1, count, 4, 4) for name, count in channels.items()}
    output = Output(logits=torch.zeros(1, 1, 2), taps=taps)
    found = loss(output, _Said(channels), torch.tensor([0])).item()
    assert found == pytest.approx(math.log(2) + 2, rel=1e-5)  # a mean square of 1 for each


def test_every_transform_receives_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, guide = student("resnet"), teacher("resnet")
    course = lesson(guide)
    loss, transforms = _caught(monkeypatch, Sakd(), learner, course)
    batch, stages = next(iter(course)), ["stage1", "stage2"]
    assert list(transforms) == stages
    output = learner(batch.stimulus, stages)
    loss(output, course.answer(batch, stages), batch.labels).backward()
    for weight in transforms.parameters():
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0


def test_by_default_features_weigh_ten_throughout_and_temperature_is_that_for_cifar() -> None:
    assert (
        Sakd(
            feature_weight=10.0,
            logit_weight=1.0,
            temperature=4.0,
            feature_epochs=None,
            late_feature_weight=0.01,
        )
        == METHOD
    )


def test_the_feature_weight_falls_after_the_epochs_it_was_given() -> None:
    course = lesson(teacher(), steps=6)
    course = replace(course, recipe=replace(course.recipe, epochs=3))
    early = Sakd(feature_weight=10.0, feature_epochs=1)
    assert list(early.feature_weights(course)) == [10.0] * 2 + [0.01] * 4
    assert list(Sakd(feature_weight=10.0).feature_weights(course)) == [10.0] * 6
