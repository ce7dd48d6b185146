"""A way to learn from a teacher, and what its paper says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from harness.training.lesson import Lesson
    from harness.training.student import Student

Fidelity = Literal["exact", "reconstructed"]
Setting = Literal["authors", "ours"]
Track = Literal["scratch", "inherited", "conversion", "self", "continuous"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published result.

    Attributes:
        accuracy: A fraction, not per cent.
        dataset: Our name of the data set.
        architecture: As the paper names the student.
        timesteps: ``None`` if the source does not say.
        where: Table, figure or abstract.
        epochs: Of the student's training; ``None`` if the source does not say.
        url: Where a reader can open that source.
    """

    accuracy: float
    dataset: str
    architecture: str
    timesteps: int | None
    where: str
    epochs: int | None = None
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodCard:
    """What a method file says of itself, as literals: it is read without importing.

    Attributes:
        title: The idea in one line.
        citation: Authors, title, venue, year.
        loss: ``exact`` if its formulas and constants are the authors'.
        setting: ``authors`` if neurons, norms, start and read-out are theirs too, whatever
            the budget; ``ours`` if the loss stands on the suite's student.
        track: What the student is given, and so whom it is compared with: labels and a
            teacher's answers alone (``scratch``), the teacher's weights at the start
            (``inherited``), its weights without a gradient through spikes
            (``conversion``), no larger teacher (``self``), or spike times instead of steps
            (``continuous``).
        reconstructed: What of the loss is ours where the sources are silent, a phrase each.
        claims: Published results, never ours.
        signals: What of the teacher is used: logits, features, weights, ...
        uses_teacher: Whether it needs one at all.
        teacher_learns: Whether the teacher changes while it teaches.
        extras: Modules that exist in training alone, a phrase each.
        weight: The parameter that weighs its loss against the labels': it is tuned beside
            the learning rate. Empty if there is none.
        departures: Where we knowingly differ from the authors' code, and why.
        control: Whether it proposes nothing, and others have to be told from it.
        needs: What its formulas mean: of a task ``classes``, one a sample and told by a
            softmax, ``frames``, classes of each, or ``boxes``; of samples ``maps``, features with
            a height and a width, or ``tokens``. Elsewhere it is skipped.
        reads_unlabelled: Whether it learns something before the task that needs no labels, from
            the suite's unlabelled text if it names one.
    """

    title: str
    citation: str
    loss: Fidelity
    setting: Setting = "ours"
    track: Track = "scratch"
    reconstructed: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    signals: tuple[str, ...] = ("logits",)
    uses_teacher: bool = True
    teacher_learns: bool = False
    extras: tuple[str, ...] = ()
    weight: str = ""
    departures: tuple[str, ...] = ()
    control: bool = False
    needs: tuple[str, ...] = ()
    reads_unlabelled: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is.

    Attributes:
        samples: Seen so far, with repetition.
        budget: Samples that may be seen.
        loss: Of the last batch.
    """

    samples: int
    budget: int
    loss: float


class Method(Protocol):
    """A frozen dataclass. One file under ``suites/methods/`` provides one, as ``METHOD``.

    Its fields are the parameters, with the paper's values as literal defaults.
    """

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Change ``student`` by spending ``lesson``; yield after every step.

        Whoever iterates may stop asking. Extra modules die with the iterator.

        Raises:
            UnsupportedError: If the method does not mean such a student, with the reason.
        """
        ...


@runtime_checkable
class Realises(Protocol):
    """A method whose network at inference is not the suite's neuron in every slot.

    What it puts there holds all it learns in the state dict: the same weights are loaded
    into a student that another simulator realised.
    """

    def realise(self, student: Student, /) -> None:
        """Exchange modules of ``student.network``, before anything is trained.

        Raises:
            UnsupportedError: If the method does not mean such a student, with the reason.
        """
        ...
