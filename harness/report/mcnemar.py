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
from harness.report._answers import COUNTED, PricedRow
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
        backend: The simulator, or all those on which both rows say the same.
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


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A question on one simulator: two lines and what each has with one seed, if anything."""

    seed: int
    ours: Line
    theirs: Line
    first: PricedRow | None
    second: PricedRow | None

    @property
    def evidence(self) -> tuple[Any, ...]:
        """All that both rows say but times, and nothing of other rows."""
        return tuple(one and _evidence(one) for one in (self.first, self.second))


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One T and seed, on simulators that answer alike."""

    asked: list[_Asked]

    @property
    def timesteps(self) -> int:
        """T."""
        return self.asked[0].ours.timesteps

    @property
    def seed(self) -> int:
        """Of both networks."""
        return self.asked[0].seed

    @property
    def backend(self) -> str:
        """The simulators, by name."""
        return ", ".join(sorted(one.ours.backend for one in self.asked))

    @property
    def where(self) -> str:
        """What is asked, in words."""
        lines = (self.asked[0].ours, self.asked[0].theirs)
        cell = next(answer.row.cell for line in lines for answer in line.answers)
        asked = f"{cell.model}, {cell.recipe_name}, T = {self.timesteps}"
        return f"{asked}, {self.backend}, seed {self.seed}"

    def is_answered_alike(self, other: _Asked) -> bool:
        """Return whether ``other`` is the same question and its rows say the same."""
        same = (self.timesteps, self.seed) == (other.ours.timesteps, other.seed)
        return same and self.asked[0].evidence == other.evidence


def _evidence(answer: PricedRow) -> tuple[Any, ...]:
    said = answer.metrics
    counts = [answer.figure(name) for name in COUNTED]
    decided = said.score, said.further, said.score_by_step, said.agreement
    return *decided, said.mean_steps_to_decide, said.early_exit, counts


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
    for setting in board.settings:
        asked = [
            lines
            for lines in _lines(setting, first, second)
            if timesteps is None or lines[0].timesteps in timesteps
            if backends is None or lines[0].backend in backends
        ]
        for question in _questions(asked, joined=not backends):
            try:
                pairs.append(_pair_of(question, decided))
            except StoreError as error:
                left_out.append(f"{question.where}: {error}")
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


def _lines(setting: Setting, first: str, second: str) -> Iterator[tuple[Line, Line]]:
    """Yield where both have a line, T by T and simulator by simulator."""
    for (timesteps, backend), lines in setting.tables.items():
        where = f"{setting.cell.model}, {setting.cell.recipe_name}, T = {timesteps}, {backend}"
        ours, theirs = (_the_line(lines, name, where) for name in (first, second))
        if ours is not None and theirs is not None:
            yield ours, theirs


def _the_line(lines: list[Line], name: str, where: str) -> Line | None:
    found = [line for line in lines if is_of(line, name)]
    if len(found) > 1:
        known = ", ".join(line.method for line in found)
        raise SpecError(f"{where}: {name!r} is several lines; name one of them: {known}")
    return found[0] if found else None


def _questions(lines: Iterable[tuple[Line, Line]], *, joined: bool) -> list[_Question]:
    """Return what each pair of lines was asked, by T, simulator and seed.

    What several simulators answer alike is one question if ``joined``, not several that
    confirm each other.
    """
    found: list[_Question] = []
    for ours, theirs in lines:
        here, there = _by_seed(ours), _by_seed(theirs)
        for seed in here.keys() | there.keys():
            first, second = here.get(seed), there.get(seed)
            asked = _Asked(seed=seed, ours=ours, theirs=theirs, first=first, second=second)
            alike = [one for one in found if joined and one.is_answered_alike(asked)]
            if alike:
                alike[0].asked.append(asked)
            else:
                found.append(_Question(asked=[asked]))
    return sorted(found, key=lambda one: (one.timesteps, one.backend, one.seed))


def _by_seed(line: Line) -> Mapping[int, PricedRow]:
    return {answer.row.cell.seed: answer for answer in line.answers}


def _pair_of(question: _Question, decided: Decided) -> Pair:
    """Return the pair, read from the first simulator whose predictions are here.

    Raises:
        StoreError: If a method has no number, or no simulator's predictions can be read.
    """
    refused: list[StoreError] = []
    for one in question.asked:
        if one.first is None or one.second is None:
            lacking = one.ours if one.first is None else one.theirs
            raise StoreError(f"{lacking.method} has no number")
        try:
            return _pair(one.first.row, one.second.row, question.backend, decided)
        except StoreError as error:
            refused.append(error)
    raise refused[0]


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
