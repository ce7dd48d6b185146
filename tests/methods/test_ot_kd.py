"""Transport between clouds of points: costs by hand, marginals, limits and invariances."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student
from harness.training.losses.transport import plan, squared_distances, transport_cost
from suites.methods import ot_kd
from suites.methods.logit_kd import LogitKd
from suites.methods.ot_kd import METHOD, OtKd, fields
from tests.methods.small import lesson, student, teacher

Loss = Callable[[Output, Answer, Tensor], Tensor]


def _cloud(seed: int, points: int, *, width: int = 3) -> Tensor:
    return torch.randn(2, points, width, generator=torch.Generator().manual_seed(seed))


def _cost(ours: Tensor, theirs: Tensor, *, smoothing: float = 0.05, iterations: int = 50) -> Tensor:
    costs = squared_distances(ours, theirs)
    return transport_cost(costs, smoothing=smoothing, iterations=iterations)


def test_one_point_costs_its_squared_distance_over_the_width() -> None:
    found = _cost(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[4.0, 6.0]]]))
    assert found.tolist() == [12.5]  # (3^2 + 4^2) / 2


def test_one_point_is_shared_out_over_all_others() -> None:
    found = _cost(torch.zeros(1, 1, 1), torch.tensor([[[1.0], [3.0]]]))
    assert found.item() == pytest.approx((1 + 9) / 2, rel=1e-6)


def test_two_points_each_are_mixed_as_the_smoothing_says() -> None:
    # Costs (0, c; c, 0) of mean c/2. With eps = c/2 the mass off the diagonal is to that on
    # it as exp(-c / eps) = e^-2 to 1, and all of it pays c.
    cloud = torch.tensor([[[0.0], [3.0]]])
    found = _cost(cloud, cloud, smoothing=1.0).item()
    assert found == pytest.approx(9 / (1 + math.exp(2)), rel=1e-5)


def test_equal_clouds_of_points_far_apart_cost_nearly_nothing() -> None:
    # All n (n - 1) pairs cost c, so eps = 0.05 c (n - 1) / n, and each point keeps all its
    # mass but (n - 1) exp(-c / eps) < (n - 1) exp(-20).
    cloud = 10 * torch.eye(4).unsqueeze(0)
    assert 0 <= _cost(cloud, cloud).item() < 3 * math.exp(-20) * 50


def test_clouds_that_are_one_and_the_same_point_cost_nothing() -> None:
    cloud = torch.zeros(1, 5, 2, requires_grad=True)
    found = _cost(cloud, torch.zeros(1, 3, 2))
    found.sum().backward()
    assert found.item() == 0
    assert torch.equal(cloud.grad, torch.zeros(1, 5, 2))


def test_every_point_sends_and_receives_its_share() -> None:
    found = plan(squared_distances(_cloud(0, 6), _cloud(1, 4)), smoothing=0.2, iterations=200)
    assert torch.allclose(found.sum(2), torch.full((2, 6), 1 / 6), atol=1e-6)
    assert torch.allclose(found.sum(1), torch.full((2, 4), 1 / 4), atol=1e-6)


def test_the_cost_approaches_the_best_assignment_from_above() -> None:
    costs, smoothing = squared_distances(_cloud(0, 6), _cloud(1, 6)).double(), 0.02
    plans = plan(costs, smoothing=smoothing, iterations=5_000)
    values = transport_cost(costs, smoothing=smoothing, iterations=5_000)
    for cost, found, value in zip(costs, plans, values, strict=True):
        rows, columns = linear_sum_assignment(cost.numpy())
        best = cost[rows, columns].mean().item()
        # The plan minimises <P, C> - eps H(P); its entropy exceeds an assignment's,
        # which is log n, by at most log n.
        gap = smoothing * cost.mean().item() * math.log(6)
        # Rows that do not add up to 1/n yet are put right by moving at most twice that mass
        # (Altschuler et al., NeurIPS 2017, lemma 7).
        unsettled = 2 * (found.sum(1) - 1 / 6).abs().sum() * cost.max()
        assert unsettled < gap / 10
        assert best - unsettled <= value <= best + gap + unsettled


def test_each_cloud_has_a_smoothing_of_its_own_scale() -> None:
    ours, theirs = _cloud(0, 6), _cloud(1, 4)
    scale = torch.tensor([1.0, 100.0]).view(2, 1, 1)
    expected = _cost(ours, theirs) * scale.flatten() ** 2
    assert torch.allclose(_cost(ours * scale, theirs * scale), expected, rtol=1e-4)


def test_costs_far_beyond_the_exponential_leave_no_mass_behind() -> None:
    # exp(-c / eps) = exp(-2000) is 0 in float32: only logarithms can share this out. They
    # are as large as 2000, which float32 has to 1e-4, and the mass with them.
    costs = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    found = plan(costs, smoothing=1e-3, iterations=50)
    assert torch.allclose(found, torch.full((1, 2, 2), 0.25), rtol=1e-3)


def test_the_gradient_of_the_cost_is_the_plan() -> None:
    costs = squared_distances(_cloud(0, 6), _cloud(1, 4)).requires_grad_()
    transport_cost(costs, smoothing=0.05, iterations=50).sum().backward()
    assert torch.equal(costs.grad, plan(costs, smoothing=0.05, iterations=50))


def test_distances_are_not_rounded_inside_autocast() -> None:
    ours, theirs = _cloud(0, 6), _cloud(1, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = _cost(ours, theirs)
    assert torch.equal(found, _cost(ours, theirs))


def _maps(seed: int, *, channels: int = 3, side: int = 3) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(seed))


def _shuffled(maps: Tensor, seed: int = 5) -> Tensor:
    order = torch.randperm(maps[0, 0].numel(), generator=torch.Generator().manual_seed(seed))
    return maps.flatten(2)[..., order].view_as(maps)


def test_without_a_place_term_it_does_not_matter_where_a_feature_is() -> None:
    method, rate, feature = OtKd(), _maps(0), _maps(1)
    expected = method.transport(nn.Identity(), rate, feature).item()
    for ours, theirs in ((_shuffled(rate), feature), (rate, _shuffled(feature))):
        found = method.transport(nn.Identity(), ours, theirs).item()
        assert found == pytest.approx(expected, rel=1e-5)
    placed = OtKd(place_weight=1.0)
    before = placed.transport(nn.Identity(), rate, feature).item()
    after = placed.transport(nn.Identity(), rate, _shuffled(feature)).item()
    assert after != pytest.approx(before, rel=1e-3)


def test_the_place_term_charges_the_squared_way_across_the_map() -> None:
    # Two features far apart have changed places: each goes half a map, to 3/4 from 1/4.
    # The cost of staying is 400, so eps = 10 and all but exp(-40) of the mass goes.
    rate = torch.tensor([0.0, 20.0]).view(1, 1, 1, 2)
    found = OtKd(place_weight=8.0).transport(nn.Identity(), rate, rate.flip(-1)).item()
    assert found == pytest.approx(8.0 * 0.5**2, rel=1e-5)


def test_a_field_stands_in_its_middle() -> None:
    # One field at 1/2 is shared out to two at 1/4 and 3/4, all of the same feature.
    found = OtKd(place_weight=8.0).transport(
        nn.Identity(), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 2)
    )
    assert found.item() == pytest.approx(8.0 * 0.25**2, rel=1e-5)


def test_transport_is_a_mean_over_samples() -> None:
    rate, feature = _maps(0), _maps(1)
    once = OtKd().transport(nn.Identity(), rate, feature).item()
    twice = OtKd().transport(nn.Identity(), rate.repeat(2, 1, 1, 1), feature.repeat(2, 1, 1, 1))
    assert twice.item() == pytest.approx(once, rel=1e-5)


def test_maps_of_different_resolution_can_be_compared() -> None:
    rate = torch.tensor([0.0, 20.0]).view(1, 1, 2, 1).repeat(1, 1, 2, 4)
    feature = torch.tensor([0.0, 20.0]).view(1, 1, 2, 1)
    assert OtKd().transport(nn.Identity(), rate, feature).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("size", "fewer"), [(8, 8), (9, 5), (16, 8), (3, 3)])
def test_a_large_map_is_averaged_down_to_at_most_as_many_fields(size: int, fewer: int) -> None:
    assert fields(torch.rand(1, 2, size, size), side=8).shape == (1, 2, fewer, fewer)


def test_a_field_at_the_edge_averages_only_what_there_is() -> None:
    maps = torch.tensor([1.0, 3.0, 7.0]).view(1, 1, 1, 3)
    assert fields(maps, side=2).flatten().tolist() == [2.0, 7.0]


def test_the_transport_weight_rises_over_its_ramp_and_stays() -> None:
    found = list(OtKd(transport_weight=1.0, ramp=0.5).transport_weights(8))
    assert found == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert list(OtKd(transport_weight=1.0, ramp=0.0).transport_weights(2)) == [1.0, 1.0]


def _caught(
    monkeypatch: pytest.MonkeyPatch, method: OtKd, learner: Student, course: Lesson
) -> tuple[Loss, nn.ModuleDict]:
    """Return the loss of ``method`` and its projectors, before anything is trained."""
    found: list[tuple[Loss, nn.ModuleDict]] = []

    def catch(_student: Student, _lesson: Lesson, loss: Loss, **words: object) -> tuple[()]:
        (projectors,) = words["also_train"]
        found.append((loss, projectors))
        return ()

    monkeypatch.setattr(ot_kd, "descend", catch)
    list(method.fit(learner, course))
    return found[0]


def test_the_loss_adds_transport_of_every_stage_to_the_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = OtKd(transport_weight=3.0, ramp=0.0, logit_weight=0.5)
    learner, guide = student("resnet", timesteps=4), teacher("resnet")
    course, stages = lesson(guide, timesteps=4), ["stage1", "stage2"]
    loss, projectors = _caught(monkeypatch, method, learner, course)
    batch = next(iter(course))
    output, answer = learner(batch.stimulus, stages), course.answer(batch, stages)
    moved = sum(
        method.transport(projectors[name], sum(output.taps[name]) / 4, answer.taps[name])
        for name in stages
    )
    rest = LogitKd(weight=0.5).loss(output, answer, batch.labels)
    found = loss(output, answer, batch.labels)
    assert found.item() == pytest.approx((rest + 3.0 * moved).item(), rel=1e-5)
    found.backward()
    for weight in projectors.parameters():
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0
    assert learner.network.get_parameter("conv1.weight").grad.abs().max() > 0


def test_the_defaults_are_the_reconstructions_none_being_published() -> None:
    assert (
        OtKd(
            temperature=4.0,
            logit_weight=1.0,
            transport_weight=0.1,
            ramp=0.2,
            smoothing=0.05,
            iterations=50,
            place_weight=0.0,
            side=8,
        )
        == METHOD
    )


def test_a_teacher_of_other_widths_can_teach() -> None:
    learner, guide = student("convnet"), teacher("vgg")
    assert (learner.tap_channels["stage1"], guide.tap_channels["stage1"]) == (6, 4)
    assert list(OtKd().fit(learner, lesson(guide)))
