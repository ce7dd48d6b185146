"""Two methods on the same test samples: McNemar's test, pair of networks by pair."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness import statistics
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.report import _words as words
from harness.report._board import Leaderboard, Line, Setting, is_of, require_line
from harness.report._words import Column, table

Integers: TypeAlias = NDArray[np.int64]
# Of a row: what its network decided after the last step, and the labels; both [sample].
Decided: TypeAlias = Callable[[Row], tuple[Integers, Integers]]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two trained networks that differ in their method alone.

    Attributes:
        first: The row of one.
        second: Of the other.
        backend: The simulator, or all of them where every line is equal on all.
        samples: Test samples.
        first_alone: Of these, those that the first alone answers right.
        second_alone: Those that the second alone does.
        p: Of McNemar's test, exact.
        p_holm: Adjusted for the number of pairs that were asked together.
    """

    first: Row
    second: Row
    backend: str
    samples: int
    first_alone: int
    second_alone: int
    p: float
    p_holm: float

    def columns(self) -> dict[str, Any]:
        """Return it for programs."""
        cell, other = self.first.cell, self.second.cell
        shared = ("dataset", "model", "recipe_name", "timesteps", "seed")
        numbers = ("backend", "samples", "first_alone", "second_alone", "p", "p_holm")
        return {
            "first": cell.cell_id,
            "second": other.cell_id,
            **{name: getattr(cell, name) for name in shared},
            **{name: getattr(self, name) for name in numbers},
        }


@dataclass(frozen=True, kw_only=True)
class Held:
    """Two methods held against each other.

    Attributes:
        first: One's name, as it stands on the board.
        second: The other's.
        pairs: By data set and budget, T, simulator and seed.
        left_out: Why a pair of lines or seeds is no pair of networks, a sentence each.
    """

    first: str
    second: str
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]


def mcnemar(
    board: Leaderboard,
    first: str,
    second: str,
    decided: Decided,
    /,
    *,
    timesteps: Collection[int] | None = None,
    backends: Collection[str] | None = None,
) -> Held:
    """Hold two methods against each other on every question that both have answered.

    A pair shares all but the method, its parameters and learning rate: the seed, too, for a
    test about two networks knows nothing of how much a seed moves. Holm adjusts over all pairs.

    Args:
        board: Of the rows.
        first: A method, as a line of the board names it.
        second: Another.
        decided: What a row's network decided; it raises a StoreError where nobody knows.
        timesteps: Those that are asked; None is all.
        backends: Likewise, of simulators.

    Raises:
        SpecError: If there is no such line or no pair, or no sample is right or wrong.
    """
    _check(board, first, second)
    pairs: list[Pair] = []
    left_out: list[str] = []
    # What all simulators answer alike is one pair, not several that confirm each other.
    settings = [one if backends else one.together for one in board.settings]
    for where, ours, theirs in _lines(settings, first, second):
        if timesteps is not None and ours.timesteps not in timesteps:
            continue
        if backends is not None and ours.backend not in backends:
            continue
        here, there = _by_seed(ours), _by_seed(theirs)
        for seed in sorted(here.keys() | there.keys()):
            if seed not in here or seed not in there:
                lacking = ours.method if seed not in here else theirs.method
                left_out.append(f"{where}, seed {seed}: {lacking} has no number")
                continue
            try:
                pairs.append(_pair(here[seed], there[seed], ours.backend, decided))
            except StoreError as error:
                left_out.append(f"{where}, seed {seed}: {error}")
    if not pairs:
        why = left_out[0] if left_out else "they share no data set, budget, T and simulator"
        raise SpecError(f"{first} and {second} have no pair of networks: {why}")
    adjusted = statistics.holm([pair.p for pair in pairs])
    held = tuple(replace(pair, p_holm=p) for pair, p in zip(pairs, adjusted, strict=True))
    return Held(first=first, second=second, pairs=held, left_out=tuple(left_out))


