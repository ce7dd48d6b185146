"""The first stage of a cell: spend the lesson."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import torch

from harness.contracts.dataset import DatasetCard, Samples, Source, Splits
from harness.contracts.errors import DataError, PlaceError, SpecError
from harness.contracts.inputs import Tokens
from harness.contracts.method import Progress
from harness.contracts.recipe import Recipe
from harness.data.batches import Feed
from harness.data.encoding import Presentation
from harness.data.streaming import Stream, batches_for
from harness.engine import starts
from harness.engine.resolve import Resolved
from harness.seeds import torch_seed
from harness.training.answers import Answers
from harness.training.checkpoint import Keeper
from harness.training.lesson import Account, Batch, Lesson, Teacher
from harness.training.student import Student
from harness.training.team import ALONE, Team
from harness.training.track import Start
from harness.training.transfer import copy_weights


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What is known once the lesson is spent.

    Attributes:
        student: Trained.
        presentation: How samples reach it.
        device: Where it is.
        account: What was drawn from the lesson.
        seconds: Wall clock.
        spared_s: What the teacher's answers took another cell, from which this one has them.
    """

    student: Student
    presentation: Presentation
    device: torch.device
    account: Account
    seconds: float
    spared_s: float | None = 0.0


def train(
    found: Resolved,
    splits: Splits[Any],
    teacher: Teacher | None,
    device: torch.device,
    report: Callable[[Progress], None],
    *,
    answers: Callable[[Teacher, int], Answers] | None = None,
    keeper: Keeper | None = None,
    team: Team = ALONE,
) -> Trained:
    """Spend the lesson of a cell, telling ``report`` after every step.

    ``answers`` makes what holds a teacher's logits for so many steps; ``keeper`` lets a
    training go on that was cut off; ``team`` shares each batch.

    Raises:
        UnsupportedError: If simulator, model or method cannot mean it.
        PlaceError: If a team cannot share it.
        DivergedError: If the loss leaves the finite numbers.
        BudgetError: If the method draws more than the lesson holds, or gives its student
            more to start with than its card says.
        SpecError: If it yields nothing that tells of its steps, or draws nothing.
    """
    student, presentation = found.student(device), found.presentation()
    if team.size > 1 and found.encoder is not None:
        raise PlaceError(
            f"the encoder {found.cell.encoder} draws spikes batch by batch, and each of several "
            "devices would draw others; run it on one"
        )
    lesson = lesson_of(
        found.recipe,
        splits.train,
        found.card,
        presentation=presentation,
        seed=found.cell.seed,
        teacher=teacher,
        device=device,
        team=team,
    )
    torch.manual_seed(torch_seed(found.cell.seed, "method"))
    began_s = time.monotonic()
    kept = answers(teacher, lesson.steps) if answers and teacher else None
    text = _text(found, splits, lesson, presentation)
    lesson = replace(lesson, answers=kept, keeper=keeper, task=found.task, unlabelled=text)
    goes_on = keeper is not None and keeper.progress is not None and keeper.progress.samples > 0
    own = found.track in {"scratch", "self"} and not goes_on  # else it was looked at before
    start = Start(student.network) if teacher and own else None
    if found.cell.starts_from_teacher:
        copy_weights(student, lesson.guide)
    if (published := found.cell.starts_from_published) is not None:
        starts.fill(
            student.network,
            starts.found(published),
            model=found.cell.model,
            vocabulary=splits.vocabulary,
        )
    for progress in _steps(found, student, lesson):
        if start is not None and teacher is not None and progress.samples:
            start.refuse_weights_of(teacher.network, student.network)
            start = None
        if keeper is not None:
            keeper.progress = progress
        report(progress)
    if lesson.steps and found.track != "conversion" and not lesson.account.samples[""]:
        raise SpecError(
            f"{found.cell.method} drew no batch of its lesson, and so trained nothing; only what "
            "converts may (track='conversion' on its card)"
        )
    team.refuse_unlike([student.network])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        lesson.account.step = lesson.account.step or "eager: the method has a loop of its own"
    return Trained(
        student=student,
        presentation=presentation,
        device=device,
        account=lesson.account,
        seconds=keeper.seconds if keeper is not None else time.monotonic() - began_s,
        spared_s=kept.spared_s if kept is not None else 0.0,
    )


