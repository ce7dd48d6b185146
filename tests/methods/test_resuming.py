"""A training that is cut off and goes on ends as one that was not, to the last bit."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from harness import discovery
from harness.contracts.errors import StoreError
from harness.contracts.method import Method, Progress
from harness.training import Lesson, Student, descend
from harness.training.answers import Answers
from harness.training.checkpoint import Checkpoint, Keeper, Pass, Stateful
from harness.training.lesson import Account
from suites.methods.direct import METHOD as DIRECT
from suites.methods.distilling_spikes import DistillingSpikes
from suites.methods.kl_low_latency import KlLowLatency
from suites.methods.qcfs import Qcfs
from suites.methods.tssd import Tssd
from tests.methods.classrooms import IMAGES, TASKS, Classroom
from tests.methods.laws import ready, taught_in
from tests.methods.small import on_images
from tests.methods.test_capture import on_device

STEPS = IMAGES.steps
# Passes that keep nothing, so that a training that was cut off goes through them again.
LOOKS = {
    "hybrid_conversion": {"thresholds"},  # the largest currents of its first batches
    "threshold_balancing": {""},  # likewise, and it trains nothing
}
_CPU = torch.device("cpu")
Ended = tuple[list[float], dict[str, Tensor], Account, Tensor]


class CutOffError(Exception):
    """What a kill is here."""


class Cutting(Keeper):
    """Writes at every step, and ends the training after some of them."""

    def __init__(
        self,
        *,
        after: int | None,
        before: bytes | None = None,
        device: torch.device = _CPU,
    ) -> None:
        self.written: bytes | None = None
        known = Checkpoint.from_bytes(before, device) if before else None
        super().__init__({"cell": "a"}, self._take, every_s=0.0, before=known)
        self._after, self.gone, self.learnt = after, 0, 0
        self.purposes: set[str] = set()
        self.keeping: set[str] = set()

    def _take(self, held: bytes) -> None:
        self.written = held

    def step(self, purpose: str, steps: int, kept: Sequence[Stateful], /, *, last: bool) -> None:
        super().step(purpose, steps, kept, last=last)
        self.gone += 1
        self.learnt += bool(kept)
        self.purposes.add(purpose)
        self.keeping |= {purpose} if kept else set()
        if self.gone == self._after:
            raise CutOffError


def course(keeper: Keeper | None, room: Classroom = IMAGES) -> Lesson:
    """Return a lesson of epochs of two steps, every batch another."""
    plain = room.lesson(room.teacher())
    (batches,) = plain.epochs
    held = list(batches)
    return replace(
        plain,
        epochs=[held[start : start + 2] for start in range(0, len(held), 2)],
        recipe=replace(plain.recipe, epochs=len(held) // 2, optimiser="adam", warmup=0.3),
        keeper=keeper,
    )


def train(
    method: Method,
    keeper: Keeper | None,
    room: Classroom = IMAGES,
    device: torch.device = _CPU,
) -> Ended:
    torch.manual_seed(0)
    learner, heard = ready(method, room), on_device(device, course(keeper, room))
    learner.network.to(device)
    losses = []
    for progress in method.fit(learner, heard):
        losses.append(progress.loss)
        if keeper is not None:
            keeper.progress = progress
    return losses, learner.network.state_dict(), heard.account, torch.rand(3)


def resumed(method: Method, room: Classroom = IMAGES, *, after: int) -> tuple[Ended, int]:
    """Return how a training ended that was cut off once, and how many steps it learned in all."""
    first = Cutting(after=after)
    with pytest.raises(CutOffError):
        train(method, first, room)
    second = Cutting(after=None, before=first.written)
    return train(method, second, room), first.learnt + second.learnt


def same(one: Ended, other: Ended) -> None:
    losses, weights, account, chance = one
    assert other[0] == losses[len(losses) - len(other[0]) :]
    assert all(torch.equal(other[1][name], value) for name, value in weights.items())
    assert other[2].samples == account.samples
    assert torch.equal(other[3], chance)


def can_be_cut_off_anywhere(name: str, whole: Cutting, room: Classroom = IMAGES) -> None:
    """Fail if ``whole`` was not asked at every step of all passes, or was given nothing to keep."""
    assert whole.gone == room.steps * len(whole.purposes) > 0
    assert whole.purposes - whole.keeping == LOOKS.get(name, set())


@pytest.mark.parametrize("name", on_images())
def test_every_method_goes_on_where_it_was_cut_off(name: str) -> None:
    method = cast(Method, discovery.load("methods", name))
    whole = Cutting(after=None)
    plain = train(method, None)
    same(plain, train(method, whole))
    can_be_cut_off_anywhere(name, whole)
    # In the middle of an epoch, at its end, after the first step, and before the last.
    for after in sorted({1, 3, 4, whole.gone // 2 + 1, whole.gone - 1}):
        ended, learnt = resumed(method, after=after)
        same(plain, ended)
        assert learnt <= whole.learnt + 1  # the first step is gone again: nothing was reported yet


@taught_in(*TASKS)
def test_on_every_task_too(name: str, room: Classroom) -> None:
    """Once is enough here, in the middle of an epoch: where to cut, images were asked.

    What they have no lesson for is cut off after its first step too.
    """
    method, whole = cast(Method, discovery.load("methods", name)), Cutting(after=None)
    plain = train(method, whole, room)
    can_be_cut_off_anywhere(name, whole, room)
    middle = whole.gone // 2 + 1
    for after in [middle] if name in on_images() else [1, middle]:
        ended, learnt = resumed(method, room, after=after)
        same(plain, ended)
        assert learnt <= whole.learnt + 1


def test_a_conversion_by_quantiles_goes_on_where_it_was_cut_off() -> None:
    method = Qcfs(quantile=0.999)
    same(train(method, None), resumed(method, after=STEPS // 2)[0])


@pytest.mark.parametrize(
    "method",
    [
        DistillingSpikes(assistant="digits_convnet"),
        KlLowLatency(start="distilled"),
    ],
)
def test_stages_that_are_over_are_not_gone_through_again(method: Method) -> None:
    whole = Cutting(after=None)
    plain = train(method, whole)
    assert len(whole.purposes) > 1
    for after in range(STEPS + 2, whole.gone, 5):
        ended, learnt = resumed(method, after=after)
        same(plain, ended)
        assert learnt == whole.learnt


@pytest.mark.parametrize(
    ("method", "cuts"),
    [
        (Tssd(), [2, 2, 2, 2]),
        (DistillingSpikes(), [3, STEPS, 1, 2]),
        (KlLowLatency(start="distilled"), [STEPS + 3, 1, 2]),
    ],
)
def test_a_training_may_be_cut_off_as_often_as_it_likes(method: Method, cuts: list[int]) -> None:
    whole, held, learnt = Cutting(after=None), None, 0
    plain = train(method, whole)
    for after in cuts:
        keeper = Cutting(after=after, before=held)
        with pytest.raises(CutOffError):
            train(method, keeper)
        held, learnt = keeper.written, learnt + keeper.learnt
    keeper = Cutting(after=None, before=held)
    same(plain, train(method, keeper))
    assert learnt + keeper.learnt == whole.learnt


def test_what_is_over_at_the_last_step_is_not_trained_again() -> None:
    keeper = Cutting(after=None)
    plain = train(DIRECT, keeper)
    again = Cutting(after=None, before=keeper.written)
    losses, *ended = train(DIRECT, again)
    assert losses == []
    assert again.gone == 0
    same(plain, ([], *ended))


class Forgetful:
    """Counts its steps in a place that no checkpoint knows."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        steps = count(1)
        return descend(
            student, lesson, lambda out, _, labels: next(steps) * DIRECT.loss(out, _, labels)
        )


