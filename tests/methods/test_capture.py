"""Which steps a CUDA graph can hold, asked on the processor; and that replaying is the same."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from harness import discovery
from harness.contracts.errors import BudgetError, DivergedError, UnsupportedError
from harness.contracts.method import Method
from harness.contracts.recipe import Precision
from harness.training import Batch, Lesson, capture, descent
from harness.training.answers import Answers
from harness.training.capture import Replayed, Step, Trace
from harness.training.descent import read
from harness.training.lesson import Account, computing
from suites.methods.direct import METHOD
from tests.methods.small import SAMPLES, SPEC, lesson, on_images, student, teacher

STEPS = 7
# What spends its lesson otherwise than by `descend`, or does something else in every step.
EAGER = {
    "ann2snn": "a conversion: it looks at activations, in a loop of its own",
    "bidirectional": "two networks that learn in turn, in a loop of its own",
    "s4_kd": "the number of steps changes, and silent layers are looked for",
    "stdp": "another layer learns every so many batches, by hooks",
    "threshold_balancing": "a conversion: no gradient, and numbers read from every batch",
    "ttfs": "windows move by what each step has seen",
}
LONGER = {"stdp": 40}  # whose first layer learns in the first ten
_WITHOUT_DEVICE = (torch.arange, torch.empty, torch.full, torch.ones, torch.rand, torch.randint)
_WITHOUT_DEVICE += (torch.randn, torch.randperm, torch.zeros, torch.tensor, torch.eye)
_TO_HOST = {"numpy", "tolist", "cpu", "item", "__bool__", "__float__", "__int__"}


class OnHost(TorchFunctionMode):
    """Notes what an operation on the processor hides: memory of the host used in a step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        # A number that is sent to a device is copied there, which the trace sees on a GPU alone.
        made_here = func in _WITHOUT_DEVICE and (
            func is torch.tensor or "device" not in (kwargs or {})
        )
        if made_here or name in _TO_HOST:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class OnProcessor:
    """Replays by doing the step again, and holds the operations of each against the first."""

    def __init__(self) -> None:
        self.replays = 0
        self.strange: list[str] = []
        self._first: Trace | None = None

    def eager(self, step: Step, batch: Batch, /) -> Tensor:
        return step(batch)

    def record(self, step: Step, batch: Batch, /) -> Callable[[], Tensor]:
        def replay() -> Tensor:
            self.replays += 1
            return step(batch)

        return replay

    def watched(self, gradients: Step) -> Step:
        self._first = None  # of another descent

        def watching(batch: Batch) -> Tensor:
            with OnHost() as host, Trace() as trace:
                loss = gradients(batch)
            self._first = self._first or trace
            self.strange += [*host.found, *filter(None, [trace.unlike(self._first)])]
            return loss

        return watching


@contextmanager
def replaying(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnProcessor]:
    """Let `descend` do on the processor what it does on a GPU."""
    recorder = OnProcessor()

    def step_of(lesson: Lesson, gradients: Step, optimiser: Any, eager: str) -> Step:
        if eager:
            lesson.account.step = f"eager: {eager}"
            return lambda batch: (gradients(batch), optimiser.step())[0]
        return Replayed(recorder.watched(gradients), optimiser.step, recorder, lesson.account)

    with monkeypatch.context() as patched:
        patched.setattr(descent, "_step_of", step_of)
        yield recorder


def _trained(method: Method, course: Lesson) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(0)
    try:
        learner = student(method=method)
    except UnsupportedError:
        learner = student(method=method, timesteps=1)
    losses = [progress.loss for progress in method.fit(learner, course)]
    return losses, learner.network.state_dict()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", on_images())
