"""Temporal decoupling against numbers worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from harness.contracts.model import Output
from harness.training import softened_kl
from harness.training.losses.stepwise import stepwise_cross_entropy, stepwise_kl
from suites.methods.logit_snn import METHOD, LogitSnn, mean_of_right
from tests.methods.teaching_aids import Said

# Two steps of one sample: 1 : 3, then 3 : 1; on average 1 : 1, which the teacher says too.
LOGITS = torch.tensor([[[0.0, math.log(3)]], [[0.0, -math.log(3)]]])  # [T = 2, N = 1, K = 2]
LABEL = torch.tensor([0])
STEPWISE = (math.log(4) + math.log(4 / 3)) / 2  # the label has 1/4, then 3/4
# KL((1/2, 1/2) || (1/4, 3/4)), the same for both steps
FROM_EVEN = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)


EVEN = Said(torch.zeros(1, 2))  # a teacher that finds both classes equally likely


def _loss(**fields: object) -> float:
    method = LogitSnn(**{"temperature": 1.0, "ensemble": "all"} | fields)  # type: ignore[arg-type]  # fields of several types
    return method.loss(Output(logits=LOGITS), EVEN, LABEL).item()


def test_by_default_all_three_terms_have_the_weights_of_the_authors_code() -> None:
    # Softened by 3, the steps of the trebled logits are 1 : 3 and 3 : 1, and the teacher still
    # even; the labels see 1 : 27, then 27 : 1. Step 2 alone is right: 3 : 1 teaches step 1.
    labels = (math.log(28) + math.log(28 / 27)) / 2
    loss = METHOD.loss(Output(logits=3 * LOGITS), EVEN, LABEL)  # type: ignore[attr-defined]  # a LogitSnn
    expected = labels + 0.2 * 9 * FROM_EVEN + 0.5 * 9 * (0.5 * math.log(3)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_labels_are_asked_of_every_step() -> None:
    # Of the mean logits the cross-entropy would be ln 2.
    assert _loss(alpha=0.0, beta=0.0) == pytest.approx(STEPWISE, rel=1e-6)


def test_the_teacher_is_compared_with_every_step() -> None:
    # Of the mean logits the divergence would be 0.
    assert _loss(alpha=2.0, beta=0.0) == pytest.approx(STEPWISE + 2 * FROM_EVEN, rel=1e-6)


def test_the_ensemble_of_all_steps_teaches_each() -> None:
    assert _loss(alpha=0.0, beta=2.0) == pytest.approx(STEPWISE + 2 * FROM_EVEN, rel=1e-6)


def test_steps_that_agree_have_nothing_to_learn_from_their_ensemble() -> None:
    method = LogitSnn(temperature=1.0, alpha=0.0, beta=1.0, ensemble="all")
    twice = LOGITS[:1].repeat(2, 1, 1)  # of a sum instead of a mean, 1 : 9 would teach 1 : 3
    loss = method.loss(Output(logits=twice), EVEN, LABEL)
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)


def test_the_ensemble_of_right_steps_leaves_out_the_wrong_one() -> None:
    # Step 2 is right. KL((3/4, 1/4) || (1/4, 3/4)) = 3/4 ln 3 - 1/4 ln 3, and 0 from itself.
    found = _loss(alpha=0.0, beta=2.0, ensemble="right")
    assert found == pytest.approx(STEPWISE + 2 * (0.5 * math.log(3)) / 2, rel=1e-6)


def test_where_no_step_is_right_the_ensemble_says_nothing() -> None:
    logits = torch.tensor([[[0.0, 2.0], [3.0, 1.0]], [[0.0, 4.0], [0.0, 9.0]]])
    # Sample 1: both steps say class 1. Sample 2: the first step is right, the second is not.
    found = mean_of_right(logits, torch.tensor([0, 0]))
    assert torch.equal(found, torch.tensor([[0.0, 0.0], [3.0, 1.0]]))


def test_temperature_softens_and_its_square_restores_the_gradient() -> None:
    found = stepwise_kl(2 * LOGITS, torch.zeros(1, 2), temperature=2.0)
    assert found.item() == pytest.approx(4 * FROM_EVEN, rel=1e-6)


def test_every_step_meets_its_own_sample() -> None:
    # Sample 1 always says its label and the teacher's word, sample 2 too: any mix-up costs.
    said = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    steps = said.expand(3, 2, 2)
    assert stepwise_cross_entropy(steps, torch.tensor([0, 1])).item() == pytest.approx(0, abs=1e-6)
    assert stepwise_kl(steps, said, temperature=1.0).item() == pytest.approx(0, abs=1e-6)


@given(seed=st.integers(0, 2**31), timesteps=st.integers(1, 6), scale=st.floats(0.1, 10))
def test_losses_of_the_steps_bound_those_of_their_mean(
    seed: int, timesteps: int, scale: float
) -> None:
    # Both are convex in the logits (Jensen); equality at T = 1. Rounding is float64's.
    chance = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(timesteps, 4, 5, dtype=torch.float64, generator=chance)
    target = scale * torch.randn(4, 5, dtype=torch.float64, generator=chance)
    labels = torch.tensor([0, 1, 2, 4])
    mean, least = logits.mean(0), -1e-9
    assert stepwise_cross_entropy(logits, labels) - cross_entropy(mean, labels) >= least
    spread = stepwise_kl(logits, target, temperature=3.0)
    assert spread - softened_kl(mean, target, temperature=3.0) >= least


def test_the_ensemble_teaches_and_is_not_taught() -> None:
    logits = LOGITS.clone().requires_grad_()
    method = LogitSnn(temperature=1.0, alpha=0.0, beta=1.0, ensemble="right")
    loss = method.loss(Output(logits=logits), EVEN, LABEL)
    (found,) = torch.autograd.grad(loss - stepwise_cross_entropy(logits, LABEL), logits)
    # Step 2 alone is right, 3 : 1. With the target held, the gradient of 1/2 KL(target || step)
    # is 1/2 (step - target): nothing for step 2 itself.
    wrong = (torch.tensor([0.25, 0.75]) - torch.tensor([0.75, 0.25])) / 2
    assert torch.allclose(found[:, 0], torch.stack([wrong, torch.zeros(2)]), atol=1e-6)


def test_the_ensemble_of_all_steps_would_get_no_gradient_anyhow() -> None:
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, dtype=torch.float64, generator=chance)
    target = logits.mean(0).requires_grad_()
    (gradient,) = torch.autograd.grad(stepwise_kl(logits, target, temperature=3.0), target)
    # Of sum_t KL(p || q_t) with respect to z: p (a - E_p a), a = sum_t ln p - ln q_t, and that
    # is the same for all classes where z is the mean of the z_t.
    assert torch.allclose(gradient, torch.zeros_like(gradient), atol=1e-12)
