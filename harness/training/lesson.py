"""The batches, the teacher's answers and the budget: the same for every method."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from harness.contracts.errors import BudgetError, PlaceError, SpecError, UnsupportedError
from harness.contracts.model import Output
from harness.contracts.recipe import Precision, Recipe
from harness.contracts.task import Losses
from harness.data.encoding import normalised
from harness.neurons.precision import widened
from harness.training import bfloat16
from harness.training.answers import Answers
from harness.training.checkpoint import Keeper, Stateful
from harness.training.losses.classification import ClassLosses
from harness.training.team import ALONE, Team


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What student and teacher look at in one step.

    Attributes:
        stimulus: As the student sees it, ``[N, ...]``, or frames in time ``[T, N, C, H, W]``.
        labels: The task's targets, ``[N, ...]``; of classes int64 ``[N]``.
        indices: Which training samples these are, int64 ``[N]``.
        images: The same samples before normalisation or encoding; images in [0, 1].
        drawn: ``images`` as they came; another tensor once a method has changed them.
        place: The number of the step, int64 ``[1]``, on the device.
    """

    stimulus: Tensor
    labels: Tensor
    indices: Tensor
    images: Tensor
    drawn: Tensor | None = None
    place: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained artificial network, frozen, with the normalisation it was trained on.

    Attributes:
        network: ReLU realisation, in evaluation mode.
        mean: Of its training images, by channel, in units of [0, 1]; empty for no images.
        std: Likewise.
    """

    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Let it leave padding out, if it can: nobody measures what it costs."""
        if hasattr(self.network, "packs"):
            self.network.packs = True  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module

    @property
    def tap_channels(self) -> Mapping[str, int]:
        """How many channels each tap has."""
        channels: Mapping[str, int] = self.network.tap_channels  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module
        return channels

    def see(self, images: Tensor, taps: Sequence[str] = ()) -> Output:
        """Answer ``images`` in [0, 1]; logits ``[1, N, K]``, without a gradient."""
        with torch.no_grad():
            answer: Output = self.network(self.stimulus(images), 1, taps)
        return answer

    def stimulus(self, images: Tensor) -> Tensor:
        """Return what the network is given for ``images``, ``[N, C, H, W]``."""
        stimulus = normalised(images, self.mean, self.std)
        # Of frames: it was trained on all events in one.
        return stimulus.sum(0) if stimulus.dim() == 5 else stimulus

    def tail(
        self,
        name: str,
        feature: Tensor,  # [N, ...]
    ) -> Tensor:
        """Return the logits ``[N, K]`` that follow from ``feature`` as the tap ``name``.

        The gradient flows through to ``feature``.
        """
        logits: Tensor = self.network.tail(name, feature.unsqueeze(0))  # type: ignore[operator]  # nn.Module types every attribute as Tensor or Module
        return widened(logits[0])


