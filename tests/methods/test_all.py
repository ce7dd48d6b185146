"""What every method must do, whatever it is."""

from copy import deepcopy
from typing import cast

import pytest
import torch

from harness import discovery
from harness.contracts.errors import DivergedError
from harness.contracts.method import Method
from tests.methods.teaching_aids import lesson, student, teacher

METHODS = [cast(Method, discovery.load("methods", name)) for name in discovery.names("methods")]
CARDS = [discovery.method_card(name) for name in discovery.names("methods")]


@pytest.fixture(params=METHODS, ids=discovery.names("methods"))
def method(request: pytest.FixtureRequest) -> Method:
    return request.param  # type: ignore[no-any-return]  # pytest types params as Any


def test_the_student_learns_and_the_teacher_does_not(method: Method) -> None:
    torch.manual_seed(0)
    learner, guide = student(), teacher()
    before, knew = deepcopy(learner.network.state_dict()), deepcopy(guide.network.state_dict())
    list(method.fit(learner, lesson(guide)))
    after = learner.network.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(knew[name], value) for name, value in guide.network.state_dict().items())
    assert not guide.network.training


def test_the_whole_budget_is_spent_and_told(method: Method) -> None:
    progress = list(method.fit(student(), lesson(teacher(), steps=3)))
    assert [each.samples for each in progress] == [4, 8, 12]
    assert {each.budget for each in progress} == {12}


def test_nothing_of_a_method_stays_in_the_student(method: Method) -> None:
    learner = student()
    keys = set(learner.network.state_dict())
    for _ in method.fit(learner, lesson(teacher())):
        pass
    assert set(learner.network.state_dict()) == keys
    assert not learner.network._forward_hooks


def test_a_loss_that_is_not_finite_ends_the_training(method: Method) -> None:
    learner, spoilt = student(), teacher()
    with torch.no_grad():
        learner.network.linear.bias.fill_(float("nan"))
        spoilt.network.linear.bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match="became nan after"):
        list(method.fit(learner, lesson(spoilt)))


@pytest.mark.parametrize(
    "name",
    [n for n, c in zip(discovery.names("methods"), CARDS, strict=True) if c and not c.uses_teacher],
)
def test_a_method_without_a_teacher_asks_none(name: str) -> None:
    method = cast(Method, discovery.load("methods", name))
    assert list(method.fit(student(), lesson(None)))
