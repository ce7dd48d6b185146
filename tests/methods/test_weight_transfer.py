"""The teacher's weights at the start, and the labels from there on."""

import math
from copy import deepcopy

import pytest
import torch
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from suites.methods.weight_transfer import WeightTransfer
from tests.methods import small
from tests.methods.teaching_aids import NOBODY, lesson, student, teacher


def test_the_student_starts_where_the_teacher_is() -> None:
    learner, guide = student(), teacher()
    WeightTransfer().fit(learner, lesson(guide))  # copies; nothing is trained until it is iterated
    for name, value in guide.network.state_dict().items():
        assert torch.equal(learner.network.state_dict()[name], value)


def test_another_topology_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"another topology.*'conv.weight' does not fit"):
        WeightTransfer().fit(student(channels=2), lesson(teacher(channels=5)))


def test_statistics_of_norms_are_copied_and_neurons_are_not() -> None:
    learner, guide = small.student("resnet"), small.teacher("resnet")
    guide.network.get_buffer("bn1.running_mean").fill_(7.0)
    before = deepcopy(learner.network.state_dict())
    WeightTransfer().fit(learner, small.lesson(guide))
    theirs, after = guide.network.state_dict(), learner.network.state_dict()
    assert torch.equal(after["bn1.running_mean"], torch.full_like(after["bn1.running_mean"], 7.0))
    assert all(torch.equal(after[name], theirs[name]) for name in theirs)
    assert all(torch.equal(after[name], before[name]) for name in before if name not in theirs)


def test_training_goes_on_with_the_labels_of_the_mean_logits() -> None:
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, 2 * math.log(3)]]])  # on average 1 : 3
    loss = WeightTransfer().loss(Output(logits=logits), NOBODY, torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)


def test_the_first_loss_is_that_of_the_teachers_weights() -> None:
    learner, guide = student(), teacher()
    course = lesson(guide)
    batch = next(iter(course))
    expected = cross_entropy(guide.see(batch.images).logits[0], batch.labels).item()
    told = next(iter(WeightTransfer().fit(learner, course))).loss
    assert told == pytest.approx(expected, rel=1e-6)
