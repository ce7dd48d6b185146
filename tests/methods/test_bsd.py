"""Spectra, filter and both distances, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.method import Method
from harness.training.losses.spectra import (
    EPSILON,
    band_energies,
    cosine_spectrum,
    mean_band_energy,
    radial_bands,
    standardised,
)
from suites.methods.bsd import METHOD, Bsd, SpectralFilter, semantic_error
from suites.methods.logit_kd import LogitKd
from tests.methods import small

# The highest frequency there is, in the corner of the plane of frequencies.
CHECKERBOARD = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).view(1, 1, 2, 2)
SHRINKING = 1 / (1 + EPSILON)  # of what had variance 1, when it is standardised


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_bands_are_rings_around_frequency_zero() -> None:
    # 2x2 pixels have radii 0, 1/2, 1/2 and sqrt(1/2), the last being the end of all bands.
    assert radial_bands(2, 2, bands=8).tolist() == [[0, 5], [5, 7]]  # floor(8 sqrt(1/2)) = 5
    # Four pixels in a row: 0, 1/4, 1/2, 1/4; floor(8 sqrt(1/8)) = 2.
    assert radial_bands(1, 4, bands=8).tolist() == [[0, 2, 5, 2]]
    assert radial_bands(5, 7, bands=1).count_nonzero() == 0


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 1)])
@pytest.mark.parametrize("bands", [1, 2, 8])
def test_band_energies_add_up_to_the_squared_error_over_pixels(
    size: tuple[int, int], bands: int
) -> None:
    first, second = noise(2, 3, *size), noise(3, *size)
    found = band_energies(first - second, bands=bands).sum(-1)
    assert found.shape == (2, 3)
    assert torch.allclose(found, (first - second).square().sum((-2, -1)), rtol=1e-5)


def test_one_band_is_the_mean_squared_error() -> None:
    maps = noise(4, 3, 6, 6)
    found = mean_band_energy(maps, bands=1)
    assert found.item() == pytest.approx(maps.square().mean().item(), rel=1e-5)


def test_bands_weigh_alike_and_those_without_a_frequency_not_at_all() -> None:
    # Of 2x2 pixels three bands of eight have frequencies. The checkerboard's energy, 4, is in
    # one that has a single one; that of two stripes of +1 and -1 in one that has two.
    stripes = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    assert mean_band_energy(CHECKERBOARD, bands=8).item() == pytest.approx(4 / 3, rel=1e-6)
    assert mean_band_energy(stripes, bands=8).item() == pytest.approx(2 / 3, rel=1e-6)


def test_the_cosine_spectrum_is_a_rotation_that_finds_the_mean_first() -> None:
    basis = cosine_spectrum(torch.eye(5))
    assert torch.allclose(basis @ basis.T, torch.eye(5), atol=1e-6)
    flat = cosine_spectrum(torch.full((5,), 3.0))
    assert torch.allclose(flat, torch.tensor([3 * math.sqrt(5), 0, 0, 0, 0]), atol=1e-5)
    # cos(pi / 3 (n + 1/2) k) at k = 1 and n = 0, 1, 2 is sqrt(3)/2, 0, -sqrt(3)/2; times sqrt(2/3).
    falling = cosine_spectrum(torch.tensor([1.0, 0.0, -1.0]))
    assert torch.allclose(falling, torch.tensor([0, math.sqrt(2), 0]), atol=1e-6)


def test_standardised_values_ignore_shift_and_scale_unless_they_hardly_vary() -> None:
    values = 100 * noise(3, 8, 8)
    found = standardised(values, (-2, -1))
    assert torch.allclose(found, standardised(5 * values - 7, (-2, -1)), atol=1e-4)
    assert torch.equal(standardised(torch.full((3, 4, 4), 0.5), (-2, -1)), torch.zeros(3, 4, 4))


def test_the_filter_starts_as_the_identity() -> None:
    maps = noise(2, 6, 5, 4)
    assert torch.equal(SpectralFilter(6, bands=8, groups=4)(maps), maps)


def test_the_filter_amplifies_the_band_it_is_told_to() -> None:
    filtering = SpectralFilter(1, bands=8, groups=4)
    with torch.no_grad():
        filtering.gain[0, 7] = 1.5
    ground = torch.full_like(CHECKERBOARD, 0.25)
    found = filtering(ground + CHECKERBOARD)
    assert torch.allclose(found, ground + 2.5 * CHECKERBOARD, atol=1e-6)


def test_groups_of_channels_have_gains_of_their_own() -> None:
    filtering = SpectralFilter(4, bands=8, groups=2)
    with torch.no_grad():
        filtering.gain[1] = 1.0  # of all bands: twice the map
    maps = noise(2, 4, 6, 5)
    expected = maps * torch.tensor([1.0, 1.0, 2.0, 2.0]).view(4, 1, 1)
    assert torch.allclose(filtering(maps), expected, atol=1e-5)


def test_every_gain_but_that_of_the_mean_receives_gradient() -> None:
    # Standardising takes the mean away, so what is done to frequency 0 does not matter.
    filtering, maps = SpectralFilter(4, bands=8, groups=4), noise(6, 4, 16, 16).requires_grad_()
    Bsd().residual(filtering, maps, noise(6, 4, 16, 16).flip(0)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert filtering.gain.grad is not None
    assert (filtering.gain.grad[:, 1:].abs() > 0).all()
    assert maps.grad is not None
    assert maps.grad.abs().max() > 0


def test_the_filter_learns_to_return_what_was_lost() -> None:
    # Half of all high frequencies is gone, so gains of 1 in their bands restore it.
    whole = 10 * noise(4, 2, 8, 8)
    high = radial_bands(8, 8, bands=8) > 3
    spectrum = torch.fft.fft2(whole) * torch.where(high, 0.5, 1.0)
    lost = torch.fft.ifft2(spectrum).real
    filtering = SpectralFilter(2, bands=8, groups=1)
    optimiser = torch.optim.Adam(filtering.parameters(), lr=0.05)
    errors = []
    for _ in range(120):
        error = Bsd().residual(filtering, lost, whole)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        errors.append(error.item())
    assert errors[-1] < 0.02 * errors[0]


def test_the_residual_is_zero_at_equality_and_counts_the_opposite() -> None:
    feature = noise(3, 2, 8, 8)
    assert Bsd().residual(nn.Identity(), feature, feature).item() == 0
    # Standardised, the checkerboard's energy is 4 / (1 + EPSILON); the difference is twice
    # the map, so its energy is four times that, in one of three bands.
    found = Bsd().residual(nn.Identity(), -CHECKERBOARD, CHECKERBOARD)
    assert found.item() == pytest.approx(16 / 3 * SHRINKING, rel=1e-5)


def test_the_residual_of_a_silent_map_has_a_gentle_gradient() -> None:
    silent = torch.zeros(2, 3, 4, 4, requires_grad=True)
    error = Bsd().residual(SpectralFilter(3, bands=8, groups=4), silent, noise(2, 3, 4, 4))
    error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert silent.grad is not None
    # At most 1 / sqrt(EPSILON) = 10 times that of a map that is compared as it is.
    assert 0 < silent.grad.abs().max() < 10


def test_the_semantic_error_compares_high_frequencies() -> None:
    # Two classes, sorted by the teacher: (1, -1) and (-1, 1), shrunk. The upper half is the
    # second coefficient, (x0 - x1) / sqrt(2): sqrt(2) and -sqrt(2), squared difference 8.
    teacher, student = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 3.0]])
    assert semantic_error(student, teacher).item() == pytest.approx(8 * SHRINKING, rel=1e-5)
    assert semantic_error(teacher, teacher).item() == 0


def test_the_classes_stand_in_the_order_of_the_teacher() -> None:
    # In that order the teacher says 1, 1, -2 and the student 2, -1, -1, both of variance 2. The
    # upper half of three is (x0 - 2 x1 + x2) / sqrt(6): -3 and 3, so 36 / 6 before shrinking.
    # In the student's order it would be 6 and 3.
    teacher, student = torch.tensor([[-2.0, 1.0, 1.0]]), torch.tensor([[-1.0, 2.0, -1.0]])
    expected = 6 / (2 + EPSILON)
    assert semantic_error(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_the_semantic_error_knows_no_names_of_classes() -> None:
    student, teacher = noise(6, 9), noise(6, 9).roll(1, 0)
    order = torch.tensor([4, 0, 8, 2, 6, 1, 7, 3, 5])
    found = semantic_error(student[:, order], teacher[:, order])
    assert found.item() == pytest.approx(semantic_error(student, teacher).item(), rel=1e-5)


def test_the_semantic_error_leaves_low_frequencies_to_the_divergence() -> None:
    # Half a turn over all classes is coefficient 1 alone, seven halves are coefficient 7. What
    # is left of the former is that standardising shrinks the teacher by another factor.
    steps = torch.arange(8.0) + 0.5
    teacher = torch.linspace(1, -1, 8)[None]
    slow, fast = torch.cos(math.pi / 8 * steps), torch.cos(7 * math.pi / 8 * steps)
    gentle = semantic_error(teacher + 0.05 * slow, teacher)
    sharp = semantic_error(teacher + 0.05 * fast, teacher)
    assert sharp > 20 * gentle


def first_loss(method: Method, timesteps: int = 2) -> float:
    torch.manual_seed(0)
    learner, guide = small.student("resnet", timesteps=timesteps), small.teacher("resnet")
    return next(iter(method.fit(learner, small.lesson(guide)))).loss


def test_without_spectra_it_is_logit_distillation() -> None:
    assert first_loss(Bsd(residual_weight=0, semantic_weight=0)) == first_loss(LogitKd())


@pytest.mark.parametrize("timesteps", [1, 2])
def test_both_spectra_are_added_with_their_weights(timesteps: int) -> None:
    learner, guide = small.student("resnet", timesteps=timesteps), small.teacher("resnet")
    stages = ["stage1", "stage2"]
    batch = next(iter(small.lesson(guide)))
    ours, theirs = learner(batch.stimulus, stages), guide.see(batch.images, stages)
    residual = [
        Bsd().residual(nn.Identity(), ours.taps[name].mean(0), theirs.taps[name][0])
        for name in stages
    ]
    semantic = semantic_error(ours.logits.mean(0), theirs.logits[0])
    expected = first_loss(LogitKd(), timesteps) + 3 * sum(residual) / 2 + 5 * semantic
    found = first_loss(Bsd(residual_weight=3, semantic_weight=5), timesteps)
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_the_defaults_are_the_reconstructions_none_being_published() -> None:
    assert (
        Bsd(temperature=4.0, residual_weight=1.0, semantic_weight=0.5, bands=8, groups=4) == METHOD
    )


def test_a_student_of_another_width_learns() -> None:
    learner, guide = small.student("convnet"), small.teacher("resnet")
    before = learner.network.get_parameter("conv1.weight").clone()
    list(Bsd().fit(learner, small.lesson(guide)))
    assert not torch.equal(before, learner.network.get_parameter("conv1.weight"))
