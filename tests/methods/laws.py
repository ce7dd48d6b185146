"""What every method must do, as functions that fail with what it broke.

``test_all`` asks it of all methods, ``test_laws`` of some that only look like one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, Track
from harness.training import Student
from tests.methods.small import EVENTS, STATIC, Kind, but, lesson, student, teacher

TIMESTEPS = (2, 1, 4)
KINDS: tuple[Kind, ...] = ("convnet", "vgg", "resnet")
STEPS = 8  # stdp has half of them for its layers, one after the other


def ready(method: Method, kind: Kind = "convnet", *, timesteps: int = 2) -> Student:
    """Return a student of as many steps as the method means."""
    try:
        return student(kind, method=method, timesteps=timesteps)
    except UnsupportedError:
        return student(kind, method=method, timesteps=1)


def every_weight_learns(method: Method, *, track: Track = "scratch", timesteps: int = 2) -> None:
    """Demand that all weights move, and go on moving but for a conversion.

    Nothing decays here, so what moves was moved by the method: norms and running statistics
    do not count, and no more does a start from the teacher's weights.
    """
    torch.manual_seed(0)
    learner = ready(method, timesteps=timesteps)
    states = [_weights(learner.network)]
    course = but(lesson(teacher(), steps=STEPS), weight_decay=0.0)
    states += [
        _weights(learner.network)
        for progress in method.fit(learner, course)
        if progress.samples  # none while a teacher of the method's own learns
    ]
    start, first, last = states[0], states[min(1, len(states) - 1)], states[-1]
    for origin in [start] if track == "conversion" else [start, first]:
        still = [name for name, weight in last.items() if torch.equal(weight, origin[name])]
        assert not still, f"these weights never moved: {still}"


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of what has two axes or more: no norm, no bias, no threshold."""
    named = network.named_parameters()
    return {name: weight.detach().clone() for name, weight in named if weight.dim() > 1}


def teacher_changes(method: Method) -> bool:
    """Return whether the teacher is another one afterwards; it must be frozen again."""
    learner, guide = ready(method), teacher()
    knew = deepcopy(guide.network.state_dict())
    list(method.fit(learner, lesson(guide)))
    assert not guide.network.training, "the teacher is left in training mode"
    assert not any(weight.requires_grad for weight in guide.network.parameters())
    return any(
        not torch.equal(knew[key], value) for key, value in guide.network.state_dict().items()
    )


def extras_learn(method: Method) -> None:
    """Demand that all moves which some optimiser holds beside student and teacher."""
    torch.manual_seed(0)
    learner, guide = ready(method, "resnet"), teacher("resnet")
    known = {id(weight) for each in (learner, guide.network) for weight in each.parameters()}
    with _optimised() as given:
        list(method.fit(learner, but(lesson(guide, steps=3), weight_decay=0.0)))
    still = [
        tuple(weight.shape)
        for weight, start in given.values()
        if id(weight) not in known and torch.equal(weight, start)
    ]
    assert not still, f"parameters of these shapes are held by an optimiser and never move: {still}"


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
