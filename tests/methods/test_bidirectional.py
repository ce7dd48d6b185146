"""Two networks that learn from each other: who learns what, and what is left of it."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from harness.training import Lesson, Teacher
from suites.methods import bidirectional
from suites.methods.bidirectional import Bidirectional, Decoder, feature_error
from tests.methods.small import lesson, student, teacher

# Teacher and student on one sample; odds 1 : 3 and 1 : 1 at temperature 2.
TEACHER = torch.tensor([[0.0, 2 * math.log(3)]])
STUDENT = torch.tensor([[0.0, 0.0]])
LABEL = torch.tensor([0])
FORTH = 4 * (0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2))  # 2^2 KL((1/4, 3/4) || (1/2, 1/2))
BACK = 4 * (0.5 * math.log(2) + 0.5 * math.log(2 / 3))  # 2^2 KL((1/2, 1/2) || (1/4, 3/4))


def test_the_student_learns_labels_logits_and_features() -> None:
    method = Bidirectional(temperature=2.0, logit_weight=3.0, feature_weight=5.0)
    found = method.student_loss(STUDENT, TEACHER, torch.tensor(0.25), LABEL)
    assert found.item() == pytest.approx(math.log(2) + 3 * FORTH + 5 * 0.25, rel=1e-6)


@pytest.mark.parametrize("risen", [0.0, 0.5, 1.0])
def test_the_teacher_learns_labels_and_what_has_risen_of_the_reverse_path(risen: float) -> None:
    method = Bidirectional(temperature=2.0, reverse_weight=0.25)
    found = method.teacher_loss(TEACHER, STUDENT, LABEL, risen=risen)
    # At temperature 1 its odds are 1 : 9, so the label has 1/10.
    assert found.item() == pytest.approx(math.log(10) + 0.25 * risen * BACK, rel=1e-6)


def test_the_reverse_path_leaves_the_student_alone() -> None:
    theirs, ours = TEACHER.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    loss = Bidirectional().teacher_loss(theirs, ours, LABEL, risen=1.0)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert ours.grad is None
    assert theirs.grad is not None


@pytest.mark.parametrize(
    ("keep", "expected"),
    # k^age (1 - k) / (1 - k^T): 1/2 gives 1, 2, 4 sevenths; 9/10 gives 0.81, 0.9, 1 of 2.71.
    [(0.5, [1 / 7, 2 / 7, 4 / 7]), (0.9, [0.81 / 2.71, 0.9 / 2.71, 1 / 2.71])],
)
def test_the_decoder_forgets_by_a_factor_a_step(keep: float, expected: list[float]) -> None:
    decoder = Decoder(1, 1)
    with torch.no_grad():
        decoder.leak.copy_(torch.logit(torch.tensor(keep)))
    assert decoder.weights(3).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_decoder_starts_at_nine_tenths_and_has_the_rate_for_a_limit() -> None:
    decoder = Decoder(1, 1)
    assert decoder.leak.sigmoid().item() == pytest.approx(0.9, rel=1e-6)
    with torch.no_grad():
        decoder.leak.fill_(100.0)  # k = 1 in float32
    assert torch.allclose(decoder.weights(4), torch.full((4,), 0.25))


def test_the_decoder_is_the_leaky_integral_of_its_definition() -> None:
    torch.manual_seed(0)
    decoder = Decoder(2, 3)
    spikes = (torch.rand(5, 4, 2, 3, 3) < 0.5).float()
    keep = 0.9
    potential = torch.zeros(4, 2, 3, 3)
    for step in spikes:
        potential = keep * potential + step
    expected = decoder.affine(potential * (1 - keep) / (1 - keep**5))
    assert torch.allclose(decoder(spikes), expected, atol=1e-5)


def test_the_hint_is_a_mean_square_at_the_coarser_resolution() -> None:
    fine = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(1, 1, 2, 2)  # each 2x2 block: 1/2
    assert feature_error(fine, torch.full((1, 1, 2, 2), 1.0)).item() == 0.25


def _frozen(guide: Teacher) -> bool:
    weights = guide.network.parameters()
    return not guide.network.training and not any(
        weight.requires_grad or weight.grad is not None for weight in weights
    )


@pytest.mark.parametrize("steps_taken", [1, 3], ids=["broken off", "spent"])
def test_the_teacher_is_changed_and_left_frozen(steps_taken: int) -> None:
    guide = teacher()
    before = guide.network.get_parameter("conv1.weight").clone()
    training = Bidirectional().fit(student(), lesson(guide, steps=3))
    assert isinstance(training, Iterator)
    for _ in range(steps_taken):
        next(training)
    training.close()  # type: ignore[attr-defined]  # it is a generator
    assert _frozen(guide)
    assert not torch.equal(before, guide.network.get_parameter("conv1.weight"))


def test_the_teacher_is_left_frozen_when_the_training_fails() -> None:
    guide, learner = teacher(), student()
    with torch.no_grad():
        learner.network.get_parameter("fc.bias").fill_(float("nan"))
    with pytest.raises(ArithmeticError):
        list(Bidirectional().fit(learner, lesson(guide)))
    assert _frozen(guide)


def test_what_the_student_says_reaches_the_teacher() -> None:
    def taught(reverse_weight: float) -> Tensor:
        torch.manual_seed(0)
        guide = teacher()
        list(Bidirectional(reverse_weight=reverse_weight).fit(student(), lesson(guide)))
        return guide.network.get_parameter("fc.weight")

    assert not torch.equal(taught(0.0), taught(1.0))


def test_the_reverse_path_rises_over_its_part_of_the_lesson() -> None:
    told = []

    class Telling(Bidirectional):
        def teacher_loss(
            self, teacher: Tensor, student: Tensor, labels: Tensor, *, risen: float
        ) -> Tensor:
            told.append(risen)
            return super().teacher_loss(teacher, student, labels, risen=risen)

    list(Telling(rise=0.5).fit(student(), lesson(teacher(), steps=8)))
    assert told == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_the_student_hears_what_the_teacher_says_after_its_own_step() -> None:
    guide = teacher()
    course = lesson(guide, steps=1)
    first = guide.see(next(iter(course)).images).logits[0]
    heard = []

    class Listening(Bidirectional):
        def student_loss(
            self, student: Tensor, teacher: Tensor, hint: Tensor, labels: Tensor
        ) -> Tensor:
            heard.append(teacher)
            return super().student_loss(student, teacher, hint, labels)

    list(Listening().fit(student(), course))
    now = guide.see(next(iter(course)).images).logits[0]
    assert not heard[0].requires_grad
    assert torch.equal(heard[0], now)
    assert not torch.equal(first, now)


def _decoder_after(
    course: Lesson, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Tensor], nn.Module]:
    """Return the decoder's state before training, and the decoder."""
    made: list[nn.Module] = []
    before: dict[str, Tensor] = {}

    def kept(inputs: int, outputs: int) -> nn.Module:
        made.append(Decoder(inputs, outputs))
        before.update({name: w.detach().clone() for name, w in made[0].named_parameters()})
        return made[0]

    monkeypatch.setattr(bidirectional, "Decoder", kept)
    list(Bidirectional().fit(student(timesteps=3), course))
    return before, made[0]


def test_leak_and_convolution_of_the_decoder_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    before, decoder = _decoder_after(lesson(teacher()), monkeypatch)
    after = dict(decoder.named_parameters())
    assert set(after) == {"leak", "affine.weight", "affine.bias"}
    assert not [name for name in after if torch.equal(after[name], before[name])]


def test_the_teacher_learns_at_its_own_pace() -> None:
    def moved(pace: float, learning_rate: float = 0.05) -> Tensor:
        guide = teacher()
        before = guide.network.get_parameter("fc.weight").clone()
        course = lesson(guide, steps=1, learning_rate=learning_rate)
        list(Bidirectional(teacher_pace=pace).fit(student(), course))
        return guide.network.get_parameter("fc.weight") - before

    # The first step of gradient descent is proportional to the learning rate.
    assert torch.allclose(moved(1.0), 4 * moved(0.25), atol=1e-6)
    assert torch.allclose(moved(1.0, learning_rate=0.1), 2 * moved(1.0), atol=1e-6)
    assert moved(0.25).abs().max() > 1e-4
