"""What a method is called in tables, and what its card says."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache

from harness import discovery
from harness.contracts.cell import Cell
from harness.contracts.errors import SpecError
from harness.contracts.method import MethodCard, Track
from harness.contracts.values import Plain


@cache
def card_of(method: str, /) -> MethodCard | None:
    """Return what a method says of itself; None if it says nothing, or is no more or unreadable."""
    try:
        return discovery.method_card(method) if method in discovery.names("methods") else None
    except SpecError:  # whoever lists methods names the file
        return None


def is_control(method: str, /) -> bool:
    """Return whether a method says that it is a control, there to be compared with alone."""
    card = card_of(method)
    return card is not None and card.control


def track_of(method: str, /) -> Track:
    """Return what a method says its student is given; without a word, from scratch."""
    card = card_of(method)
    return card.track if card else "scratch"


def told_apart(cell: Cell, rivals: Iterable[Cell], spelt: Collection[str], /) -> Plain:
    """Return the parameters that a name says: those that a rival has otherwise, or as told.

    The learning rate is one of them.
    """
    rivals = list(rivals)
    told = {
        name: value
        for name, value in cell.params.items()
        if name in spelt or any(rival.params.get(name) != value for rival in rivals)
    }
    rate = cell.recipe.learning_rate
    if any(rival.recipe.learning_rate != rate for rival in rivals):
        told["learning rate"] = rate
    return told