@dataclass(frozen=True)
class Answer:
    """The teacher's view of one batch, looked up when first asked for."""

    _lesson: "Lesson"
    _batch: Batch
    _taps: tuple[str, ...]

    @cached_property
    def _output(self) -> Output:
        if self._lesson.teacher is None:
            raise SpecError("this method's card says uses_teacher=False, yet it asks the teacher")
        with self._lesson.autocast():
            look = partial(self._lesson.teacher.see, self._batch.images, self._taps)
            return self._lesson.team.answered(look)

    @cached_property
    def logits(self) -> Tensor:
        """Out of reduced precision, ``[N, K]``."""
        answers, place = self._lesson.answers, self._batch.place
        if answers is None or place is None or self._taps or not self._is_the_lessons_own(answers):
            return self._computed()
        return answers.at(place, self._computed)

    def _is_the_lessons_own(self, answers: Answers) -> bool:
        """Return whether neither the images nor the teacher are others than were given."""
        return self._batch.images is self._batch.drawn and self._lesson.teacher is answers.teacher

    def _computed(self) -> Tensor:
        return widened(self._output.logits[0])

    def now(
        self,
        numbers: Tensor,  # [steps]
    ) -> Tensor:
        """Return the one of this step, ``[]``: a loss that asks Python for it has no graph."""
        assert self._batch.place is not None
        return numbers.index_select(0, self._batch.place)[0]

    @property
    def task(self) -> Losses:
        """The lesson's, for a loss that is given no lesson."""
        return self._lesson.task

    @property
    def taps(self) -> Mapping[str, Tensor]:
        """Each ``[N, ...]``."""
        return {name: value[0] for name, value in self._output.taps.items()}

    def places(
        self,
        maps: Tensor,  # [N, C, H, W]; of texts [N, C, L, 1]
    ) -> Tensor:
        """Return what there is of ``maps``: all, or each token of the texts, ``[tokens, C, 1, 1]``.

        So a mean over places, and a norm's over samples and places, has no padding in it.
        """
        if self._lesson.pad is None:
            return maps
        there = self._tokens != self._lesson.pad  # [N, L]
        return maps.squeeze(-1).mT[there][..., None, None]

    def spread(
        self,
        maps: Tensor,  # [..., N, C, H, W]; of texts [..., N, C, L, 1], zero at padding
    ) -> Tensor:
        """Return ``maps`` so that their mean over all places is that over what there is."""
        if self._lesson.pad is None:
            return maps
        there = (self._tokens != self._lesson.pad).to(maps.dtype)
        return maps / there.mean(1)[:, None, None, None]

    @property
    def _tokens(self) -> Tensor:
        return self._lesson.team.whole(self._batch.images)


