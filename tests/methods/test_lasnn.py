"""Attention maps and the distance between them, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method
from harness.training.losses.attention import attention_map
from suites.methods.lasnn import METHOD, Lasnn, attention_error
from suites.methods.logit_kd import LogitKd
from tests.methods import small, teaching_aids


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_attention_is_the_sum_of_squares_over_channels_at_length_one() -> None:
    # Channels (1, -2) and (0, 2) over two positions: sums of squares (1, 8), length sqrt 65.
    maps = torch.tensor([[[1.0, -2.0]], [[0.0, 2.0]]])  # [C = 2, H = 1, W = 2]
    expected = torch.tensor([1.0, 8.0]) / math.sqrt(65)
    assert torch.allclose(attention_map(maps), expected)


@pytest.mark.parametrize("factor", [1e-3, 0.5, 1e3])
def test_attention_ignores_a_positive_factor(factor: float) -> None:
    maps = noise(2, 3, 5, 4, 4)
    assert torch.allclose(attention_map(factor * maps), attention_map(maps), atol=1e-6)


def test_attention_does_not_depend_on_the_order_or_number_of_channels() -> None:
    maps = noise(3, 5, 4, 4)
    assert torch.allclose(attention_map(maps.flip(1)), attention_map(maps), atol=1e-6)
    assert torch.allclose(attention_map(maps.repeat(1, 2, 1, 1)), attention_map(maps), atol=1e-6)


def test_maps_of_zeros_have_no_attention_and_a_finite_gradient() -> None:
    silent = torch.zeros(2, 3, 4, 4, requires_grad=True)
    error = attention_error(silent, noise(2, 3, 4, 4))
    assert error.item() == pytest.approx(1, rel=1e-6)  # the length of the teacher's
    error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()


def test_the_error_is_zero_at_equality_and_two_where_nothing_is_shared() -> None:
    here = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2).repeat(3, 1, 1, 1)
    assert attention_error(here, 7 * here).item() == pytest.approx(0, abs=1e-12)
    assert attention_error(here, here.flip(-1)).item() == pytest.approx(2, rel=1e-6)


def test_the_error_bridges_widths_and_resolutions() -> None:
    # Each 2x2 field of 0, 0, 1, 1 is 1/2 everywhere, as is the coarse map's attention.
    fine = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(1, 3, 2, 2)
    coarse = torch.full((1, 5, 2, 2), 0.25)
    assert attention_error(fine, coarse).item() == pytest.approx(0, abs=1e-12)
    assert attention_error(coarse, fine).item() == pytest.approx(0, abs=1e-12)


def first_loss(method: Method, timesteps: int = 2) -> float:
    learner, guide = small.student("resnet", timesteps=timesteps), small.teacher("resnet")
    return next(iter(method.fit(learner, small.lesson(guide)))).loss


def test_without_attention_it_is_logit_distillation() -> None:
    assert first_loss(Lasnn(weight=0, logit_weight=0.5)) == first_loss(LogitKd(weight=0.5))


def test_by_default_attention_weighs_four_beside_plain_logit_distillation() -> None:
    plain = first_loss(LogitKd(temperature=4.0, weight=1.0))
    looks = first_loss(Lasnn(weight=1.0)) - plain
    assert looks > 0.01
    assert first_loss(METHOD) == pytest.approx(plain + 4 * looks, rel=1e-5)


@pytest.mark.parametrize("timesteps", [1, 2])
def test_attention_is_that_of_the_mean_over_time_and_a_mean_over_stages(timesteps: int) -> None:
    learner, guide = small.student("resnet", timesteps=timesteps), small.teacher("resnet")
    stages = ["stage1", "stage2"]
    batch = next(iter(small.lesson(guide)))
    ours = learner(batch.stimulus, stages).taps
    theirs = guide.see(batch.images, stages).taps
    errors = [
        (attention_map(ours[name].mean(0)) - attention_map(theirs[name][0])).norm(dim=-1) ** 2
        for name in stages
    ]
    expected = first_loss(Lasnn(weight=0), timesteps) + 3 * torch.stack(errors).mean().item()
    assert first_loss(Lasnn(weight=3), timesteps) == pytest.approx(expected, rel=1e-5)


def test_a_student_without_a_stage_in_common_is_refused() -> None:
    learner, guide = teaching_aids.student(), teaching_aids.teacher()
    guide.network.tap_channels = {"penultimate": 2}  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module
    with pytest.raises(UnsupportedError, match="no stage tap in common"):
        Lasnn().fit(learner, teaching_aids.lesson(guide))
