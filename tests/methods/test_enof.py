"""Enhancing the output feature."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.model import Model, Output
from harness.contracts.neuron import NeuronSpec
from harness.training import Student, Teacher, slots
from harness.training.descent import Loss
from suites.methods import enof
from suites.methods.enof import METHOD, Enof, alignment, last_slots
from suites.models._convnet import ConvNet
from suites.models._resnet import ResNet
from suites.models._vgg import VGG
from tests.methods.small import CLASSES, STATIC, lesson, student, teacher
from tests.methods.teaching_aids import Nobody

TOPOLOGIES: dict[str, tuple[Model, int]] = {  # and how many neurons make the last feature
    "convnet": (ConvNet(widths=(4, 6)), 1),
    "vgg": (VGG(widths=((4,), (6,))), 1),
    "vgg_hidden": (VGG(widths=((4,), (6,)), hidden=5), 1),
    "standard": (ResNet(blocks=(1, 2), widths=(4, 8)), 1),
    "standard_projecting": (ResNet(blocks=(1, 1), widths=(4, 8)), 1),
    "hidden": (ResNet(blocks=(1, 1), widths=(4, 8), hidden=5), 1),
    "sew": (ResNet(blocks=(1, 2), widths=(4, 8), style="sew"), 1),
    "sew_projecting": (ResNet(blocks=(1, 1), widths=(4, 8), style="sew"), 2),
    "sew_hidden": (ResNet(blocks=(1, 1), widths=(4, 8), style="sew", hidden=5), 1),
    "ms": (ResNet(blocks=(1, 1), widths=(4, 8), style="ms"), 1),
}


def _student(model: Model) -> Student:
    twin = partial(model.build, input=Image(shape=STATIC), output=Classes(CLASSES))
    return Student(network=twin(nn.Tanh), timesteps=1, twin=twin)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_what_is_replaced_is_what_runs_last(name: str) -> None:
    model, count = TOPOLOGIES[name]
    learner = _student(model)
    names = {id(learner.network.get_submodule(slot)): slot for slot in slots(learner)}
    ran: list[str] = []
    for module in learner.network.modules():
        if id(module) in names:
            module.register_forward_hook(lambda each, *_: ran.append(names[id(each)]))
    learner.network(torch.rand(2, *STATIC))
    assert sorted(ran[-count:]) == sorted(last_slots(learner))


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_relu_answers_at_the_end_and_neurons_everywhere_else(name: str) -> None:
    model, count = TOPOLOGIES[name]
    learner = _student(model)
    last = last_slots(learner)
    METHOD.realise(learner)  # type: ignore[attr-defined]  # an optional part of the contract
    kinds = {slot: type(learner.network.get_submodule(slot)) for slot in slots(learner)}
    assert [slot for slot, kind in kinds.items() if kind is nn.ReLU] == list(last)
    assert list(kinds.values()).count(nn.Tanh) == len(kinds) - count


def test_the_last_feature_is_no_longer_made_of_zeros_and_ones() -> None:
    stimulus = torch.rand(6, *STATIC, generator=torch.Generator().manual_seed(0))

    def values(learner: Student) -> list[float]:
        answer = learner(3 * stimulus, ["penultimate"])
        return sorted(set(answer.taps["penultimate"].flatten().tolist()))

    spec = NeuronSpec(scale_input=False, v_threshold=0.1)  # low, so that something fires
    assert values(student("convnet", timesteps=1, spec=spec)) == [0, 1]
    assert len(values(student("convnet", method=METHOD, timesteps=1, spec=spec))) > 2


def _judge() -> Teacher:
    """Return a teacher whose first logit is ln 3 times the first feature, the others 0."""
    guide = teacher("convnet")
    classifier = guide.network.get_submodule("fc")
    weight, bias = classifier.get_parameter("weight"), classifier.get_parameter("bias")
    weight.zero_()[0, 0] = math.log(3)
    bias.zero_()
    return guide


def test_alignment_is_the_divergence_of_what_the_teachers_classifier_says() -> None:
    guide = _judge()
    ours = torch.zeros(1, guide.tap_channels["penultimate"])
    theirs = ours.clone()
    theirs[0, 0] = 1.0
    # The teacher says 3/5, 1/5, 1/5 and the student a third each.
    expected = 0.6 * math.log(9 / 5) + 2 * 0.2 * math.log(3 / 5)
    found = alignment(guide, ours, guide.tail("penultimate", theirs), temperature=1.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_alignment_is_zero_where_the_features_are_equal() -> None:
    guide = teacher("resnet")
    images = torch.rand(5, *STATIC, generator=torch.Generator().manual_seed(0))
    answer = guide.see(images, ["penultimate"])
    found = alignment(guide, answer.taps["penultimate"][0], answer.logits[0], temperature=2.0)
    assert found.item() == pytest.approx(0, abs=1e-6)


def test_alignment_pulls_the_feature_and_leaves_the_classifier_alone() -> None:
    guide = _judge()
    ours = torch.zeros(1, guide.tap_channels["penultimate"], requires_grad=True)
    logits = torch.tensor([[math.log(3), 0.0, 0.0]])
    alignment(guide, ours, logits, temperature=1.0).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert ours.grad is not None
    # d KL / d z_0 = q_0 - p_0 = 1/3 - 3/5, times dz_0/df_0 = ln 3
    assert ours.grad[0, 0].item() == pytest.approx((1 / 3 - 3 / 5) * math.log(3), rel=1e-5)
    assert not ours.grad[0, 1:].any()
    assert all(weight.grad is None for weight in guide.network.parameters())


def test_the_alignment_is_part_of_what_is_learnt() -> None:
    def losses(weight: float) -> list[float]:
        torch.manual_seed(0)
        method = Enof(weight=weight)
        learner = student("vgg", method=method)
        return [each.loss for each in method.fit(learner, lesson(teacher("vgg")))]

    without, with_it, twice = losses(0.0), losses(1.0), losses(2.0)
    assert with_it[0] > without[0]
    assert twice[0] - without[0] == pytest.approx(2 * (with_it[0] - without[0]), rel=1e-4)


@pytest.mark.parametrize(("method", "weight"), [(METHOD, 1.0), (Enof(weight=0.5), 0.5)])
def test_labels_and_the_alignment_of_the_mean_feature_are_added(
    method: Enof, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Said(Nobody):
        logits = torch.zeros(1, 3)

        def __init__(self) -> None:
            pass

    found: list[Loss] = []
    monkeypatch.setattr(enof, "descend", lambda _student, _lesson, loss, **_: found.append(loss))
    method.fit(student("convnet", method=method), lesson(_judge()))
    feature = torch.zeros(2, 1, 6 * 16)
    feature[0, 0, 0] = 2.0  # 1 on average, so that the teacher's classifier says 3 : 1 : 1
    logits = torch.zeros(2, 1, 3)
    logits[0, 0, 0] = 2 * math.log(3)  # ln 3 on average: the student says 3 : 1 : 1, too
    output = Output(logits=logits, taps={"penultimate": feature})
    # KL((1/3, 1/3, 1/3) || (3/5, 1/5, 1/5)), at temperature 1.
    aligned = math.log(5 / 9) / 3 + 2 * math.log(5 / 3) / 3
    expected = math.log(5 / 3) + weight * aligned
    assert found[0](output, Said(), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5)


def test_temperature_softens_what_the_classifier_says_and_its_square_restores_the_size() -> None:
    guide = _judge()
    ours = torch.zeros(1, guide.tap_channels["penultimate"])
    logits = torch.tensor([[2 * math.log(3), 0.0, 0.0]])  # softened by 2: 3/5, 1/5, 1/5
    expected = 2**2 * (0.6 * math.log(9 / 5) + 2 * 0.2 * math.log(3 / 5))
    found = alignment(guide, ours, logits, temperature=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_classifier_that_reads_other_features_is_refused() -> None:
    wide = ConvNet(widths=(4, 7)).build(nn.ReLU, input=Image(shape=STATIC), output=Classes(CLASSES))
    guide = Teacher(network=wide.eval(), mean=(0.5,), std=(0.5,))
    with pytest.raises(UnsupportedError, match=r"has 96 channels and the teacher's.* reads 112"):
        METHOD.fit(student("convnet", method=METHOD), lesson(guide))