def _steps(found: Resolved, student: Student, lesson: Lesson) -> Iterable[Progress]:
    told: object = found.method.fit(student, lesson)
    if isinstance(told, Iterable):
        return told
    raise SpecError(
        f"{found.cell.method}.fit must yield a Progress a step, as `yield from descend(...)` does, "
        f"and returned {told!r}"
    )


def lesson_of(
    recipe: Recipe,
    samples: Samples | Source,
    card: DatasetCard,
    /,
    *,
    presentation: Presentation,
    seed: int,
    teacher: Teacher | None,
    device: torch.device,
    team: Team = ALONE,
) -> Lesson:
    """Return what a method may spend: the same batches for every method and simulator."""
    shared = {"rank": team.rank, "world_size": team.size}
    feed = batches_for(recipe, samples, card, seed=seed, device=device, **shared)
    steps = recipe.epochs * len(feed)
    return Lesson(
        recipe=recipe,
        epochs=_Epochs(feed=feed, presentation=presentation, epochs=recipe.epochs),
        steps=steps,
        budget_samples=steps * feed.batch_size,
        teacher=teacher,
        device=device,
        account=Account(limit=steps * feed.batch_size),
        team=team,
        pad=card.input.pad if isinstance(card.input, Tokens) else None,
    )


def _text(
    found: Resolved, splits: Splits[Any], lesson: Lesson, presentation: Presentation
) -> "_Reread | None":
    """Return the batches of the unlabelled text, as many and as large as those of ``lesson``.

    Raises:
        DataError: If it does not fill one.
    """
    if splits.unlabelled is None or not lesson.steps:
        return None
    size = lesson.budget_samples // lesson.steps
    if len(splits.unlabelled) < size:
        raise DataError(
            f"{found.cell.unlabelled} has {len(splits.unlabelled)} sentences that are not held "
            f"out, and a batch {size}; name more text in the suite's `unlabelled`"
        )
    feed = batches_for(
        replace(found.recipe, batch_size=size, train_samples=None),
        splits.unlabelled,
        found.card,
        seed=found.cell.seed,
        device=lesson.device,
        rank=lesson.team.rank,
        world_size=lesson.team.size,
    )
    epochs = found.recipe.epochs
    whole = _Epochs(feed=feed, presentation=presentation, epochs=epochs)
    return _Reread(whole=whole, epochs=epochs, batches=lesson.steps // epochs)


@dataclass(frozen=True, kw_only=True)
class _Epochs:
    """Batches ready for a student, epoch by epoch."""

    feed: Feed | Stream
    presentation: Presentation
    epochs: int

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        return (self.epoch(epoch) for epoch in range(self.epochs))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of one, from 0."""
        stimulus_of = self.presentation.begin(f"epoch/{epoch}")
        for indices, images, labels in self.feed.epoch(epoch):
            yield Batch(
                stimulus=stimulus_of(images),
                labels=labels,
                indices=indices,
                images=images,
                drawn=images,
            )


@dataclass(frozen=True, kw_only=True)
class _Reread:
    """A text read over and over, cut into ``epochs`` of so many ``batches``."""

    whole: _Epochs
    epochs: int
    batches: int

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        return (self._cut(epoch * self.batches) for epoch in range(self.epochs))

    def _cut(self, first: int) -> Iterator[Batch]:
        reading, gone = divmod(first, len(self.whole.feed))
        batches = chain.from_iterable(map(self.whole.epoch, count(reading)))
        return islice(batches, gone, gone + self.batches)
