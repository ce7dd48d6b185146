"""Saliency maps and what is read off them, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from harness.evaluation.saliency import input_saliency, saliency_agreement, saliency_consistency
from tests.methods.small import lesson, student

WEIGHTS = torch.tensor([[[1.0, -2.0], [0.0, 3.0]], [[4.0, 0.0], [-5.0, 6.0]]])  # [K = 2, H, W]


def linear(stimulus: Tensor) -> Tensor:
    """Return logits that weigh the sum over channels, and over frames."""
    images = stimulus if stimulus.dim() == 4 else stimulus.sum(0)
    return torch.einsum("nchw,khw->nk", images, WEIGHTS)


def mapped(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, -1)


@pytest.mark.parametrize(("shape", "summands"), [((2, 3, 2, 2), 3), ((5, 2, 3, 2, 2), 15)])
def test_the_saliency_of_a_linear_answer_is_its_weights(
    shape: tuple[int, ...], summands: int
) -> None:
    found = input_saliency(linear, torch.ones(shape), torch.tensor([0, 1]))
    assert torch.equal(found, summands * WEIGHTS.abs())


def test_saliency_is_had_without_gradients_too_and_leaves_none() -> None:
    stimulus = torch.ones(2, 1, 2, 2)
    with torch.no_grad():
        found = input_saliency(linear, stimulus, torch.tensor([1, 1]))
    assert not found.requires_grad
    assert not stimulus.requires_grad


@pytest.mark.parametrize("timesteps", [1, 4])
def test_a_spiking_network_is_salient_through_its_surrogate(timesteps: int) -> None:
    learner = student("resnet", timesteps=timesteps)
    learner.network.eval()
    stimulus = next(iter(lesson(None))).stimulus
    classes = torch.zeros(len(stimulus), dtype=torch.long)
    found = input_saliency(lambda shown: learner(shown).logits.mean(0), stimulus, classes)
    assert found.shape == (len(stimulus), *stimulus.shape[-2:])
    assert (found.flatten(1).max(1).values > 0).all()
    assert all(weight.grad is None for weight in learner.parameters())


def test_maps_that_rank_alike_agree_whatever_their_scale() -> None:
    saliency = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(saliency_agreement(saliency, 7 * saliency.exp()), torch.ones(3).double())
    assert torch.allclose(saliency_agreement(saliency, -saliency), -torch.ones(3).double())


def test_the_agreement_is_spearmans_correlation() -> None:
    # One swap of neighbours among four: 1 - 6 (1 + 1) / (4 (4^2 - 1)).
    found = saliency_agreement(mapped(1, 2, 3, 4), mapped(1, 2, 4, 3))
    assert found.item() == pytest.approx(0.8, rel=1e-12)
    # Ranks 3/2, 3/2, 3 with 1, 2, 3; less their mean (-1/2, -1/2, 1) with (-1, 0, 1).
    tied = saliency_agreement(mapped(1, 1, 2), mapped(1, 2, 3))
    assert tied.item() == pytest.approx(1.5 / math.sqrt(1.5 * 2), rel=1e-12)


def test_a_constant_map_agrees_with_nothing() -> None:
    assert saliency_agreement(mapped(1, 1, 1), mapped(1, 2, 3)).isnan().all()


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (3, 1, 1, 2, 2)], ids=["static", "frames"])
def test_consistency_is_the_confidence_lost_with_the_salient_pixels(shape: tuple[int, ...]) -> None:
    # Two classes with logits ln 3 and 0, all from one pixel: confidence 3/4, without it 1/2.
    def respond(stimulus: Tensor) -> Tensor:
        images = stimulus if stimulus.dim() == 4 else stimulus.mean(0)
        return torch.stack([math.log(3) * images[:, 0, 0, 1], torch.zeros(len(images))], -1)

    stimulus = torch.ones(shape)
    right = torch.tensor([[[0.1, 0.9], [0.2, 0.3]]])

    def found(saliency: Tensor, *fractions: float) -> float:
        return saliency_consistency(respond, stimulus, saliency, fractions=fractions).item()

    assert found(right, 0.25) == pytest.approx(0.25, rel=1e-6)
    assert found(right, 0.0, 0.5) == pytest.approx(0.125, rel=1e-6)
    assert found(-right, 0.25, 0.75) == pytest.approx(0, abs=1e-7)  # all others go first
    assert found(-right, 1.0) == pytest.approx(0.25, rel=1e-6)
