"""What every method must do, as functions that fail with what it broke.

``test_all`` asks it of all methods, ``test_laws`` of some that only look like one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, Progress, Track
from harness.training import Student, Teacher
from tests.methods.classrooms import EVENTS, IMAGES, STATIC, Classroom, Kind, images
from tests.methods.small import but, lesson, student, teacher

WITH_STAGES = replace(images("resnet"), steps=3)  # which projectors and assistants stand between
TIMESTEPS = (2, 1, 4)
KINDS: tuple[Kind, ...] = ("convnet", "vgg", "resnet")


def taught_in(*rooms: Classroom) -> pytest.MarkDecorator:
    """Ask a law of every method that means the networks of a room, ``name`` in ``room``."""
    lessons = [
        pytest.param(name, room, id=f"{name}-{room}")
        for room in rooms
        for name in room.methods
        if name not in room.refused_by
    ]
    return pytest.mark.parametrize(("name", "room"), lessons)


def ready(method: Method, room: Classroom = IMAGES, *, timesteps: int = 2) -> Student:
    """Return a student of as many steps as the method means."""
    try:
        return room.student(method=method, timesteps=timesteps)
    except UnsupportedError:
        return room.student(method=method, timesteps=1)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a training did, from before its first step to after its last.

    Nothing decays in it, so what moves was moved by the method: norms and running statistics
    do not count, and no more does a start from the teacher's weights.

    Attributes:
        learner: The student as it is left,
        modules: what it was made of,
        keys: and the names of its state.
        guide: The teacher as it is left,
        knew: and its state before.
        progress: What was told.
        weights: The student's at first and after every step of its own.
        optimised: What any optimiser held, and its value before the first step.
    """

    learner: Student
    modules: list[type[nn.Module]]
    keys: set[str]
    guide: Teacher
    knew: dict[str, Tensor]
    progress: list[Progress]
    weights: list[dict[str, Tensor]]
    optimised: list[tuple[Tensor, Tensor]]


def watched(method: Method, room: Classroom = IMAGES, *, timesteps: int = 2) -> Watched:
    """Train once, for all laws that only look."""
    return _watched(method, room, timesteps)  # a cache takes 2 and nothing said for two questions


@cache
def _watched(method: Method, room: Classroom, timesteps: int) -> Watched:
    torch.manual_seed(0)
    learner, guide = ready(method, room, timesteps=timesteps), room.teacher()
    keys, knew = set(learner.network.state_dict()), deepcopy(guide.network.state_dict())
    modules = [type(module) for module in learner.network.modules()]
    progress, weights = [], [_weights(learner.network)]
    with _optimised() as given:
        for each in method.fit(learner, but(room.lesson(guide), weight_decay=0.0)):
            progress.append(each)
            if each.samples:  # none while a teacher of the method's own learns
                weights.append(_weights(learner.network))
    return Watched(
        learner=learner,
        modules=modules,
        keys=keys,
        guide=guide,
        knew=knew,
        progress=progress,
        weights=weights,
        optimised=list(given.values()),
    )