def test_the_law_sees_a_state_that_is_not_kept() -> None:
    ended, _ = resumed(Forgetful(), after=3)
    with pytest.raises(AssertionError):
        same(train(Forgetful(), None), ended)


def test_it_is_written_when_it_is_time_and_when_it_is_asked_for() -> None:
    written: list[bytes] = []
    ended: list[int] = []
    module = nn.Linear(2, 1)

    def step(keeper: Keeper, *, last: bool = False) -> int:
        keeper.step("", 1, [module], last=last)
        return len(written)

    keeper = Keeper({}, written.append, every_s=3600, end=lambda: ended.append(len(written)))
    keeper.progress = Progress(samples=8, budget=64, loss=1.0)
    assert step(keeper) == 0
    assert step(keeper, last=True) == 0
    keeper.asked = True
    assert step(keeper) == 1
    assert ended == [1]  # after the file is there
    keeper.step("a look at the data", 1, [], last=False)
    assert (len(written), len(ended)) == (1, 2)  # nothing to keep, and it ends all the same
    untold = Keeper({}, written.append, every_s=0)
    assert step(untold) == 1  # nothing was reported yet


def test_time_adds_up_over_interruptions() -> None:
    before = replace(_checkpoint(), seconds=1000.0)
    assert 1000 <= Keeper({}, lambda _: None, every_s=1, before=before).seconds < 1001


def _checkpoint(*states: Any) -> Checkpoint:
    chance = {"cpu": torch.get_rng_state()}
    return Checkpoint(
        of={"cell": "a"},
        passes={"": Pass(steps=3, states=list(states), random=chance)},
        progress=Progress(samples=24, budget=64, loss=0.5),
        seconds=2.5,
    )


