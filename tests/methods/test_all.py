"""What every method must do, whatever it is and whatever is asked of its student."""

from dataclasses import replace
from typing import cast

import pytest
import torch

from harness import discovery
from harness.contracts.errors import DivergedError, UnsupportedError
from harness.contracts.method import Method, MethodCard
from harness.data import catalogue
from harness.training import Student
from tests.methods import laws
from tests.methods.classrooms import IMAGES, TASKS, Classroom
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
CARDS = {name: discovery.method_card(name) for name in discovery.names("methods")}
ON_TASKS = [(name, room) for room in TASKS for name in room.methods]
ASKED = [
    *((name, IMAGES) for name in NAMES),
    *((name, room) for name, room in ON_TASKS if name not in room.refused_by),
]


def _told(lessons: list[tuple[str, Classroom]]) -> pytest.MarkDecorator:
    """Ask a law of every method in its classrooms, images by the method's name alone."""
    ids = [name if room is IMAGES else f"{name}-{room}" for name, room in lessons]
    return pytest.mark.parametrize(("name", "room"), lessons, ids=ids)


def _method(name: str) -> Method:
    return cast(Method, discovery.load("methods", name))


def _card(name: str) -> MethodCard:
    card = CARDS[name]
    assert card is not None, f"suites/methods/{name}.py has no CARD; CONTRIBUTING.md says of what"
    return card


def test_every_data_set_has_a_classroom() -> None:
    def asks(dataset: str) -> tuple[object, ...]:
        card = catalogue.load(dataset).card
        return type(card.input), *discovery.task_gives(card.task)

    known = {asks(room.dataset) for room in (IMAGES, *TASKS)}
    alone = [name for name in discovery.names("datasets") if asks(name) not in known]
    assert not alone, f"no method is held to its laws on what {alone} ask"


@_told(ASKED)
def test_every_weight_learns(name: str, room: Classroom) -> None:
    # Where a neuron has no gradient before its first spike, the first layers need some steps.
    timesteps = 16 if name == "hybrid_conversion" else 2
    laws.every_weight_learns(_method(name), room, track=_card(name).track, timesteps=timesteps)


@_told(ASKED)
def test_a_teacher_learns_only_if_the_card_says_so(name: str, room: Classroom) -> None:
    assert laws.teacher_changes(_method(name), room) == _card(name).teacher_learns


@_told(ASKED)
def test_the_whole_budget_is_spent_and_told(name: str, room: Classroom) -> None:
    laws.spends_its_budget(_method(name), room)


@_told(ASKED)
def test_nothing_of_a_method_stays_in_the_student(name: str, room: Classroom) -> None:
    laws.leaves_nothing(_method(name), room)


@_told(ASKED)
def test_all_that_learns_beside_the_student_moves_and_is_told(name: str, room: Classroom) -> None:
    beside = laws.extras_learn(_method(name), laws.WITH_STAGES if room is IMAGES else room)
    assert not beside or _card(name).extras


@_told(ASKED)
def test_a_recipe_of_no_epochs_trains_nothing(name: str, room: Classroom) -> None:
    asked = room.lesson(None if not _card(name).uses_teacher else room.teacher())
    none = replace(asked.recipe, epochs=0)
    method = _method(name)
    learner = laws.ready(method, room)
    idle = replace(asked, recipe=none, epochs=[], steps=0, budget_samples=0)
    assert all(not progress.samples for progress in method.fit(learner, idle))


@pytest.mark.parametrize("backend", ["norse", "spikingjelly"])
@pytest.mark.parametrize("name", NAMES)
def test_a_method_does_not_refuse_everything(name: str, backend: str) -> None:
    laws.means_something(_method(name), backend=backend)


@_told([(name, room) for name, room in ON_TASKS if name in room.refused_by])
def test_a_method_that_does_not_mean_the_networks_says_so(name: str, room: Classroom) -> None:
    method = _method(name)
    with pytest.raises(UnsupportedError, match=r"\w+ \w+"):
        list(method.fit(laws.ready(method, room), room.lesson(room.teacher())))


@_told(ASKED)
def test_a_loss_that_is_not_finite_ends_the_training(name: str, room: Classroom) -> None:
    method, spoilt = _method(name), room.teacher()
    learner = laws.ready(method, room)
    with torch.no_grad():
        for network in (learner.network, spoilt.network):
            *_, answer = network.parameters()
            answer.fill_(float("nan"))
    with pytest.raises(DivergedError, match="became nan after"):
        list(method.fit(learner, room.lesson(spoilt, steps=2)))


@_told(ASKED)
def test_a_training_that_was_broken_off_leaves_no_trace_in_the_next(
    name: str, room: Classroom
) -> None:
    method = _method(name)

    def trained() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        learner = laws.ready(method, room)
        list(method.fit(learner, room.lesson(room.teacher(), steps=2)))
        return learner.network.state_dict()

    undisturbed = trained()
    next(iter(method.fit(laws.ready(method, room), room.lesson(room.teacher(), steps=2))))
    again = trained()
    assert all(torch.equal(undisturbed[key], again[key]) for key in undisturbed)


@_told([(name, room) for name, room in ASKED if (card := CARDS[name]) and not card.uses_teacher])
def test_a_method_without_a_teacher_asks_none(name: str, room: Classroom) -> None:
    method = _method(name)
    assert list(method.fit(laws.ready(method, room), room.lesson(None, steps=2)))


@pytest.mark.parametrize("backend", ["norse", "spikingjelly"])
@_told([(name, room) for name, room in ASKED if room is not IMAGES])
def test_what_was_learnt_answers_alike_on_every_simulator(
    name: str, room: Classroom, backend: str
) -> None:
    ours, theirs = laws.answers(_method(name), room, backend=backend)
    assert torch.allclose(ours, theirs, atol=1e-5)


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