def every_weight_learns(
    method: Method, room: Classroom = IMAGES, *, track: Track = "scratch", timesteps: int = 2
) -> None:
    """Demand that all weights move, and go on moving but for a conversion."""
    states = watched(method, room, timesteps=timesteps).weights
    start, first, last = states[0], states[min(1, len(states) - 1)], states[-1]
    for origin in [start] if track == "conversion" else [start, first]:
        still = [name for name, weight in last.items() if torch.equal(weight, origin[name])]
        assert not still, f"these weights never moved: {still}"


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of what has two axes or more: no norm, no bias, no threshold."""
    named = network.named_parameters()
    return {name: weight.detach().clone() for name, weight in named if weight.dim() > 1}


def teacher_changes(method: Method, room: Classroom = IMAGES) -> bool:
    """Return whether the teacher is another one afterwards; it must be frozen again."""
    seen = watched(method, room)
    guide = seen.guide.network
    assert not guide.training, "the teacher is left in training mode"
    assert not any(weight.requires_grad for weight in guide.parameters())
    return any(not torch.equal(seen.knew[key], value) for key, value in guide.state_dict().items())


def spends_its_budget(method: Method, room: Classroom = IMAGES) -> None:
    """Demand that each batch is spent and told, and the budget with it."""
    progress, each = watched(method, room).progress, room.lesson(None)
    samples = each.budget_samples // each.steps
    # A teacher of the method's own may be trained first; its samples are not the student's.
    spent = [told.samples for told in progress if told.samples]
    assert spent == [samples * step for step in range(1, each.steps + 1)]
    assert {told.budget for told in progress} == {each.budget_samples}


def leaves_nothing(method: Method, room: Classroom = IMAGES) -> None:
    """Demand that the student is made of what it was, and answers by its state dict alone."""
    seen = watched(method, room)
    learner = seen.learner
    assert set(learner.network.state_dict()) == seen.keys
    assert [type(module) for module in learner.network.modules()] == seen.modules
    for module in learner.network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module._backward_pre_hooks
    assert all(weight.requires_grad for weight in learner.parameters())
    assert torch.equal(*answers(method, room, backend="reference"))


def answers(method: Method, room: Classroom, *, backend: str) -> list[Tensor]:
    """Return what the student says, and what another simulator's with its weights does."""
    learner = watched(method, room).learner
    other = room.student(method=method, backend=backend, timesteps=learner.timesteps, seed=5)
    other.network.load_state_dict(learner.network.state_dict())
    (batch,) = next(iter(room.lesson(None, steps=1).epochs))
    said = []
    for each in (learner, other):
        each.network.eval()
        with torch.no_grad():
            said.append(each(batch.stimulus).logits)
    assert torch.isfinite(said[0]).all()
    return said


def extras_learn(method: Method, room: Classroom = WITH_STAGES) -> bool:
    """Demand that all moves which some optimiser holds beside student and teacher.

    Returns whether there is any.
    """
    seen = watched(method, room)
    known = {
        id(weight) for each in (seen.learner, seen.guide.network) for weight in each.parameters()
    }
    beside = [each for each in seen.optimised if id(each[0]) not in known]
    still = [tuple(weight.shape) for weight, start in beside if torch.equal(weight, start)]
    assert not still, f"parameters of these shapes are held by an optimiser and never move: {still}"
    return bool(beside)


@contextmanager
def _optimised() -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
    """Note every parameter that any optimiser steps, and its value before the first step."""
    given: dict[int, tuple[Tensor, Tensor]] = {}

    def note(optimiser: Optimizer, *_: Any) -> None:
        for group in optimiser.param_groups:
            for weight in group["params"]:
                given.setdefault(id(weight), (weight, weight.detach().clone()))

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield given
    finally:
        handle.remove()


def means_something(method: Method, *, backend: str) -> None:
    """Demand that the method refuses not everything, and refuses with a reason."""
    reasons = []
    for shape, kind, timesteps in product((STATIC, EVENTS), KINDS, TIMESTEPS):
        reason = _refusal(method, kind, backend=backend, timesteps=timesteps, shape=shape)
        if reason is None:
            return
        assert reason.strip(), "a refusal must say why"
        reasons.append(reason)
    raise AssertionError(f"the method refuses everything: {reasons[0]}")


def _refusal(
    method: Method, kind: Kind, *, backend: str, timesteps: int, shape: tuple[int, int, int]
) -> str | None:
    """Train once; return why the method does not mean it, or None."""
    course = lesson(teacher(kind, shape=shape), timesteps=timesteps, shape=shape)
    try:
        learner = student(kind, method=method, backend=backend, timesteps=timesteps, shape=shape)
        list(method.fit(learner, course))
    except UnsupportedError as reason:
        return str(reason)
    return None