def test_a_file_holds_every_kind_of_state_to_the_bit() -> None:
    channels_last = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    state = {
        "state": {0: {"momentum_buffer": channels_last, "step": torch.tensor(3.0)}, 1: {}},
        "param_groups": [{"lr": 0.1 + 0.2, "nesterov": True, "params": [0, 1], "foreach": None}],
        "words": "ä",
        "tiny": torch.tensor([5e-324, -0.0], dtype=torch.float64),
        "flags": torch.tensor([True, False]),
        "none": torch.empty(0, 4),
    }
    before = _checkpoint(state)
    after = Checkpoint.from_bytes(before.to_bytes(), _CPU)
    (found,) = after.passes[""].states
    assert after.passes[""].steps == 3
    assert (after.of, after.progress, after.seconds) == (before.of, before.progress, 2.5)
    assert found["param_groups"] == state["param_groups"]
    assert found["words"] == "ä"
    momentum = found["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, channels_last)
    assert momentum.stride() == channels_last.stride()
    assert found["state"][1] == {}
    for name in ("tiny", "flags", "none"):
        assert torch.equal(found[name], state[name])  # type: ignore[arg-type]  # these are tensors
        assert found[name].dtype == state[name].dtype  # type: ignore[attr-defined]  # likewise
    assert found["tiny"].signbit().tolist() == [False, True]


def test_two_names_of_one_memory_may_both_be_kept() -> None:
    shared = torch.rand(3)
    held = _checkpoint({"one": shared, "other": shared}).to_bytes()
    (found,) = Checkpoint.from_bytes(held, _CPU).passes[""].states
    assert torch.equal(found["one"], found["other"])


def test_a_state_that_is_no_data_is_refused_by_its_type() -> None:
    with pytest.raises(StoreError, match="a function is part of a training's state"):
        _checkpoint({"made by": train}).to_bytes()


def _with_header(words: bytes) -> bytes:
    return len(words).to_bytes(8, "little") + words


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"\x80\x04K\x01.",  # a pickle
        _with_header(b"{}"),
        _with_header(b'{"__metadata__": {"format": "pt"}}'),
        (2**40).to_bytes(8, "little") + b"{}",
        _checkpoint({"a": torch.rand(99)}).to_bytes()[:-8],
        _checkpoint().to_bytes().replace(b"seconds", b"minutes"),
        _checkpoint().to_bytes().replace(b'\\"steps\\", 3', b'\\"steps\\",{}'),
        _checkpoint().to_bytes().replace(b'\\"tensor\\": \\"0\\"', b'\\"tensor\\": \\"7\\"'),
        _checkpoint().to_bytes().replace(b"checkpoint 1", b"checkpoint 2"),
    ],
)
def test_what_is_no_checkpoint_is_refused_by_name(held: bytes) -> None:
    with pytest.raises(StoreError, match="no checkpoint of this version"):
        Checkpoint.from_bytes(held, _CPU)


def test_a_checkpoint_of_another_shape_is_refused_with_what_to_do() -> None:
    keeper = Keeper({}, lambda _: None, every_s=1, before=_checkpoint(nn.Linear(2, 2).state_dict()))
    with pytest.raises(StoreError, match=r"does not fit this training .*; delete it to begin anew"):
        keeper.resume("", [nn.Linear(3, 2)])


def test_a_teachers_answers_are_kept_only_if_all_were_asked_for() -> None:
    kept: list[Tensor] = []
    method = cast(Method, discovery.load("methods", "logit_kd"))

    def answered(keeper: Keeper | None) -> None:
        heard = course(keeper)
        answers = Answers(heard.guide, STEPS, keep=lambda table, _: kept.append(table))
        for progress in method.fit(ready(method), replace(heard, answers=answers)):
            if keeper is not None:
                keeper.progress = progress

    answered(None)
    assert len(kept) == 1
    first = Cutting(after=3)
    with pytest.raises(CutOffError):
        answered(first)
    answered(Cutting(after=None, before=first.written))
    assert len(kept) == 1


def test_epochs_that_are_over_are_not_read_again() -> None:
    keeper = Cutting(after=4)
    with pytest.raises(CutOffError):
        train(DIRECT, keeper)
    heard = course(Cutting(after=None, before=keeper.written))

    class Unread:
        def __iter__(self) -> Iterator[Any]:
            raise AssertionError("the images of an epoch that is over were made")

    _, _, *left = heard.epochs
    rest = replace(heard, epochs=[Unread(), Unread(), *left])
    assert len(list(DIRECT.fit(ready(DIRECT), rest))) == 4


class Measuring:
    """Trains the student twice, and the second time against what came of the first."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        yield from descend(student, lesson.further("a start"), DIRECT.loss)
        size = sum(weight.detach().square().sum() for weight in student.parameters())
        yield from descend(
            student, lesson, lambda out, said, labels: DIRECT.loss(out, said, labels) * size
        )


def test_a_pass_that_is_over_is_as_it_was_when_it_ended() -> None:
    plain = train(Measuring(), None)
    ended, _ = resumed(Measuring(), after=STEPS + 3)
    same(plain, ended)
