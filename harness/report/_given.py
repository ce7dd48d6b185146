"""What a student was given beyond labels and the suite's budget: the price of its accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness import discovery
from harness.contracts.cell import START, Cell
from harness.contracts.method import MethodCard
from harness.contracts.recipe import Recipe
from harness.contracts.row import Metrics

_WEIGHTS = "weights"


@dataclass(frozen=True, kw_only=True)
class Given:
    """What one method's student was given. None is unknown.

    Attributes:
        signals: What of the teacher was used, but for weights; empty without a teacher.
        teacher_passes: How often the teacher answered for the training samples.
        teacher_learns: Whether the teacher was trained beside the student.
        weights: Whether the student had weights of the teacher.
        modules: What was trained beside the student and thrown away, a phrase each.
        extra_passes: Through the training samples for another network than the student.
        unlabelled: What of other text it could read without labels; empty if nothing.
        more_parameters: Those it has at inference beyond the suite's baseline.
        values: Learning rate and parameters that are neither the suite's nor the method's
            default, each with its value.
    """

    signals: tuple[str, ...] | None
    teacher_passes: float | None
    teacher_learns: bool | None
    weights: bool | None
    modules: tuple[str, ...] | None
    extra_passes: float | None
    values: tuple[str, ...]
    unlabelled: str = ""
    more_parameters: float | None = None

    def __str__(self) -> str:
        """Say it in one line; empty if what was given is unknown."""
        return "; ".join(self._phrases()) or ("nothing" if self.signals is not None else "")

    def _phrases(self) -> Iterable[str]:
        if self.signals:
            learns = " that learns" * bool(self.teacher_learns)
            passes = [] if self.teacher_passes is None else [_plural(self.teacher_passes, "pass")]
            yield f"teacher{learns} ({', '.join([*self.signals, *passes])})"
        if self.weights:
            yield "teacher's weights"
        if self.modules:
            yield _plural(len(self.modules), "extra module")
        if self.extra_passes:
            yield _plural(self.extra_passes, "extra pass")
        if self.unlabelled:
            yield f"unlabelled text ({self.unlabelled})"
        if self.more_parameters:
            than = "more" if self.more_parameters > 0 else "fewer"
            yield f"{abs(self.more_parameters):,.0f} {than} parameters at inference"
        if self.values:
            yield f"set: {', '.join(self.values)}"


def _plural(count: float, what: str) -> str:
    ending = "" if count == 1 else "es" if what.endswith("ss") else "s"
    return f"{count:.3g} {what}{ending}"


def given(
    card: MethodCard | None,
    cell: Cell,
    measured: Sequence[Metrics],
    /,
    *,
    recipe: Recipe | None,
    samples_a_pass: float | None,
) -> Given:
    """Return what the student of ``cell`` was given.

    Args:
        card: What its method says of itself; without one much is unknown.
        cell: What was asked.
        measured: What its seeds measured.
        recipe: The suite's.
        samples_a_pass: Training samples that one pass through them sees.
    """
    signals = None if card is None else tuple(one for one in card.signals if one != _WEIGHTS)
    answers = bool(card and card.uses_teacher and signals)
    return Given(
        signals=signals if answers or signals is None else (),
        teacher_passes=_passes(measured, samples_a_pass, "train_samples") if answers else None,
        teacher_learns=None if card is None else card.teacher_learns,
        weights=_has_weights(card, cell),
        modules=None if card is None else card.extras,
        extra_passes=_passes(measured, samples_a_pass, "extra_samples"),
        values=(*_rate(cell, recipe), *chosen(cell)),
        unlabelled=str(cell.unlabelled or ""),
    )


def chosen(cell: Cell, /) -> tuple[str, ...]:
    """Return the parameters of a cell that are not its method's defaults, with their values."""
    known = cell.method in discovery.names("methods")
    defaults = discovery.method_parameters(cell.method) if known else {}
    return tuple(
        f"{name} {value}"
        for name, value in sorted(cell.params.items())
        if name != START and defaults.get(name, value) != value
    )


def _rate(cell: Cell, recipe: Recipe | None) -> Iterable[str]:
    rate = cell.recipe.learning_rate
    if recipe is not None and rate != recipe.learning_rate:
        yield f"learning rate {rate:g}"


def _has_weights(card: MethodCard | None, cell: Cell) -> bool | None:
    if cell.starts_from_teacher:
        return True
    return None if card is None else card.uses_teacher and _WEIGHTS in card.signals


def _passes(measured: Sequence[Metrics], samples_a_pass: float | None, what: str) -> float | None:
    seen = [getattr(one, what) for one in measured]
    known = [sum(one.values()) if isinstance(one, dict) else one for one in seen]
    if not known or not samples_a_pass or None in known:
        return None
    return fmean(known) / samples_a_pass