def _check(board: Leaderboard, first: str, second: str) -> None:
    for name in (first, second):
        require_line(board, name)
    if board.metric != "accuracy":
        raise SpecError(
            "McNemar's test is about samples that are right or wrong, and these are scored by "
            f"{board.metric}; `report` compares methods over seeds"
        )
    if first == second:
        raise SpecError(f"two methods are held against each other, got {first!r} twice")


def to_markdown(held: Held, /) -> str:
    """Return a line a pair of networks; ``held`` has one at least."""
    columns: list[Column[Pair]] = [
        Column("student", lambda one: words.text(one.first.cell.model), left=True),
        Column("budget", lambda one: words.text(one.first.cell.recipe_name), left=True),
        Column("T", lambda one: str(one.first.cell.timesteps)),
        Column("simulator", lambda one: words.text(one.backend), left=True),
        Column("seed", lambda one: str(one.first.cell.seed)),
        Column("test samples", lambda one: str(one.samples)),
        Column(f"{words.text(held.first)} alone right", lambda one: str(one.first_alone)),
        Column(f"{words.text(held.second)} alone right", lambda one: str(one.second_alone)),
        Column("p", lambda one: words.figure(one.p)),
        Column("p, Holm", lambda one: words.figure(one.p_holm)),
        Column("more often right", lambda one: words.text(_winner(held, one)), left=True),
    ]
    return table(held.pairs, columns)


def explanation(held: Held, /) -> str:
    """Return what the table says and what it does not."""
    apart = sum(pair.p_holm < statistics.ALPHA for pair in held.pairs)
    return (
        f"McNemar's exact test, p adjusted by Holm over {len(held.pairs)} pairs: {apart} are told "
        "apart at 5 %. Each line is about two trained networks on these test samples, and knows "
        "nothing of how much another seed would move them: whether a method is better is the "
        "paired t test's over seeds, in the tables of `report`."
    )


def _winner(held: Held, pair: Pair) -> str:
    if pair.p_holm >= statistics.ALPHA:
        return "within noise"
    return held.first if pair.first_alone > pair.second_alone else held.second


def _lines(
    settings: Iterable[Setting], first: str, second: str
) -> Iterator[tuple[str, Line, Line]]:
    """Yield where both have a line, and the two."""
    for setting in settings:
        cell = setting.cell
        for (timesteps, backend), lines in setting.tables.items():
            where = f"{cell.model}, {cell.recipe_name}, T = {timesteps}, {backend}"
            ours, theirs = (_the_line(lines, name, where) for name in (first, second))
            if ours is not None and theirs is not None:
                yield where, ours, theirs


def _the_line(lines: list[Line], name: str, where: str) -> Line | None:
    found = [line for line in lines if is_of(line, name)]
    if len(found) > 1:
        known = ", ".join(line.method for line in found)
        raise SpecError(f"{where}: {name!r} is several lines; name one of them: {known}")
    return found[0] if found else None


def _by_seed(line: Line) -> Mapping[int, Row]:
    return {answer.row.cell.seed: answer.row for answer in line.answers}


def _pair(first: Row, second: Row, backend: str, decided: Decided) -> Pair:
    ours, labels = decided(first)
    theirs, others = decided(second)
    if not np.array_equal(labels, others):
        raise StoreError(
            f"{first.cell_id} and {second.cell_id} have answered other test samples, {len(labels)} "
            f"and {len(others)}, or in another order; run both again on one copy of the data"
        )
    right, theirs_right = ours == labels, theirs == labels
    first_alone = int((right & ~theirs_right).sum())
    second_alone = int((theirs_right & ~right).sum())
    p = statistics.mcnemar(first_alone, second_alone)
    return Pair(
        first=first,
        second=second,
        backend=backend,
        samples=len(labels),
        first_alone=first_alone,
        second_alone=second_alone,
        p=p,
        p_holm=p,
    )