@dataclass(kw_only=True)
class Account:
    """What a training has drawn from its lesson. The lesson writes it, never a method.

    Attributes:
        samples: Drawn so far, by purpose; the student's own are those of no purpose, "".
        step: How a GPU ran the steps: as one graph, or eagerly and why; None is not said.
        limit: Samples that may be drawn for one purpose; None is without a limit.
    """

    samples: Counter[str] = field(default_factory=Counter)
    step: str | None = None
    limit: int | None = None

    def draw(self, samples: int, purpose: str) -> None:
        """Note that so many more were drawn.

        Raises:
            BudgetError: If that is more than the limit.
        """
        self.samples[purpose] += samples
        if self.limit is not None and self.samples[purpose] > self.limit:
            raise BudgetError(
                f"this method draws more than the {self.limit} samples of its lesson"
                + (f" for {purpose!r}" if purpose else "")
                + "; a further pass is asked for by name: lesson.further('what for')"
            )


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Everything a method may spend, in a fixed order.

    Iterating yields the batches of all epochs, once; nothing in a method changes what comes.

    Attributes:
        recipe: Optimiser, schedule and precision.
        epochs: One iterable of batches an epoch.
        steps: How many batches there are in all.
        budget_samples: How many samples they hold.
        teacher: None for a method that uses none.
        device: Where the batches are.
        answers: The teacher's logits of the whole lesson, where they are kept.
        account: What was drawn.
        purpose: What a further pass is for; empty for the student's own.
        keeper: Lets the training go on after it was cut off; None begins anew.
        task: What an answer is held against labels, and against the teacher's, with.
        team: With whom each batch is shared.
        pad: The token that is none, of texts; None where samples are no texts.
        unlabelled: Epochs as many and as long, of the suite's unlabelled text; None has none.
        labelled: Whether batches come with their labels, else with -1 in the place of each.
    """

    recipe: Recipe
    epochs: Iterable[Iterable[Batch]]
    steps: int
    budget_samples: int
    teacher: Teacher | None
    device: torch.device
    answers: Answers | None = None
    account: Account = field(default_factory=Account)
    purpose: str = ""
    keeper: Keeper | None = None
    task: Losses = field(default_factory=ClassLosses)
    team: Team = ALONE
    pad: int | None = None
    unlabelled: Iterable[Iterable[Batch]] | None = None
    labelled: bool = True

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch of every epoch.

        Raises:
            BudgetError: If the account allows no more.
        """
        return self.resumable()

    def resumable(self, *kept: Stateful) -> Iterator[Batch]:
        """Yield every batch of every epoch to a training whose whole state is in ``kept``.

        If it was cut off, ``kept`` are given the state they had, and the batches that they
        have seen are passed over. What counts steps asks ``step``.

        Raises:
            BudgetError: If the account allows no more.
            PlaceError: If several devices share each batch.
        """
        if self.team.size > 1:
            raise PlaceError(
                "this method looks at batches itself, and of one that several devices share it "
                "would see a part; run it on one"
            )
        return self.shares(*kept)

    def shares(self, *kept: Stateful) -> Iterator[Batch]:
        """Yield what ``resumable`` does, of each batch the share of this device.

        For who puts the whole together again, as ``descend`` does.

        Raises:
            BudgetError: If the account allows no more.
        """
        gone = self.keeper.resume(self.purpose, kept) if self.keeper else 0
        self.account.draw(gone * self._batch_samples, self.purpose)
        places = torch.arange(self.steps, device=self.device).unsqueeze(1)
        for number, batch in self._batches(gone):
            self.account.draw(self.team.size * len(batch.labels), self.purpose)
            labels = batch.labels if self.labelled else torch.full_like(batch.labels, -1)
            place = places[number] if number < self.steps else None
            yield replace(batch, labels=labels, place=place)
            if self.keeper:
                last = number + 1 == self.steps
                self.keeper.step(self.purpose, number + 1, kept, last=last)
        if self.answers is not None:
            self.answers.finish()

    def _batches(self, gone: int) -> Iterator[tuple[int, Batch]]:
        """Yield the batches after the first ``gone``, each with its number from 0."""
        an_epoch = self.steps // max(1, self.recipe.epochs)
        number = 0
        for epoch in self.epochs:
            if an_epoch and number + an_epoch <= gone:  # its own random numbers go with it
                number += an_epoch
                continue
            for batch in epoch:
                if number >= gone:
                    yield number, batch
                number += 1

    @property
    def _batch_samples(self) -> int:
        return self.budget_samples // max(1, self.steps)

    @property
    def samples(self) -> int:
        """How many samples were given so far, for this purpose."""
        return self.account.samples[self.purpose]

    @property
    def step(self) -> int:
        """How many batches were given so far, for this purpose: 1 in the first step."""
        return self.samples // max(1, self._batch_samples)

    def further(self, purpose: str, *, unlabelled: bool = False) -> "Lesson":
        """Return the same lesson for something that is not the student: another network.

        Each purpose may be had once; the row tells them and their samples. ``unlabelled`` keeps
        the labels back, and is of the suite's unlabelled text if it names one.
        """
        again = replace(self, purpose=purpose, labelled=self.labelled and not unlabelled)
        if not unlabelled or self.unlabelled is None:
            return again
        return replace(again, epochs=self.unlabelled, answers=None)

    @property
    def guide(self) -> Teacher:
        """The teacher, for a method that is nothing without one.

        Raises:
            UnsupportedError: If there is none.
        """
        if self.teacher is None:
            raise UnsupportedError("this method learns from a teacher and the lesson has none")
        return self.teacher

    def answer(self, batch: Batch, taps: Sequence[str] = ()) -> Answer:
        """Return the teacher's view of ``batch``; the teacher runs only if it is read."""
        return Answer(self, batch, tuple(taps))

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which forward passes run at the recipe's precision."""
        return autocast(self.device, self.recipe.precision)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return the context for forward passes at ``precision``."""
    reduced = precision == "bfloat16"
    if reduced and device.type == "cpu" and not bfloat16.is_native():
        return bfloat16.through_float32()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced)


@contextmanager
def computing(precision: Precision) -> Iterator[None]:
    """Let all that a job makes be as wide as ``precision`` asks: data, weights, buffers.

    What a method makes for itself is then of the student's type without a word about it.
    Random numbers are drawn in that type too: of normal ones, float32's last digits depend
    on the processor and float64's do not. It is torch's default type, one for the whole
    process, and as it was again afterwards.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if precision == "float64" else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
