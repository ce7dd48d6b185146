"""The confident step teaches the other, against numbers worked out by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from suites.methods.strong2weak import METHOD, Strong2Weak, confidence
from tests.methods.teaching_aids import NOBODY, lesson, student

LN3 = math.log(3)
# Step 1 is surest of the first sample, 99 : 1, but not of the second; step 2 is the most
# confident on average, 9 : 1 and 1 : 9; step 3 knows nothing. [T = 3, N = 2, K = 2]
LOGITS = torch.tensor(
    [
        [[math.log(99), 0.0], [0.0, 0.0]],
        [[2 * LN3, 0.0], [0.0, 2 * LN3]],
        [[0.0, 0.0], [0.0, 0.0]],
    ]
)
LABELS = torch.tensor([0, 1])
FROM_LABELS = (
    math.log1p(math.exp(-(math.log(99) + 2 * LN3) / 3)) + math.log1p(math.exp(-2 * LN3 / 3))
) / 2
# Softened by 2, step 2 is 3 : 1 and 1 : 3, of temperature 1 it is 9 : 1 and 1 : 9.
STRONG_FROM_WEAK = 0.75 * LN3 - math.log(2)  # KL((3/4, 1/4) || (1/2, 1/2))
WEAK_FROM_STRONG = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)  # the other way round


def _loss(method: Strong2Weak, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    return method.loss(Output(logits=logits), NOBODY, LABELS)


def test_by_default_the_weakest_step_learns_from_the_strongest_at_temperature_two() -> None:
    expected = FROM_LABELS + 4 * STRONG_FROM_WEAK
    assert _loss(METHOD).item() == pytest.approx(expected, rel=1e-6)  # type: ignore[arg-type]  # a Strong2Weak


def test_every_parameter_is_what_it_says() -> None:
    method = Strong2Weak(weight=3.0, temperature=4.0, taught="strong")
    twice = torch.stack([0 * LOGITS[0], 2 * LOGITS[1]])  # the first step is the weakest now
    labels = math.log1p(math.exp(-2 * LN3))
    expected = labels + 3 * 16 * WEAK_FROM_STRONG
    assert _loss(method, twice).item() == pytest.approx(expected, rel=1e-6)


def test_confidence_is_the_mean_over_the_batch_of_the_largest_probability() -> None:
    assert torch.allclose(confidence(LOGITS), torch.tensor([(0.99 + 0.5) / 2, 0.9, 0.5]))
    alike = torch.tensor([[[LN3, 0.0], [LN3, 0.0], [0.0, 0.0]]])  # 3 : 1 twice, then 1 : 1
    assert torch.allclose(confidence(alike), torch.tensor([2 / 3]))


@pytest.mark.parametrize(("taught", "learns"), [("weak", 2), ("strong", 1)])
def test_only_the_taught_step_gets_a_gradient(taught: str, learns: int) -> None:
    logits = LOGITS.clone().requires_grad_()
    method = Strong2Weak(taught=taught)  # type: ignore[arg-type]  # one of the two
    divergence = _loss(method, logits) - cross_entropy(logits.mean(0), LABELS)
    (gradient,) = torch.autograd.grad(divergence, logits)
    # Of temperature^2 KL(p || q) it is temperature (q - p) / N.
    strong, weak = torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.full((2, 2), 0.5)
    expected = torch.zeros_like(LOGITS)
    expected[learns] = (weak - strong) if learns == 2 else (strong - weak)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_steps_that_are_equally_confident_have_nothing_to_teach() -> None:
    alike = LOGITS[1:2].repeat(3, 1, 1)
    assert _loss(Strong2Weak(), alike).item() == pytest.approx(math.log(10 / 9), rel=1e-6)


def test_one_step_is_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedError, match=r"one step.*`direct`"):
        Strong2Weak().fit(student(timesteps=1), lesson(None))


def test_that_loss_is_descended_from_where_the_student_stands() -> None:
    learner, course = student(), lesson(None)
    batch = next(iter(course))
    expected = Strong2Weak().loss(learner(batch.stimulus), NOBODY, batch.labels).item()
    assert next(iter(METHOD.fit(learner, course))).loss == pytest.approx(expected, rel=1e-6)
