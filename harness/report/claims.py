"""What papers claim, held against what was measured here."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness import discovery, statistics
from harness.contracts.cell import Cell
from harness.contracts.method import Claim, MethodCard
from harness.report import _words as words
from harness.report._board import Leaderboard, Line, Setting, named, resolution_of
from harness.report._labels import card_of
from harness.report._words import Column, table
from harness.statistics import EQUIVALENCE_MARGIN, Equivalence

Verdict = Literal["reproduced", "within noise", "lower", "higher", "not comparable", "not run"]


@dataclass(frozen=True, kw_only=True)
class Held:
    """One claim and what stands here beside it.

    Attributes:
        method: Whose.
        card: What its file says of it.
        claim: The published result.
        ours: The line whose recipe is nearest; None if none has a number on that data set.
        cell: Any of that line's.
        has_data: Whether any row is on the claim's data set.
        differs: How ours is not what was claimed, a phrase each, the unsaid included.
        equivalence: Of ours and the claim; None unless they compare.
        verdict: ``not run`` without a line of ours, ``not comparable`` where student, T, epochs
            or teacher are other than claimed, or one seed says nothing; else the test's.
        why: Why there is no test; empty if there is one.
    """

    method: str
    card: MethodCard
    claim: Claim
    ours: Line | None
    cell: Cell | None
    has_data: bool
    differs: tuple[str, ...]
    equivalence: Equivalence | None
    verdict: Verdict
    why: str

    @property
    def said(self) -> str:
        """The verdict, with a question mark where seeds are too few."""
        provisional = self.equivalence is not None and self.equivalence.provisional
        return f"{self.verdict}{'?' * provisional}"


def hold(
    boards: Iterable[Leaderboard],
    /,
    *,
    methods: Iterable[str] | None = None,
    margin: float = EQUIVALENCE_MARGIN,
) -> list[Held]:
    """Hold every claim of the method files against the nearest line of ``boards``.

    A file that cannot be read claims nothing.

    Args:
        boards: Where to look.
        methods: Whose claims; None is of all there are.
        margin: A fraction: how far a mean may miss a claim and still be it.
    """
    found = [setting for board in boards for setting in board.settings]
    names = discovery.names("methods") if methods is None else sorted(set(methods))
    return [
        _held(name, card, claim, found, margin)
        for name in names
        if (card := card_of(name))
        for claim in card.claims
    ]


def of_board(board: Leaderboard, /) -> list[Held]:
    """Return what becomes of the claims of the methods that are on ``board``."""
    lines = (line for setting in board.settings for line in setting.lines)
    return hold([board], methods={line.file for line in lines})


def _held(
    method: str,
    card: MethodCard,
    claim: Claim,
    found: Sequence[Setting],
    margin: float,
) -> Held:
    there = [setting for setting in found if setting.cell.dataset == claim.dataset]
    lines = [
        one
        for setting in there
        for one in setting.together.lines
        if one.file == method and not one.authors
    ]
    known = [one for one in lines if one.answers]
    if not known:
        return _not_run(method, card, claim, lines, has_data=bool(there))
    line = min(known, key=lambda one: _distance(claim, one))
    cell = line.answers[0].row.cell
    blocking = [*_blocking(claim, cell)]
    tested = statistics.equivalence(
        list(line.by_seed().values()),
        claim.accuracy,
        margin=margin,
        resolution=resolution_of(line.metrics),
    )
    why = "; ".join(blocking) or ("one seed" if tested.verdict == "unknown" else "")
    return Held(
        method=method,
        card=card,
        claim=claim,
        ours=line,
        cell=cell,
        has_data=True,
        differs=(*blocking, *_beside(card, claim, line, cell)),
        equivalence=None if why else tested,
        verdict="not comparable" if why or tested.verdict == "unknown" else tested.verdict,
        why=why,
    )


def _not_run(
    method: str, card: MethodCard, claim: Claim, lines: Sequence[Line], *, has_data: bool
) -> Held:
    ended = Counter(failure.status for line in lines for failure in line.failures)
    told = ", ".join(f"{count} {status}" for status, count in sorted(ended.items()))
    why = f"no row of it on {claim.dataset}" if has_data else f"no row on {claim.dataset}"
    return Held(
        method=method,
        card=card,
        claim=claim,
        ours=None,
        cell=None,
        has_data=has_data,
        differs=(),
        equivalence=None,
        verdict="not run",
        why=f"no number on {claim.dataset}: {told}" if told else why,
    )


def _distance(claim: Claim, line: Line) -> tuple[Any, ...]:
    """Return how far a line's recipe is from a claim's; what it scored is no part of it."""
    cell = line.answers[0].row.cell
    steps = abs(math.log2(cell.timesteps / claim.timesteps)) if claim.timesteps else 0.0
    epochs = abs(cell.recipe.epochs - claim.epochs) if claim.epochs else -cell.recipe.epochs
    return (
        _plain(cell.model) != _plain(_student(claim)),
        steps,
        epochs,
        cell.starts_from_teacher,
        len(line.given.values),
        len(line.failures),
        line.method,
        line.timesteps,
        line.backend,
    )


def _blocking(claim: Claim, cell: Cell) -> Iterable[str]:
    """Yield in what a cell is not the claim's, so that their numbers do not compare."""
    if _plain(cell.model) != _plain(_student(claim)):
        yield f"student {_student(claim)}, here {cell.model}"
    if claim.timesteps is None:
        yield f"T not said, here {cell.timesteps}"
    elif claim.timesteps != cell.timesteps:
        yield f"T = {claim.timesteps}, here {cell.timesteps}"
    if claim.epochs is None:
        yield f"epochs not said, here {_epochs(cell)}"
    elif claim.epochs != cell.recipe.epochs or cell.recipe.train_samples:
        yield f"{claim.epochs} epochs, here {_epochs(cell)}"
    teacher = _teacher(claim)
    ours = cell.teacher.model if cell.teacher else "none"
    if teacher and _plain(teacher) != _plain(ours):
        yield f"teacher {teacher}, here {ours}"