def test_a_graph_holds_the_step_and_its_replay_is_the_step(
    name: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = cast(Method, discovery.load("methods", name))
    plain, course = (
        replace(given, recipe=replace(given.recipe, precision=precision))
        for given in (lesson(teacher(), steps=LONGER.get(name, STEPS)) for _ in range(2))
    )
    losses, weights = _trained(method, plain)
    with replaying(monkeypatch) as recorder:
        again, replayed = _trained(method, course)
    assert again == losses
    assert all(torch.equal(replayed[key], weights[key]) for key in weights)
    said = course.account.step
    if name in EAGER:
        assert said is None or said.startswith("eager: ")
    else:
        assert said == "one CUDA graph"
        assert recorder.replays % (STEPS - capture.WARM_UP) == 0
        assert recorder.replays
        assert not recorder.strange


def _replayed(gradients: Step, *, batches: int = 6) -> Account:
    """Return what is said of a step that is tried on so many batches."""
    account = Account()
    step = Replayed(gradients, lambda: None, OnProcessor(), account)
    for batch in lesson(None, steps=batches):
        step(batch)
    return account


@pytest.mark.parametrize(
    ("gradients", "why"),
    [
        (lambda batch: batch.images.mean() * batch.images.max().item(), "reads a value"),
        (lambda batch: batch.images[batch.images > 0.5].mean(), "shape that depends on values"),
        (lambda batch: batch.images.mean() * torch.tensor([2.0]), "makes a constant on the host"),
        (
            lambda batch: batch.images.mean() * len(torch.tensor(2.0).to("meta").shape),
            "copies between devices",
        ),
        (
            lambda batch: batch.images.mean() * torch.rand(1, generator=torch.Generator()),
            "draws on the host",
        ),
    ],
)
def test_a_step_that_no_graph_holds_stays_eager_and_says_why(gradients: Step, why: str) -> None:
    said = _replayed(gradients).step
    assert said is not None
    assert said.startswith("eager: aten.")
    assert why in said


def test_a_step_whose_python_differs_from_the_one_before_stays_eager() -> None:
    weights = iter(range(10))
    said = _replayed(lambda batch: batch.images.mean() * next(weights)).step
    # The third step multiplies by 2 where the second multiplied by 1.
    assert said is not None
    assert re.search(r"aten.mul.Tensor\(float32\[\], 2\) where the step before had .*, 1\)", said)
    assert _replayed(lambda batch: batch.images.mean()).step == "one CUDA graph"


def test_one_number_of_the_host_may_be_told_to_a_kernel() -> None:
    step = _replayed(lambda batch: torch.gt(batch.images, torch.as_tensor(0.0)).float().mean())
    assert step.step == "one CUDA graph"


@pytest.mark.parametrize("kind", ["lif", "if", "plif"])
def test_a_graph_holds_a_step_of_norse(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    course = lesson(teacher(), steps=STEPS)
    learner = student(method=METHOD, backend="norse", spec=replace(SPEC, kind=kind))
    with replaying(monkeypatch):
        list(METHOD.fit(learner, course))
    assert course.account.step == "one CUDA graph"


def on_device(device: torch.device, course: Lesson) -> Lesson:
    def moved(batch: Batch) -> Batch:
        parts = capture._parts(batch)
        return replace(batch, **{name: part.to(device) for name, part in parts.items()})

    course.guide.network.to(device)
    epochs = cast("Any", course.epochs)
    return replace(course, device=device, epochs=[[moved(one) for one in each] for each in epochs])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="a graph is captured on a GPU alone")
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("backend", ["spikingjelly", "norse", "reference"])
def test_on_a_gpu_replayed_steps_are_the_eager_ones_bit_for_bit(
    backend: str, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cuda:0")
    method = cast("Any", discovery.load("methods", "logit_kd"))

    def trained() -> tuple[str | None, list[float], dict[str, Tensor]]:
        with computing(precision):
            learner = student(method=method, backend=backend)
            learner.network.to(device)
            course = on_device(device, lesson(teacher(), steps=12))
            course = replace(course, recipe=replace(course.recipe, precision=precision))
            losses = [progress.loss for progress in method.fit(learner, course)]
        return course.account.step, losses, learner.network.state_dict()

    torch.use_deterministic_algorithms(mode=True)
    try:
        said, losses, weights = trained()
        step_of = descent._step_of
        monkeypatch.setattr(descent, "_step_of", lambda *those: step_of(*those[:3], "asked for"))
        _, again, eager = trained()
    finally:
        torch.use_deterministic_algorithms(mode=False)
    assert said == "one CUDA graph"
    assert losses == again
    assert all(torch.equal(weights[name], eager[name]) for name in weights)


def test_integers_may_index_in_a_graph() -> None:
    assert _replayed(lambda batch: batch.images[batch.indices].mean()).step == "one CUDA graph"


def test_a_recording_that_fails_leaves_the_step_eager_and_the_random_numbers_alone() -> None:
    class Refusing(OnProcessor):
        def record(self, _step: Step, _batch: Batch, /) -> Callable[[], Tensor]:
            torch.rand(3)
            raise RuntimeError("operation not permitted\nand much more")

    account = Account()
    step = Replayed(lambda batch: batch.images.mean(), lambda: None, Refusing(), account)
    torch.manual_seed(0)
    losses = [step(batch) for batch in lesson(None, steps=5)]
    drawn = torch.rand(1)
    assert account.step == "eager: not captured: operation not permitted"
    assert len(losses) == 5
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


def test_what_is_replayed_looks_at_the_batch_that_is_there() -> None:
    course = lesson(None, steps=6)
    step = Replayed(lambda batch: batch.images.mean(), lambda: None, OnProcessor(), Account())
    for batch in course:
        assert step(batch) == batch.images.mean()
    smaller = replace(batch, images=batch.images[:2], stimulus=batch.stimulus[:2])
    assert step(smaller) == smaller.images.mean()


def test_losses_arrive_in_order_each_so_many_steps_late() -> None:
    begun: list[int] = []

    def steps() -> Iterator[tuple[int, Tensor]]:
        for number in range(1, 6):
            begun.append(number)
            yield 10 * number, torch.tensor(float(number))

    told = []
    for samples, loss in read(steps(), late=2):
        told.append((samples, loss, len(begun)))
    assert told == [(10, 1.0, 3), (20, 2.0, 4), (30, 3.0, 5), (40, 4.0, 5), (50, 5.0, 5)]
    begun.clear()
    assert next(read(steps(), late=0)) == (10, 1.0)
    assert begun == [1]


def test_a_late_loss_that_is_not_finite_names_its_own_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course = lesson(None, steps=6)
    (batches,) = course.epochs
    third = [*batches][2]
    third.stimulus.fill_(torch.nan)
    with replaying(monkeypatch), pytest.raises(DivergedError, match=f"after {3 * SAMPLES} samples"):
        list(METHOD.fit(student(), course))


class Counting(torch.nn.Module):
    """A teacher that counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.asked = teacher().network, 0

    def forward(self, *given: Any) -> Any:
        self.asked += 1
        return self.network(*given)


def _asked(course: Lesson, *taps: str) -> list[Tensor]:
    return [course.answer(batch, taps).logits for batch in course]


def test_a_teachers_answers_are_computed_once_and_are_the_same() -> None:
    counting = Counting()
    guide = replace(teacher(), network=counting)
    kept: list[Tensor] = []
    answers = Answers(guide, 3, keep=lambda table, _: kept.append(table))
    course = replace(lesson(guide, steps=3), answers=answers)
    first = _asked(course)
    assert counting.asked == 3
    assert torch.equal(kept[0], torch.stack(first))
    assert torch.equal(torch.stack(_asked(lesson(guide, steps=3))), kept[0])
    counting.asked = 0
    known = replace(lesson(guide, steps=3), answers=Answers(guide, 3, known=kept[0]))
    assert torch.equal(torch.stack(_asked(known)), kept[0])
    assert counting.asked == 0
    assert torch.equal(torch.stack(_asked(known, "stage1")), kept[0])
    assert counting.asked == 3


def test_what_answers_took_is_told_and_who_reads_them_is_charged_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = count()  # each answer takes one second between two looks
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    guide = teacher()
    kept: list[tuple[Tensor, float | None]] = []
    answers = Answers(guide, 3, keep=lambda *told: kept.append(told))
    course = replace(lesson(guide, steps=3), answers=answers)
    _asked(course)
    ((table, took_s),) = kept
    assert took_s == 3
    _asked(course)
    assert answers.spared_s == 0  # they were its own
    read = Answers(guide, 3, known=table, took_s=took_s)
    assert read.spared_s == 0
    _asked(replace(lesson(guide, steps=3), answers=read))
    assert read.spared_s == 3
    untold = Answers(guide, 3, known=table)
    _asked(replace(lesson(guide, steps=3), answers=untold))
    assert untold.spared_s is None


def test_answers_to_changed_images_are_not_mistaken_for_those_of_the_lesson() -> None:
    guide = teacher()
    untouched = lesson(guide, steps=2)
    table = torch.stack(_asked(untouched))
    course = replace(untouched, answers=Answers(guide, 2, known=table))
    for batch in course:
        turned = replace(batch, images=batch.images.flip(-1))
        assert torch.equal(course.answer(turned).logits, guide.see(batch.images.flip(-1)).logits[0])


def test_a_lesson_that_was_not_heard_to_the_end_keeps_no_answers() -> None:
    kept: list[Tensor] = []
    guide = teacher()
    answers = Answers(guide, 3, keep=lambda table, _: kept.append(table))
    course = replace(lesson(guide, steps=3), answers=answers)
    for batch in course:
        if int(batch.place) != 1:  # type: ignore[arg-type]  # a lesson says it
            assert course.answer(batch).logits is not None
    assert not kept


def test_more_than_the_lesson_holds_is_refused_and_a_further_pass_is_told() -> None:
    course = replace(lesson(None, steps=2), account=Account(limit=2 * SAMPLES))
    assert len([*course]) == 2
    assert len([*course.further("an assistant")]) == 2
    with pytest.raises(BudgetError, match="more than the 16 samples of its lesson; a further"):
        next(iter(course))
    with pytest.raises(BudgetError, match="for 'an assistant'"):
        next(iter(course.further("an assistant")))
    assert course.account.samples["an assistant"] == 3 * SAMPLES


def test_a_pass_without_labels_has_none_and_is_of_the_text_if_there_is_one() -> None:
    guide = teacher()
    (batches,) = lesson(guide, steps=2).epochs
    own = list(batches)
    course = replace(lesson(guide, steps=2), answers=Answers(guide, 2))
    for text, expected in ((None, own), ([own[::-1]], own[::-1])):
        heard = replace(course, account=Account(limit=2 * SAMPLES), unlabelled=text)
        further = heard.further("reading", unlabelled=True)
        found = list(further)
        assert all((batch.labels == -1).all() for batch in found)
        assert all(torch.equal(a.images, b.images) for a, b in zip(found, expected, strict=True))
        # The teacher's answers are kept by step: those of other batches are others.
        assert (further.answers is None) == (text is not None)
        assert heard.account.samples == {"reading": 2 * SAMPLES}
        assert all((batch.labels >= 0).all() for batch in heard.further("an assistant"))
        assert [batch.labels.tolist() for batch in heard] == [one.labels.tolist() for one in own]


@pytest.mark.parametrize("name", on_images())
def test_kept_answers_are_what_every_method_would_have_been_told(name: str) -> None:
    method = cast(Method, discovery.load("methods", name))
    card = discovery.method_card(name)
    guide = teacher()
    table = torch.stack(_asked(lesson(guide, steps=3)))
    plain, told = lesson(teacher(), steps=3), lesson(guide, steps=3)
    # What the harness does not hand out to a method that teaches its teacher.
    if card is None or not card.teacher_learns:
        told = replace(told, answers=Answers(guide, 3, known=table))
    losses, weights = _trained(method, plain)
    again, same = _trained(method, told)
    assert again == losses
    assert all(torch.equal(same[key], weights[key]) for key in weights)
