"""What every method must do, whatever it is."""

from typing import cast

import pytest
import torch

from harness import discovery
from harness.contracts.errors import DivergedError, UnsupportedError
from harness.contracts.method import Method, MethodCard
from harness.training import Student
from tests.methods import laws
from tests.methods.small import (
    CLASSES,
    EVENTS,
    SAMPLES,
    STATIC,
    Kind,
    lesson,
    on_images,
    student,
    teacher,
)

NAMES = on_images()
CARDS = {name: discovery.method_card(name) for name in NAMES}


def _method(name: str) -> Method:
    return cast(Method, discovery.load("methods", name))


def _card(name: str) -> MethodCard:
    card = CARDS[name]
    assert card is not None, f"suites/methods/{name}.py has no CARD; CONTRIBUTING.md says of what"
    return card


def _ready(name: str, kind: Kind = "convnet") -> tuple[Method, Student]:
    """Return the method and a student of as many steps as it means."""
    method = _method(name)
    return method, laws.ready(method, kind)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns(name: str) -> None:
    # Where a neuron has no gradient before its first spike, the first layers need some steps.
    timesteps = 16 if name == "hybrid_conversion" else 2
    laws.every_weight_learns(_method(name), track=_card(name).track, timesteps=timesteps)


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_learns_only_if_the_card_says_so(name: str) -> None:
    assert laws.teacher_changes(_method(name)) == _card(name).teacher_learns


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_budget_is_spent_and_told(name: str) -> None:
    method, learner = _ready(name)
    progress = list(method.fit(learner, lesson(teacher(), steps=3)))
    # A teacher of the method's own may be trained first; its samples are not the student's.
    spent = [each.samples for each in progress if each.samples]
    assert spent == [SAMPLES, 2 * SAMPLES, 3 * SAMPLES]
    assert {each.budget for each in progress} == {3 * SAMPLES}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_method_stays_in_the_student(name: str) -> None:
    method, learner = _ready(name)
    keys = set(learner.network.state_dict())
    modules = [type(module) for module in learner.network.modules()]
    list(method.fit(learner, lesson(teacher())))
    assert set(learner.network.state_dict()) == keys
    assert [type(module) for module in learner.network.modules()] == modules
    for module in learner.network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert all(weight.requires_grad for weight in learner.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_all_that_learns_beside_the_student_moves(name: str) -> None:
    laws.extras_learn(_method(name))


@pytest.mark.parametrize("backend", ["norse", "spikingjelly"])
@pytest.mark.parametrize("name", NAMES)
def test_a_method_does_not_refuse_everything(name: str, backend: str) -> None:
    laws.means_something(_method(name), backend=backend)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_that_is_not_finite_ends_the_training(name: str) -> None:
    method, learner = _ready(name)
    spoilt = teacher()
    with torch.no_grad():
        for network in (learner.network, spoilt.network):
            network.get_parameter("fc.bias").fill_(float("nan"))
    with pytest.raises(DivergedError, match="became nan after"):
        list(method.fit(learner, lesson(spoilt)))


@pytest.mark.parametrize("name", NAMES)
def test_a_training_that_was_broken_off_leaves_no_trace_in_the_next(name: str) -> None:
    def trained() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        method, learner = _ready(name)
        list(method.fit(learner, lesson(teacher())))
        return learner.network.state_dict()

    undisturbed = trained()
    method, learner = _ready(name)
    next(iter(method.fit(learner, lesson(teacher()))))
    again = trained()
    assert all(torch.equal(undisturbed[key], again[key]) for key in undisturbed)


@pytest.mark.parametrize(
    "name", [name for name, card in CARDS.items() if card and not card.uses_teacher]
)
def test_a_method_without_a_teacher_asks_none(name: str) -> None:
    method, learner = _ready(name)
    assert list(method.fit(learner, lesson(None)))


@pytest.mark.parametrize("shape", [STATIC, EVENTS], ids=["static", "events"])
@pytest.mark.parametrize("kind", ["vgg", "resnet"])
@pytest.mark.parametrize("timesteps", [1, 2, 4])
@pytest.mark.parametrize("backend", ["norse", "spikingjelly"])
@pytest.mark.parametrize("name", NAMES)
def test_a_method_runs_everywhere_or_says_why_not(
    name: str, backend: str, timesteps: int, kind: Kind, shape: tuple[int, int, int]
) -> None:
    method = _method(name)

    def fresh(seed: int, on: str) -> Student:
        return student(kind, method=method, backend=on, timesteps=timesteps, shape=shape, seed=seed)

    course = lesson(teacher(kind, shape=shape), timesteps=timesteps, shape=shape)
    try:
        learner = fresh(0, backend)
        list(method.fit(learner, course))
    except UnsupportedError as reason:
        pytest.skip(f"the method says: {reason}")
    stimulus = next(iter(course)).stimulus
    learner.network.eval()
    with torch.no_grad():
        logits = learner(stimulus).logits
    assert logits.shape == (timesteps, SAMPLES, CLASSES)
    assert torch.isfinite(logits).all()
    # All that was learnt is in the state dict: any simulator goes on from there.
    elsewhere = fresh(5, "reference")
    elsewhere.network.load_state_dict(learner.network.state_dict())
    elsewhere.network.eval()
    with torch.no_grad():
        assert torch.allclose(elsewhere(stimulus).logits, logits, atol=1e-4)
