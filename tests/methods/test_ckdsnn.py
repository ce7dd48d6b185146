"""Activation maps and noisy logits."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from harness.contracts.method import Method
from harness.training import softened_kl
from suites.methods.ckdsnn import (
    METHOD,
    Ckdsnn,
    class_map,
    map_divergence,
    scaled,
    spike_map,
    with_noise,
)
from suites.methods.logit_kd import LogitKd
from tests.methods.small import STATIC, lesson, student, teacher


def _maps() -> Tensor:
    return torch.rand(5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_scaled_map_goes_from_zero_to_one_sample_by_sample() -> None:
    found = scaled(torch.tensor([[1.0, 3.0, 2.0], [-10.0, 30.0, 0.0], [7.0, 7.0, 7.0]]))
    assert found.tolist() == [[0.0, 1.0, 0.5], [0.0, 1.0, 0.25], [0.0, 0.0, 0.0]]


def test_maps_do_not_change_with_scale_and_offset() -> None:
    maps = _maps()
    scale = torch.tensor([1e-6, 0.5, 2.0, 10.0, 1e6], dtype=torch.float64)[:, None, None]
    offset = torch.arange(5.0, dtype=torch.float64)[:, None, None]
    again = scaled((scale * maps + offset).flatten(1))
    assert torch.allclose(again, scaled(maps.flatten(1)), atol=1e-8)


def test_maps_that_look_at_the_same_have_no_divergence() -> None:
    maps = _maps()
    assert map_divergence(3 * maps + 1, maps, temperature=2.0).item() == pytest.approx(0, abs=1e-12)
    assert map_divergence(maps.flip(0), maps, temperature=2.0).item() > 1e-3


def test_the_divergence_of_maps_is_that_of_softmax_over_sites() -> None:
    # Two sites at temperature Tau: the teacher looks at the first, (1, 0) once scaled, so
    # p = sigmoid(1 / Tau) there; the student sees both alike, so q = 1/2.
    ours, theirs = torch.full((1, 1, 2), 3.0), torch.tensor([[[9.0, 5.0]]])
    p = 1 / (1 + math.exp(-1 / 2))
    expected = 4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    found = map_divergence(ours, theirs, temperature=2.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_maps_are_compared_at_the_coarser_resolution() -> None:
    coarse = _maps()
    fine = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert map_divergence(fine, coarse, temperature=2.0).item() == pytest.approx(0, abs=1e-12)


def test_a_silent_sample_has_a_gradient_of_ordinary_size() -> None:
    silent = torch.zeros(2, 4, 4, requires_grad=True)
    map_divergence(silent, _maps()[:2].float(), temperature=2.0).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert silent.grad is not None
    # At most Tau (q - p) a site and sample, which is less than Tau; by Tau^2 / (Tau N).
    assert 0 < silent.grad.abs().max().item() < 2


def test_the_spike_map_counts_channels_and_steps() -> None:
    spikes = torch.zeros(3, 1, 2, 2, 2)
    spikes[0, 0, 0, 1, 0] = spikes[2, 0, 0, 1, 0] = spikes[1, 0, 1, 1, 0] = 1
    spikes[1, 0, 1, 0, 1] = 1
    assert spike_map(spikes)[0].tolist() == [[0.0, 1.0], [3.0, 0.0]]


def test_grad_cam_weighs_channels_by_the_mean_gradient_of_the_class() -> None:
    guide = teacher("convnet")
    weight = guide.network.get_submodule("fc").get_parameter("weight")  # [3, 6 * 16]
    weight.zero_()
    # Class 0 reads 16 times the first channel on average, though unevenly, and dislikes the
    # second; class 1 reads the third alone.
    by_channel = weight.view(3, 6, 16)
    by_channel[0, 0, :8] = 2.0
    by_channel[0, 1] = -1.0
    by_channel[1, 2] = 1.0
    feature = torch.rand(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    found = class_map(guide, "stage1", feature, torch.tensor([0, 1]))
    assert torch.allclose(found[0], (feature[0, 0] - feature[0, 1]).relu(), atol=1e-6)
    assert torch.allclose(found[1], feature[1, 2], atol=1e-6)


@pytest.mark.parametrize("kind", ["convnet", "vgg", "resnet"])
def test_the_map_exists_for_every_topology_and_has_no_gradient(kind: str) -> None:
    guide = teacher(kind)  # type: ignore[arg-type]  # a literal by parametrisation
    stage = [name for name in guide.tap_channels if name.startswith("stage")][-1]
    answer = guide.see(torch.rand(4, *STATIC), [stage])
    feature = answer.taps[stage][0]
    found = class_map(guide, stage, feature, answer.logits[0].argmax(1))
    assert found.shape == (4, *feature.shape[-2:])
    assert not found.requires_grad
    assert found.min() >= 0
    assert found.any()
    assert all(weight.grad is None for weight in guide.network.parameters())


def test_without_noise_the_logits_term_is_the_softened_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 6, 5, generator=generator)
    noisy = with_noise(ours, share=0.0)
    expected = softened_kl(ours, theirs, temperature=2.0)
    assert softened_kl(noisy, theirs, temperature=2.0).item() == expected.item()


def test_the_noise_has_mean_and_deviation_of_the_samples_logits() -> None:
    torch.manual_seed(0)
    # Two samples of many equal pairs: means 1 and -2; deviations 3 and 0.5.
    means, deviations = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.5])
    signs = torch.tensor([1.0, -1.0]).repeat(20_000)
    logits = means[:, None] + deviations[:, None] * signs
    noise = (with_noise(logits, share=0.1) - logits) / 0.1
    # 40000 draws: the mean is known to 3 / 200, a deviation to 0.35 % of itself.
    assert noise.mean(1).tolist() == pytest.approx(means.tolist(), abs=0.06)
    assert noise.std(1).tolist() == pytest.approx(deviations.tolist(), rel=0.02)


def test_the_gradient_flows_through_the_noise() -> None:
    logits = torch.tensor([[0.0, 2.0]], requires_grad=True)
    torch.manual_seed(0)
    noisy = with_noise(logits, share=0.5)
    noisy.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    # Mean 1, deviation sqrt(2). What was drawn, e, adds 1/2 (2 + sqrt(2) sum e) to the sum 2.
    drawn = (2 * (noisy.sum().item() - 2) - 2) / math.sqrt(2)
    # The deviation's gradient is (z - mean) / deviation, the mean's is 1/2 for each of two.
    expected = [1 + 0.5 * (1 + drawn * sign / math.sqrt(2)) for sign in (-1, 1)]
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_logits_that_are_all_alike_have_a_finite_gradient() -> None:
    # A silent student's deviation is 0, where a square root has none.
    silent = torch.zeros(2, 3, requires_grad=True)
    with_noise(silent, share=0.1)[:, 0].sum().backward()
    assert silent.grad is not None
    # Itself, and its third of the mean.
    assert torch.allclose(silent.grad[:, 1], torch.full((2,), 0.1 / 3))
    assert torch.allclose(silent.grad[:, 0], torch.full((2,), 1 + 0.1 / 3))


def test_all_terms_are_learnt() -> None:
    def first(method: Ckdsnn) -> float:
        torch.manual_seed(0)
        return next(iter(method.fit(student("vgg"), lesson(teacher("vgg"))))).loss

    nothing = first(Ckdsnn(map_weight=0.0, logit_weight=0.0))
    maps, logits = first(Ckdsnn(logit_weight=0.0)), first(Ckdsnn(map_weight=0.0))
    assert all(low < high for low, high in pairwise([nothing, maps, first(Ckdsnn())]))
    expected = maps + logits - nothing
    assert first(Ckdsnn()) == pytest.approx(expected, rel=1e-5)


def test_without_noise_maps_of_the_teachers_decisions_are_added_to_logit_distillation() -> None:
    def first(method: Method) -> float:
        return next(iter(method.fit(student("vgg"), lesson(teacher("vgg"))))).loss

    learner, guide = student("vgg"), teacher("vgg")
    batch = next(iter(lesson(guide)))
    ours, theirs = learner(batch.stimulus, ["stage2"]), guide.see(batch.images, ["stage2"])
    feature, decisions = theirs.taps["stage2"][0], theirs.logits[0].argmax(1)
    looks = class_map(guide, "stage2", feature, decisions)
    maps = map_divergence(spike_map(ours.taps["stage2"]), looks, temperature=2.0).item()
    expected = first(LogitKd(temperature=2.0, weight=0.5)) + 3 * maps
    assert first(Ckdsnn(noise=0.0, map_weight=3.0, logit_weight=0.5)) == pytest.approx(
        expected, rel=1e-5
    )


def test_the_published_constants_are_the_defaults() -> None:
    assert (
        Ckdsnn(map_temperature=2.0, map_weight=1.0, temperature=2.0, noise=0.1, logit_weight=1.0)
        == METHOD
    )
