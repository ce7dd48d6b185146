"""Losses against numbers worked out by hand."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.training import Batch, Teacher, softened_kl, taught_share
from harness.training.losses.projection import mean_of, projectors, same_size, summed
from suites.methods.feature_mse import FeatureMse, feature_error
from tests.methods import small
from tests.methods.teaching_aids import Tiny, lesson, student, teacher

# Two classes; the teacher says 1 : 3 once softened, the student 1 : 1, on average over time.
TEMPERATURE = 2.0
TEACHER = torch.tensor([[0.0, TEMPERATURE * math.log(3)]])
STUDENT = torch.tensor([[[5.0, 1.0]], [[-5.0, -1.0]]])  # [T = 2, N = 1, K = 2], mean (0, 0)
# KL((1/4, 3/4) || (1/2, 1/2)) = 1/4 ln 1/2 + 3/4 ln 3/2
DIVERGENCE = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)


def test_errors_of_stages_are_added_and_averaged() -> None:
    errors = [torch.tensor(each, requires_grad=True) for each in (1.0, 2.0, 6.0)]
    assert (summed(errors).item(), mean_of(errors).item()) == (9.0, 3.0)
    assert torch.autograd.grad(mean_of(errors), errors[1])[0].item() == pytest.approx(1 / 3)
    assert (summed(errors[:1]).item(), mean_of(errors[:1]).item()) == (1.0, 1.0)


def test_softened_kl_is_the_divergence_times_temperature_squared() -> None:
    found = softened_kl(STUDENT.mean(0), TEACHER, temperature=TEMPERATURE)
    assert found.item() == pytest.approx(TEMPERATURE**2 * DIVERGENCE, rel=1e-6)


def test_softened_kl_vanishes_at_equality_and_ignores_a_shift_of_logits() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shift = torch.arange(5.0, dtype=torch.float64)[:, None]
    assert softened_kl(logits + shift, logits, temperature=3.0).item() == pytest.approx(
        0, abs=1e-14
    )


def test_softened_kl_is_a_mean_over_samples() -> None:
    twice = softened_kl(STUDENT.mean(0).repeat(2, 1), TEACHER.repeat(2, 1), temperature=1.0)
    once = softened_kl(STUDENT.mean(0), TEACHER, temperature=1.0)
    assert twice.item() == pytest.approx(once.item(), rel=1e-6)


def test_a_share_is_taught_and_the_rest_is_labelled() -> None:
    asked = STUDENT.mean(0), TEACHER, torch.tensor([0])
    found = taught_share(*asked, temperature=TEMPERATURE, share=0.25)
    expected = 0.25 * TEMPERATURE**2 * DIVERGENCE + 0.75 * math.log(2)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_feature_error_is_zero_at_equality_and_the_mean_square_elsewhere() -> None:
    rate = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert feature_error(nn.Identity(), rate, rate).item() == 0
    assert feature_error(nn.Identity(), rate, rate + 0.5).item() == pytest.approx(0.25, rel=1e-6)


def test_feature_error_compares_at_the_coarser_resolution() -> None:
    # Each 2x2 block of 0, 0, 1, 1 has mean 1/2, which is what the coarse map says.
    fine = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(1, 1, 2, 2)
    coarse = torch.full((1, 1, 2, 2), 0.5)
    assert feature_error(nn.Identity(), fine, coarse).item() == 0
    assert feature_error(nn.Identity(), coarse, fine).item() == 0


def test_feature_mse_bridges_different_widths_and_trains_its_regressor() -> None:
    torch.manual_seed(0)
    learner, guide = student(channels=2), teacher(channels=5)
    before = learner.network.conv.weight.clone()
    list(FeatureMse(weight=100.0).fit(learner, lesson(guide)))
    assert not torch.equal(before, learner.network.conv.weight)


def test_feature_mse_adds_the_mean_error_of_the_stages_of_mean_rates() -> None:
    torch.manual_seed(0)
    learner, guide = small.student("resnet", timesteps=4), small.teacher("resnet")
    stages = ("stage1", "stage2")
    regressors = projectors(learner, guide, stages)
    course = small.lesson(guide, timesteps=4)
    batch = next(iter(course))
    output, answer = learner(batch.stimulus, stages), guide.see(batch.images, stages)
    errors = [
        (regressors[name](output.taps[name].sum(0) / 4) - answer.taps[name][0]).square().mean()
        for name in stages
    ]
    labels = nn.functional.cross_entropy(output.logits.sum(0) / 4, batch.labels)
    expected = labels + 3 * (errors[0] + errors[1]) / 2
    torch.manual_seed(0)
    first = next(iter(FeatureMse(weight=3.0).fit(learner, course)))
    assert first.loss == pytest.approx(expected.item(), rel=1e-5)


def test_feature_mse_needs_a_stage_that_both_have() -> None:
    learner, guide = student(), teacher()
    guide.network.tap_channels = {"penultimate": 2}
    with pytest.raises(UnsupportedError, match="no stage tap in common"):
        FeatureMse().fit(learner, lesson(guide))


def test_the_teacher_runs_only_if_it_is_asked_and_only_once() -> None:
    calls = []

    class Counting(Tiny):
        def forward(
            self, stimulus: torch.Tensor, timesteps: int = 1, taps: Sequence[str] = ()
        ) -> Output:
            calls.append(1)
            return super().forward(stimulus, timesteps, taps)

    guide = Teacher(network=Counting().eval(), mean=(0.0,), std=(1.0,))
    course = lesson(guide)
    batch: Batch = next(iter(course))
    answer = course.answer(batch, ["stage1"])
    assert not calls
    assert answer.logits.shape == (4, 3)
    assert answer.taps["stage1"].shape == (4, 2, 2, 2)
    assert len(calls) == 1


def test_the_teacher_sees_the_events_of_all_frames_in_one() -> None:
    guide = Teacher(network=Tiny().eval(), mean=(0.0,), std=(1.0,))
    frames = torch.rand(3, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(guide.see(frames).logits, guide.network(frames.sum(0), 1).logits)


def test_the_teacher_sees_its_own_normalisation() -> None:
    guide = Teacher(network=Tiny().eval(), mean=(0.25,), std=(0.125,))
    course = lesson(guide)
    batch = next(iter(course))
    expected = guide.network((batch.images - 0.25) / 0.125, 1).logits[0]
    assert torch.equal(course.answer(batch).logits, expected)


def test_maps_are_averaged_only_as_far_as_they_must() -> None:
    fine = torch.arange(36.0).view(1, 1, 6, 6)
    coarse, same = same_size(fine, fine[..., :3, :3])
    assert torch.equal(coarse, fine.view(1, 1, 3, 2, 3, 2).mean((3, 5)))
    assert torch.equal(same, fine[..., :3, :3])
    # 6 rows in 4 overlapping fields: rows 0-1, 1-2, 3-4, 4-5.
    odd, _ = same_size(fine, fine[..., :4, :4])
    assert odd[0, 0, 1, 0].item() == fine[0, 0, 1:3, 0:2].mean().item()
    # 6 rows in 3 fields that do not overlap, 6 columns in 4 that do.
    half, _ = same_size(fine, fine[..., :3, :4])
    assert half[0, 0, 1, 1].item() == fine[0, 0, 2:4, 1:3].mean().item()
