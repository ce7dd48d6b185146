"""The places of a topology where its activation stands."""

from collections.abc import Callable

import torch
from torch import nn

from harness.training.student import Student


class _Mark(nn.Module):
    """Stands in a slot so that the slot can be found."""


def slots(student: Student, /) -> tuple[str, ...]:
    """Return the names of the modules made by the student's activation, in their order."""
    with torch.random.fork_rng(devices=[]):
        marked = student.twin(_Mark)
    return tuple(name for name, module in marked.named_modules() if isinstance(module, _Mark))


def put_in_slots(student: Student, activation: Callable[[], nn.Module], /) -> None:
    """Put ``activation()`` into every slot of the student's network."""
    device = next(student.parameters()).device
    for name in slots(student):
        student.network.set_submodule(name, activation().to(device))
