"""The affine projector against numbers worked out by hand."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.method import Method
from suites.methods.affine_projector import AffineProjector, Alignment
from suites.methods.logit_kd import LogitKd
from suites.models._resnet import ResNet
from suites.models._signal import Activation
from tests.methods import small


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_features_that_agree_up_to_scale_and_shift_are_aligned_from_the_start() -> None:
    feature = noise(8, 3, 4, 4)
    scale = torch.tensor([0.5, 2.0, 3.0]).view(3, 1, 1)
    assert Alignment(3, 3)(scale * feature + 7, feature).item() == pytest.approx(0, abs=1e-6)


def test_the_opposite_of_a_feature_is_two_deviations_away() -> None:
    # At deviation 1 the difference is twice the feature, its mean square 4. The norm adds
    # 1e-5 to a variance of 1.
    signs = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)
    assert Alignment(1, 1)(-signs, signs).item() == pytest.approx(4 / (1 + 1e-5), rel=1e-6)


def test_features_are_compared_at_the_coarser_resolution() -> None:
    fine, coarse = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 2, 2)
    fine[0, 0, ::2] = 2.0  # averages to 1, in the second sample to 0
    coarse[0] = 1.0
    assert Alignment(1, 1)(fine, coarse).item() == pytest.approx(0, abs=1e-12)
    assert Alignment(1, 1)(coarse, fine).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (5, 3)])
def test_between_different_widths_the_projector_starts_as_a_rotation(
    inputs: int, outputs: int
) -> None:
    weight = Alignment(inputs, outputs).projector.weight.flatten(1)  # [outputs, inputs]
    square = weight @ weight.T if outputs < inputs else weight.T @ weight
    assert torch.allclose(square, torch.eye(min(inputs, outputs)), atol=1e-5)


def test_all_that_the_projector_can_learn_receives_gradient() -> None:
    alignment, ours = Alignment(4, 6), noise(8, 4, 3, 3).requires_grad_()
    alignment(ours, noise(8, 6, 3, 3)).backward()
    assert [name for name, _ in alignment.named_parameters()] == ["projector.weight"]
    weight = alignment.projector.weight
    assert weight.grad is not None
    assert (weight.grad.abs() > 0).all()
    assert ours.grad is not None
    assert ours.grad.abs().max() > 0


def first_loss(method: Method, timesteps: int = 2) -> float:
    learner, guide = small.student("resnet", timesteps=timesteps), small.teacher("resnet")
    return next(iter(method.fit(learner, small.lesson(guide)))).loss


@pytest.mark.parametrize("timesteps", [1, 2])
@pytest.mark.parametrize("feature", ["spike", "membrane"])
def test_the_feature_is_the_last_stage_averaged_over_time(
    feature: Literal["spike", "membrane"], timesteps: int
) -> None:
    learner, guide = small.student("resnet", timesteps=timesteps), small.teacher("resnet")
    batch = next(iter(small.lesson(guide)))
    tap = "stage2" if feature == "spike" else "stage2.membrane"
    output = learner(batch.stimulus, [tap])
    ours = output.taps[tap].mean(0)
    theirs = guide.see(batch.images, ["stage2"]).taps["stage2"][0]
    standard = [
        (each - each.mean((0, 2, 3), keepdim=True))
        / (each.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        for each in (ours, theirs)
    ]
    labels = cross_entropy(output.logits.mean(0), batch.labels)
    expected = labels + 2 * (standard[0] - standard[1]).square().mean()
    found = first_loss(AffineProjector(feature=feature, weight=2), timesteps)
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_spikes_and_membranes_are_different_features() -> None:
    assert first_loss(AffineProjector()) != first_loss(AffineProjector(feature="membrane"))


def test_without_features_it_is_logit_distillation() -> None:
    method = AffineProjector(weight=0, logit_weight=0.5, temperature=2.0)
    assert first_loss(method) == first_loss(LogitKd(temperature=2.0, weight=0.5))


def test_a_student_of_another_width_learns() -> None:
    learner, guide = small.student("convnet"), small.teacher("resnet")
    before = learner.network.get_parameter("conv1.weight").clone()
    list(AffineProjector(feature="membrane").fit(learner, small.lesson(guide)))
    assert not torch.equal(before, learner.network.get_parameter("conv1.weight"))


def test_currents_that_are_summed_have_no_membrane_to_align() -> None:
    def topology(activation: Activation) -> nn.Module:
        made = ResNet(blocks=(1, 1), widths=(4, 8), style="ms")
        return made.build(
            activation, input=Image(shape=small.STATIC), output=Classes(small.CLASSES)
        )

    usual = small.student("resnet")
    learner = replace(usual, network=topology(lambda: usual.neuron(usual.spec)), twin=topology)
    course = small.lesson(small.teacher("resnet"))
    with pytest.raises(UnsupportedError, match=r"no neuron of this network made 'stage2'"):
        list(AffineProjector(feature="membrane").fit(learner, course))
    assert list(AffineProjector().fit(learner, course))
