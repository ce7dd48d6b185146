"""The head-tail-aware divergence against three classes worked out by hand."""

import math

import pytest
import torch

from harness.contracts.model import Output
from suites.methods.hta_kl import HtaKl, head_share, head_tail_kl
from tests.methods.teaching_aids import Nobody

TEACHER = torch.tensor([[1 / 2, 3 / 8, 1 / 8]])
STUDENT = torch.tensor([[1 / 4, 1 / 4, 1 / 2]])
# |p - q| = 2/8, 1/8, 3/8, in all 6/8; of which 2/6 lies in the first class, 3/6 in the first two.
FORWARD = 1 / 2 * math.log(2) + 3 / 8 * math.log(3 / 2) + 1 / 8 * math.log(1 / 4)  # KL(p || q)
REVERSE = 1 / 4 * math.log(1 / 2) + 1 / 4 * math.log(2 / 3) + 1 / 2 * math.log(4)  # KL(q || p)
MIXED = FORWARD / 3 + 2 * REVERSE / 3


@pytest.mark.parametrize(
    ("head_mass", "share"),
    # 1/2, then 7/8, then all of the teacher's probability; its likeliest class in any case.
    [(0.0, 2 / 6), (0.6, 2 / 6), (0.875, 3 / 6), (0.9, 3 / 6), (1.1, 1.0)],
)
def test_the_head_is_what_the_mass_holds_and_at_least_one_class(
    head_mass: float, share: float
) -> None:
    found = head_share(TEACHER, STUDENT, head_mass=head_mass)
    assert found.tolist() == pytest.approx([share], rel=1e-6)


def test_the_share_is_each_samples_own_and_no_matter_of_class_order() -> None:
    teacher = torch.cat([TEACHER, TEACHER[:, [2, 0, 1]], STUDENT])
    student = torch.cat([STUDENT, STUDENT[:, [2, 0, 1]], TEACHER])
    # The third is the first reversed: its head is the third class, which has 3/6.
    found = head_share(teacher, student, head_mass=0.6)
    assert found.tolist() == pytest.approx([2 / 6, 2 / 6, 3 / 6], rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_both_directions_are_weighed_by_the_shares(temperature: float) -> None:
    # Logits are ln p times the temperature, so that softened they are p again.
    found = head_tail_kl(
        temperature * STUDENT.log(), temperature * TEACHER.log(), temperature=temperature,
        head_mass=0.5,
    )  # fmt: skip
    assert found.item() == pytest.approx(temperature**2 * MIXED, rel=1e-5)


def test_the_loss_adds_the_weighted_divergence_to_the_cross_entropy_of_the_mean() -> None:
    class Said(Nobody):
        def __init__(self) -> None:
            pass

        @property
        def logits(self) -> torch.Tensor:
            return TEACHER.log()

    shift = torch.tensor([[1.0, -2.0, 3.0]])
    steps = torch.stack([STUDENT.log() + shift, STUDENT.log() - shift])  # mean: the student
    loss = HtaKl(temperature=1.0, weight=0.5).loss(Output(logits=steps), Said(), torch.tensor([2]))
    assert loss.item() == pytest.approx(math.log(2) + 0.5 * MIXED, rel=1e-5)


def test_by_default_the_head_holds_half_and_temperature_is_four() -> None:
    # The teacher's two likeliest hold 0.45, three would hold 0.65. |p - q| is 0.1 and four times
    # 0.05, so half of it lies in the head. Logits are 4 ln p; unsoftened q is q^4 and its norm.
    p, q = [0.25, 0.2, 0.2, 0.2, 0.15], [0.15, 0.25, 0.25, 0.15, 0.2]

    class Said(Nobody):
        def __init__(self) -> None:
            pass

        @property
        def logits(self) -> torch.Tensor:
            return 4 * torch.tensor([p]).log()

    forward = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    reverse = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    from_labels = -math.log(q[0] ** 4 / sum(b**4 for b in q))
    output = Output(logits=4 * torch.tensor([[q]]).log())
    found = HtaKl().loss(output, Said(), torch.tensor([0]))
    assert found.item() == pytest.approx(from_labels + 16 * (forward + reverse) / 2, rel=1e-5)


def test_it_vanishes_at_equality_with_its_gradient() -> None:
    student = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = head_tail_kl(student, student.detach(), temperature=4.0, head_mass=0.5)
    (gradient,) = torch.autograd.grad(found, student)
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(gradient, torch.zeros_like(gradient), atol=1e-6)


def test_it_ignores_a_shift_of_all_logits() -> None:
    moved = head_tail_kl(STUDENT.log() + 3, TEACHER.log() - 2, temperature=1.0, head_mass=0.5)
    assert moved.item() == pytest.approx(MIXED, rel=1e-5)


def test_it_is_a_mean_over_samples() -> None:
    student, teacher = torch.cat([STUDENT, TEACHER]), torch.cat([TEACHER, TEACHER])
    found = head_tail_kl(student.log(), teacher.log(), temperature=1.0, head_mass=0.5)
    assert found.item() == pytest.approx((MIXED + 0) / 2, rel=1e-5)


def test_no_gradient_goes_through_the_shares() -> None:
    logits = STUDENT.log().requires_grad_()
    found = head_tail_kl(logits, TEACHER.log(), temperature=1.0, head_mass=0.5)
    (gradient,) = torch.autograd.grad(found, logits)
    # d KL(p || q) = q - p and d KL(q || p) = q (ln(q / p) - KL(q || p)), with shares 1/3, 2/3.
    p, q = TEACHER, STUDENT
    expected = (q - p) / 3 + 2 / 3 * q * ((q / p).log() - REVERSE)
    assert torch.allclose(gradient, expected, atol=1e-6)


def test_certainty_leaves_gradients_finite() -> None:
    # exp(-200) is 0 in float32; the logarithms are not.
    logits = torch.tensor([[0.0, 200.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[200.0, 0.0, 0.0]])
    found = head_tail_kl(logits, teacher, temperature=1.0, head_mass=0.5)
    (gradient,) = torch.autograd.grad(found, logits)
    assert torch.isfinite(found)
    assert torch.isfinite(gradient).all()
