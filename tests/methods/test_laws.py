"""The laws of methods notice methods that only look like ones."""

from collections.abc import Callable, Iterator

import pytest
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend
from harness.training.transfer import copy_weights
from suites.methods.direct import METHOD as DIRECT
from tests.methods import laws


def _labels(output: Output, _answer: Answer, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.logits.mean(0), labels)


def _spend(lesson: Lesson, student: Student | None = None) -> Iterator[Progress]:
    """Spend the lesson without an optimiser; show the student its batches if there is one."""
    samples = 0
    for batch in lesson:
        if student is not None:
            student.network.train()(batch.stimulus, student.timesteps)
        samples += len(batch.labels)
        yield Progress(samples=samples, budget=lesson.budget_samples, loss=1.0)


class Refuses:
    """Means nothing at all."""

    def fit(self, _student: Student, _lesson: Lesson, /) -> Iterator[Progress]:
        raise UnsupportedError("not today")


class RefusesToRealise(Refuses):
    """Means nothing at all, and says so before anything is trained."""

    def realise(self, _student: Student, /) -> None:
        raise UnsupportedError("not today")


class RefusesWithoutAWord:
    """Means a few steps, and does not say what is wrong with one."""

    def fit(self, _student: Student, _lesson: Lesson, /) -> Iterator[Progress]:
        raise UnsupportedError


class Idle:
    """Spends its lesson and learns nothing."""

    def fit(self, _student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        return _spend(lesson)


class OnlyStatistics:
    """Looks at the batches in training mode, so that running statistics move."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        return _spend(lesson, student)


class OnlyCopies:
    """Takes the teacher's weights and rests."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        copy_weights(student, lesson.guide)
        return _spend(lesson, student)


class OnlyDecays:
    """Descends a loss without a slope, so that decay alone moves the weights."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        return descend(student, lesson, lambda *given: 0 * _labels(*given))


class OnlyNorms:
    """Descends with all but the norms held."""

    held: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        held = [module for module in student.network.modules() if isinstance(module, self.held)]
        for module in held:
            module.requires_grad_(requires_grad=False)
        yield from descend(student, lesson, _labels)
        for module in held:
            module.requires_grad_(requires_grad=True)


class OnlyTheClassifier(OnlyNorms):
    """Descends with all convolutions held."""

    held = (nn.Conv2d,)


class Forgets:
    """Has a module beside the student that no loss reaches."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        return descend(student, lesson, _labels, also_train=[nn.Linear(2, 3)])


class ForgetsInItsOwnWay(Forgets):
    """The same, through no name that a test could exchange."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        spend: Callable[..., Iterator[Progress]] = descend
        return spend(student, lesson, self.loss, also_train=[nn.Linear(2, 3)])

    loss = staticmethod(_labels)


class LetsItDecay:
    """Has a module beside the student to which the loss has no slope."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        extra = nn.Linear(2, 3)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            unused = 0 * sum(weight.sum() for weight in extra.parameters())
            return _labels(output, answer, labels) + unused

        return descend(student, lesson, loss, also_train=[extra])


class TeachesTheTeacher:
    """Trains the wrong network as well."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        guide = lesson.guide.network
        yield from descend(student, lesson, _labels)
        nn.init.zeros_(guide.get_parameter("fc.bias"))


@pytest.mark.parametrize("method", [Refuses(), RefusesToRealise()])
def test_a_method_that_refuses_everything_fails(method: Method) -> None:
    with pytest.raises(UnsupportedError, match="not today"):
        laws.every_weight_learns(method)
    with pytest.raises(AssertionError, match="refuses everything: not today"):
        laws.means_something(method, backend="reference")


def test_a_refusal_without_a_reason_fails() -> None:
    with pytest.raises(AssertionError, match="must say why"):
        laws.means_something(RefusesWithoutAWord(), backend="reference")


@pytest.mark.parametrize("method", [Idle(), OnlyStatistics(), OnlyDecays(), OnlyNorms()])
@pytest.mark.parametrize("track", ["scratch", "conversion"])
def test_a_method_that_moves_no_weight_fails(method: Method, track: laws.Track) -> None:
    with pytest.raises(AssertionError, match=r"never moved: \[.*conv.*fc.weight"):
        laws.every_weight_learns(method, track=track)


def test_a_method_that_trains_the_classifier_alone_fails() -> None:
    with pytest.raises(AssertionError, match=r"never moved: \[.*conv"):
        laws.every_weight_learns(OnlyTheClassifier())


def test_copied_weights_that_rest_are_a_conversion_and_no_training() -> None:
    laws.every_weight_learns(OnlyCopies(), track="conversion")
    with pytest.raises(AssertionError, match="never moved"):
        laws.every_weight_learns(OnlyCopies(), track="inherited")


@pytest.mark.parametrize("method", [Forgets(), ForgetsInItsOwnWay(), LetsItDecay()])
def test_a_module_that_no_loss_reaches_fails(method: Method) -> None:
    with pytest.raises(AssertionError, match=r"never move: \[\(3, 2\), \(3,\)\]"):
        laws.extras_learn(method)


def test_a_teacher_that_changes_is_noticed() -> None:
    assert laws.teacher_changes(TeachesTheTeacher())


def test_a_plain_method_obeys_all() -> None:
    laws.every_weight_learns(DIRECT)
    laws.extras_learn(DIRECT)
    laws.means_something(DIRECT, backend="reference")
    assert not laws.teacher_changes(DIRECT)
