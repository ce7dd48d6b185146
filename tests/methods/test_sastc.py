"""Self-attentive calibration against numbers worked out by hand."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.method import Method
from harness.contracts.model import Model
from harness.training import Batch, Student, Teacher
from suites.methods.logit_kd import LogitKd
from suites.methods.sastc import METHOD, Calibration, Sastc, similarities
from tests.methods import small, teaching_aids


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return (noise(*shape, seed=seed) > 0.5).float()


def two_by_two(timesteps: int = 2) -> tuple[list[Tensor], list[Tensor]]:
    """Return maps of two stages on either side, as many samples as queries of length 4 need."""
    ours = [spikes(timesteps, 16, 3, 8, 8), spikes(timesteps, 16, 5, 4, 4, seed=1)]
    theirs = [noise(16, 4, 8, 8, seed=2), noise(16, 7, 4, 4, seed=3)]
    return ours, theirs


def calibration() -> Calibration:
    torch.manual_seed(0)
    return Calibration([3, 5], [4, 7], batch_size=16)


def transparent(ours: int, theirs: int, *, batch_size: int) -> Calibration:
    """Return a calibration whose networks all answer what they are asked."""
    found = Calibration([1] * ours, [1] * theirs, batch_size=batch_size)
    found.queries = nn.ModuleList(nn.Identity() for _ in range(ours))
    found.keys = nn.ModuleList(nn.Identity() for _ in range(theirs))
    found.regressors = nn.ModuleList(nn.Identity() for _ in range(ours * theirs))
    return found


# Two samples that fire at one pixel each, and not at all in the second step.
FIRST = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]], [[[0.0, 1.0], [0.0, 0.0]]]])  # [N, 1, 2, 2]
SPIKES = torch.stack([FIRST, torch.zeros_like(FIRST)])  # [T, N, 1, 2, 2]
# The teacher's first stage is what the student fires at first; its second is 3 everywhere.
FEATURES = [FIRST, torch.full((2, 1, 1, 1), 3.0)]
# Similarities: step 0 and the first stage ((1, 0), (0, 1)), the second ((9, 9), (9, 9)). Queries
# and keys are their rows at length 1, so the products are 1 and 1 / sqrt(2); in the silent
# step they are 0. Hence the attention of step 0 for the first stage, of either sample:
ATTENTION = 1 / (1 + math.exp(math.sqrt(0.5) - 1))


def test_similarities_are_products_filled_up_with_zeros() -> None:
    maps = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(2, 1, 1, 2)
    expected = torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0]])
    assert torch.equal(similarities(maps, width=3), expected)


def test_attention_is_the_softmax_of_queries_with_keys() -> None:
    found = transparent(1, 2, batch_size=2).attention([SPIKES], FEATURES)
    row = torch.tensor([ATTENTION, 1 - ATTENTION])
    assert torch.allclose(found[0, :, 0], row)
    assert torch.equal(found[1, :, 0], torch.full((2, 2), 0.5))


def test_attention_sums_to_one_over_the_layers_of_the_teacher() -> None:
    for timesteps in (1, 2):
        found = calibration().attention(*two_by_two(timesteps))
        assert found.shape == (timesteps, 16, 2, 2)
        assert torch.allclose(found.sum(-1), torch.ones(timesteps, 16, 2))
        assert found.std() > 1e-3  # and is no mere average


def test_attention_differs_between_steps_and_samples() -> None:
    found = calibration().attention(*two_by_two())
    assert not torch.allclose(found[0], found[1], atol=1e-5)
    assert not torch.allclose(found[:, :1], found[:, 1:], atol=1e-5)


def test_the_loss_weighs_each_error_with_its_attention() -> None:
    # Step 0: the first stage is met; the second has the student's maximum, 1, against 3.
    # Step 1: one pixel in four is off by 1, and the maximum is 0 against 3.
    early = (1 - ATTENTION) * 4
    late = 0.5 * 0.25 + 0.5 * 9
    found = transparent(1, 2, batch_size=2)([SPIKES], FEATURES)
    assert found.item() == pytest.approx((early + late) / 2, rel=1e-6)


def test_the_loss_is_a_mean_over_the_stages_of_the_student() -> None:
    once = transparent(1, 2, batch_size=2)([SPIKES], FEATURES)
    twice = transparent(2, 2, batch_size=2)([SPIKES, SPIKES], FEATURES)
    assert twice.item() == pytest.approx(once.item(), rel=1e-6)


def test_a_finer_map_of_the_teacher_is_averaged() -> None:
    # Each 2x2 field of 0, 0, 1, 1 is 1/2; the student says 0.
    fine = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(2, 1, 2, 2)
    found = transparent(1, 1, batch_size=2)([torch.zeros(1, 2, 1, 2, 2)], [fine])
    assert found.item() == 0.25


def test_maxima_are_taken_of_sizes_that_do_not_divide_too() -> None:
    lone = torch.zeros(1, 2, 1, 3, 3)
    lone[..., 1, 1] = 1.0  # in all four fields of two by two
    found = transparent(1, 1, batch_size=2)([lone], [torch.ones(2, 1, 2, 2)])
    assert found.item() == 0


def test_maxima_are_taken_where_one_side_alone_divides() -> None:
    # Rows 0-1 and 2-3, columns 0-1 and 1-2: what fires at (3, 1) is in both lower fields.
    lone = torch.zeros(1, 2, 1, 4, 3)
    lone[..., 3, 1] = 1.0
    feature = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(2, 1, 1, 1)
    assert transparent(1, 1, batch_size=2)([lone], [feature]).item() == 0


def test_one_layer_of_the_teacher_has_all_the_attention() -> None:
    ours, theirs = two_by_two(timesteps=1)
    torch.manual_seed(0)
    single = Calibration([3], [4], batch_size=16)
    assert torch.equal(single.attention(ours[:1], theirs[:1]), torch.ones(1, 16, 1, 1))
    errors = single.errors(ours[:1], theirs[:1])
    assert single(ours[:1], theirs[:1]).item() == pytest.approx(errors.mean().item(), rel=1e-6)


def test_steps_are_regressed_together_as_they_would_be_alone() -> None:
    alone = calibration().eval()
    ours, theirs = two_by_two(timesteps=3)
    together = alone.errors(ours, theirs)
    for step in range(3):
        found = alone.errors([maps[step : step + 1] for maps in ours], theirs)
        assert torch.allclose(found[0], together[step], atol=1e-6)


def test_a_batch_that_is_not_full_is_calibrated_too() -> None:
    ours, theirs = two_by_two()
    fewer = calibration()([maps[:, :4] for maps in ours], [maps[:4] for maps in theirs])
    assert torch.isfinite(fewer)


def test_queries_keys_regressors_and_the_student_receive_gradient() -> None:
    found = calibration()
    ours, theirs = two_by_two()
    for maps in ours:
        maps.requires_grad_()
    found(ours, theirs).backward()
    for name, weight in found.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
    assert all(maps.grad is not None and maps.grad.abs().max() > 0 for maps in ours)


def test_the_student_is_taught_through_the_attention_as_well() -> None:
    found = calibration()
    ours, theirs = two_by_two()
    ours[0].requires_grad_()
    found.attention(ours, theirs)[..., 0].sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert ours[0].grad is not None
    assert ours[0].grad.abs().max() > 0


def first_loss(method: Method) -> float:
    torch.manual_seed(0)
    learner, guide = small.student("resnet"), small.teacher("resnet")
    return next(iter(method.fit(learner, small.lesson(guide)))).loss


def test_without_the_calibration_it_is_logit_distillation() -> None:
    plain = LogitKd(temperature=4.0, weight=0.5)
    assert first_loss(Sastc(feature_weight=0, logit_weight=0.5)) == first_loss(plain)


def test_the_loss_is_linear_in_the_weight_of_the_calibration() -> None:
    none, one, five = (first_loss(Sastc(feature_weight=weight)) for weight in (0.0, 1.0, 5.0))
    assert one > none
    assert five - none == pytest.approx(5 * (one - none), rel=1e-4)


def test_the_calibration_is_that_of_all_stages_of_both_networks() -> None:
    torch.manual_seed(0)
    learner, guide = small.student("resnet"), small.teacher("resnet")
    stages = ["stage1", "stage2"]
    network = Calibration([4, 8], [4, 8], batch_size=small.SAMPLES)
    batch = next(iter(small.lesson(guide)))
    ours = learner(batch.stimulus, stages).taps
    theirs = guide.see(batch.images, stages).taps
    error = network([ours[name] for name in stages], [theirs[name][0] for name in stages])
    none, five = (first_loss(Sastc(feature_weight=weight)) for weight in (0.0, 5.0))
    assert five - none == pytest.approx(5 * error.item(), rel=1e-4)


def test_by_default_the_calibration_weighs_ten_beside_softened_logits() -> None:
    plain = first_loss(LogitKd(temperature=4.0, weight=1.0))
    once = first_loss(Sastc(feature_weight=1.0))
    assert first_loss(METHOD) == pytest.approx(plain + 10 * (once - plain), rel=1e-4)


def test_queries_are_half_then_a_quarter_as_long_and_regressors_twice_as_wide() -> None:
    found = Calibration([3], [4], batch_size=16)
    shapes = {name: tuple(weight.shape) for name, weight in found.named_parameters()}
    assert shapes == {
        "queries.0.0.weight": (8, 16),
        "queries.0.0.bias": (8,),
        "queries.0.2.weight": (4, 8),
        "queries.0.2.bias": (4,),
        "keys.0.0.weight": (8, 16),
        "keys.0.0.bias": (8,),
        "keys.0.2.weight": (4, 8),
        "keys.0.2.bias": (4,),
        "regressors.0.0.weight": (8, 3, 3, 3),
        "regressors.0.1.weight": (8,),
        "regressors.0.1.bias": (8,),
        "regressors.0.3.weight": (4, 8, 1, 1),
    }


def test_a_regressor_keeps_the_resolution_and_rectifies() -> None:
    (regress,) = cast(Iterable[nn.Sequential], Calibration([3], [4], batch_size=16).regressors)
    assert regress(spikes(2, 3, 4, 4)).shape == (2, 4, 4, 4)
    assert regress[:3](spikes(2, 3, 4, 4)).amin() == 0


def test_queries_are_rectified_in_between_and_have_a_number_even_of_one_sample() -> None:
    (network,) = cast(Iterable[nn.Sequential], Calibration([3], [4], batch_size=16).queries)
    assert network[:2](noise(8, 16) - 0.5).amin() == 0
    (least,) = cast(Iterable[nn.Sequential], Calibration([3], [4], batch_size=1).queries)
    assert [tuple(weight.shape) for weight in least.parameters()] == [(1, 1), (1,)] * 2


def test_networks_of_different_depth_are_matched() -> None:
    learner, guide = small.student("convnet"), small.teacher("resnet")
    before = learner.network.get_parameter("conv1.weight").clone()
    list(Sastc().fit(learner, small.lesson(guide)))
    assert not torch.equal(before, learner.network.get_parameter("conv1.weight"))


def test_a_network_without_stages_is_refused() -> None:
    learner, guide = teaching_aids.student(), teaching_aids.teacher()
    learner.network.tap_channels = {"penultimate": 2}  # type: ignore[assignment]  # nn.Module types every attribute as Tensor or Module
    with pytest.raises(UnsupportedError, match="no stage tap"):
        Sastc().fit(learner, teaching_aids.lesson(guide))


def operations(method: Method) -> int:
    """Return the multiplications of one step of ResNet-20 at T = 2."""
    samples = 8
    topology = cast(Model, discovery.load("models", "resnet20"))
    simulator = cast(Backend, discovery.load("backends", "reference"))

    def twin(activation: Callable[[], nn.Module]) -> nn.Module:
        return topology.build(activation, input=Image(shape=(3, 32, 32)), output=Classes(10))

    frozen = twin(nn.ReLU).eval().requires_grad_(requires_grad=False)
    images = noise(samples, 3, 32, 32)
    which = torch.arange(samples)
    batch = Batch(stimulus=images, labels=which, indices=which, images=images)
    course = small.lesson(Teacher(network=frozen, mean=(0.5,) * 3, std=(0.5,) * 3), steps=1)
    course = small.but(replace(course, epochs=[[batch]]), batch_size=samples)
    network = twin(lambda: simulator.neuron(small.SPEC))
    learner = Student(network=network, timesteps=2, twin=twin)
    with FlopCounterMode(display=False) as counter:
        list(method.fit(learner, course))
    return int(counter.get_total_flops())


def test_a_step_of_resnet20_costs_less_than_three_of_logit_distillation() -> None:
    assert operations(Sastc()) < 3 * operations(LogitKd())