def _beside(card: MethodCard, claim: Claim, line: Line, cell: Cell) -> Iterable[str]:
    """Yield in what else a cell is not the claim's, which may move its number."""
    if card.uses_teacher and not _teacher(claim):
        yield f"teacher not said, here {cell.teacher.model if cell.teacher else 'none'}"
    if card.setting == "ours":
        yield "neurons, norms and read-out are the suite's"
    if card.loss == "reconstructed":
        yield "loss reconstructed"
    if values := line.given.values:
        yield f"set here: {', '.join(values)}"
    if cell.starts_from_teacher:
        yield "started from the teacher's weights"


def _epochs(cell: Cell) -> str:
    some = cell.recipe.train_samples
    return f"{cell.recipe.epochs}{f' of {some:,} images' if some else ''}"


def _student(claim: Claim) -> str:
    return claim.architecture.partition(", teacher ")[0]


def _teacher(claim: Claim) -> str:
    return claim.architecture.partition(", teacher ")[2]


def _plain(name: str) -> str:
    """Return a network's name without the signs that papers and files write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def summary(held: Sequence[Held], /) -> str:
    """Return how many claims met which verdict, a sentence."""
    counted = Counter(one.verdict for one in held)
    told = ", ".join(f"{counted[each]} {each}" for each in get_args(Verdict) if counted[each])
    methods = len({one.method for one in held})
    return f"{len(held)} published results of {methods} method{'s' * (methods != 1)}: {told}."


def on_data(held: Iterable[Held], /) -> list[Held]:
    """Return the claims about data that the board is on, run or not."""
    return [one for one in held if one.has_data]


def off_data(held: Iterable[Held], /) -> str:
    """Return how many claims are about other data, a sentence; empty if none is."""
    counted = Counter(one.claim.dataset for one in held if not one.has_data)
    if not counted:
        return ""
    told = ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
    return (
        f"Not run, for they are about other data than these: {told}. `python -m harness claims` "
        "holds every claim against all that is published."
    )


def explanation(margin: float = EQUIVALENCE_MARGIN, /) -> str:
    """Return how a claim is judged, in words."""
    return (
        "Ours is the line whose student, T and epochs are nearest to the claim's, whatever it "
        "scored. Where student, T, epochs or a teacher that the source names are other than "
        "claimed, or the source does not say T or epochs, numbers do not compare. Else "
        f"*reproduced*: two one-sided t tests over seeds show ours within ±{100 * margin:g} "
        "points of the claim (5 %); *lower* or *higher*: they do not, and the 95 % interval of "
        "the difference excludes 0; *within noise*: neither. A question mark: fewer than "
        f"{statistics.MIN_SEEDS_FOR_CLAIMS} seeds. Claims are taken as printed, often a best "
        "epoch of one run; no claim is a number of ours."
    )


def columns() -> list[Column[Held]]:
    """Return what a table of claims says of each."""
    return [
        Column("method", lambda one: named(one.method), left=True),
        Column("data set", lambda one: words.text(one.claim.dataset), left=True),
        Column("student", lambda one: words.text(one.claim.architecture), left=True),
        Column(
            "T",
            lambda one: words.UNKNOWN if one.claim.timesteps is None else str(one.claim.timesteps),
        ),
        Column(
            "epochs",
            lambda one: words.UNKNOWN if one.claim.epochs is None else str(one.claim.epochs),
        ),
        Column("claimed %", lambda one: words.percent(one.claim.accuracy, places=2)),
        Column("ours %", _ours),
        Column("ours - claimed", _difference),
        Column("ours is", _where, left=True),
        Column("verdict", lambda one: one.said, left=True),
        Column("how the recipes differ", lambda one: words.text(_why(one)), left=True),
        Column("source", lambda one: words.text(one.claim.where), left=True),
    ]


def to_markdown(held: Sequence[Held], /) -> str:
    """Return the claims as a table."""
    return table(held, columns())


def _ours(one: Held) -> str:
    return words.UNKNOWN if one.ours is None else one.ours.told


def _difference(one: Held) -> str:
    """Return the difference where the numbers compare; elsewhere it would mean nothing."""
    return words.points(one.equivalence.difference) if one.equivalence else words.UNKNOWN


def _where(one: Held) -> str:
    line, cell = one.ours, one.cell
    if line is None or cell is None:
        return words.UNKNOWN
    asked = f"{cell.suite} {cell.model} {cell.recipe_name} T={cell.timesteps}"
    return words.text(f"{asked} {line.backend}, seeds: {line.outcome()}")


def _why(one: Held) -> str:
    if one.ours is None:
        return one.why
    told = (*(["one seed"] if one.why == "one seed" else []), *one.differs)
    return "; ".join(told) or words.UNKNOWN


def to_plain(one: Held, /) -> dict[str, Any]:
    """Return everything known of a claim and its fate, for programs."""
    claim, line, cell = one.claim, one.ours, one.cell
    test = one.equivalence
    mean = line.accuracy if line else None
    interval = (line and line.interval) or (None, None)
    return {
        "method": one.method,
        "loss": one.card.loss,
        "setting": one.card.setting,
        "claim": {**vars(claim)},
        "verdict": one.verdict,
        "provisional": test.provisional if test else None,
        "why": one.why,
        "differs": list(one.differs),
        "ours": line
        and cell
        and {
            "suite": cell.suite,
            "model": cell.model,
            "recipe": cell.recipe_name,
            "epochs": cell.recipe.epochs,
            "timesteps": cell.timesteps,
            "backend": line.backend,
            "method": line.method,
            "accuracy": mean and mean.value,
            "low": interval[0],
            "high": interval[1],
            "seeds": mean and mean.n,
        },
        "difference": test and test.difference.value,
        "difference_low": test and test.difference.interval and test.difference.interval.low,
        "difference_high": test and test.difference.interval and test.difference.interval.high,
        "margin": test and test.margin,
        "p_tost": test and test.p,
    }
