"""Labels, divergence and rotated images against numbers worked out by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.model import Output
from harness.training import Answer, Teacher
from suites.methods.kl_low_latency import METHOD, KlLowLatency, turned_about, with_views
from tests.methods import small, teaching_aids

# Two steps are on average 1 : 3 ^ 4 for the upright image and to 1 : 1 for each rotated one.
LOGITS = torch.tensor(
    [
        [[0.0, 10.0], [1.0, 0.0], [0.0, 0.0], [2.0, 7.0]],
        [[0.0, 8 * math.log(3) - 10.0], [0.0, 1.0], [0.0, 0.0], [5.0, 0.0]],
    ]
)  # [T = 2, 4 N = 4, K = 2]
# The teacher finds both alike upright, and says 1 : 3 ^ 4 of each rotated image.
SAID = torch.tensor([[0.0, 0.0], *[[0.0, 4 * math.log(3)]] * 3])
LABEL = torch.tensor([0])
LABELS = math.log(1 + 3**4)  # the cross-entropy of 1 : 3 ^ 4, label 0
# Softened by 4: KL((1/2, 1/2) || (1/4, 3/4)), and KL((1/4, 3/4) || (1/2, 1/2)).
UPRIGHT = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
TURNED = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)


class _Said(Answer):
    """A teacher that says ``SAID``, as far as it is asked."""

    def __init__(self, samples: int) -> None:
        object.__setattr__(self, "samples", samples)

    @property
    def logits(self) -> Tensor:
        return SAID[: self.samples]  # type: ignore[attr-defined]  # set above


def test_by_default_the_three_terms_have_the_weights_of_the_code() -> None:
    loss = METHOD.loss(Output(logits=LOGITS), _Said(4), LABEL)  # type: ignore[attr-defined]  # a KlLowLatency
    expected = 0.1 * LABELS + 0.9 * 16 * UPRIGHT + 2.7 * 16 * TURNED
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_divergence_of_rotated_images_is_a_mean() -> None:
    # One of three rotated images is met, so two thirds of the divergence are left.
    logits = LOGITS.clone()
    logits[:, 2] = SAID[2]
    loss = METHOD.loss(Output(logits=logits), _Said(4), LABEL)  # type: ignore[attr-defined]  # a KlLowLatency
    expected = 0.1 * LABELS + 0.9 * 16 * UPRIGHT + 2.7 * 16 * TURNED * 2 / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_without_rotated_images_it_mixes_labels_and_divergence(share: float) -> None:
    method = KlLowLatency(teacher_share=share, views_weight=0.0)
    loss = method.loss(Output(logits=LOGITS[:, :1]), _Said(1), LABEL)
    expected = (1 - share) * LABELS + share * 16 * UPRIGHT
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_images_are_turned_by_quarters_behind_the_upright_ones() -> None:
    maps = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    found = turned_about(torch.cat([maps, 10 * maps]))
    assert found[:, 0].tolist() == [
        [[1, 2], [3, 4]],
        [[10, 20], [30, 40]],
        [[2, 4], [1, 3]],
        [[20, 40], [10, 30]],
        [[4, 3], [2, 1]],
        [[40, 30], [20, 10]],
        [[3, 1], [4, 2]],
        [[30, 10], [40, 20]],
    ]


def test_frames_are_turned_each_in_its_step() -> None:
    frames = torch.rand(3, 2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = turned_about(frames)
    assert found.shape == (3, 8, 2, 4, 4)
    for step in range(3):
        assert torch.equal(found[step], turned_about(frames[step]))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_turned_images_lie_in_memory_as_the_upright_ones(layout: torch.memory_format) -> None:
    found = turned_about(torch.rand(2, 3, 4, 4).contiguous(memory_format=layout))
    assert found.is_contiguous(memory_format=layout)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="must be square, not 4x6"):
        turned_about(torch.zeros(1, 1, 4, 6))


def test_both_networks_see_the_rotated_images_and_labels_and_samples_stay() -> None:
    batch = next(iter(teaching_aids.lesson(None)))
    wider = with_views(batch)
    assert torch.equal(wider.stimulus, turned_about(batch.stimulus))
    assert torch.equal(wider.images, turned_about(batch.images))
    assert torch.equal(wider.labels, batch.labels)
    assert torch.equal(wider.indices, batch.indices)


def _seen(method: KlLowLatency) -> tuple[list[int], list[int], list[int]]:
    """Return how many images student and teacher see in each step, and the samples told."""
    ours: list[int] = []
    theirs: list[int] = []

    class Counting(teaching_aids.Tiny):
        def forward(self, stimulus: Tensor, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
            (ours if self.training else theirs).append(len(stimulus))
            return super().forward(stimulus, timesteps, taps)

    learner = teaching_aids.student()
    learner = replace(learner, network=Counting())
    guide = Teacher(network=Counting().eval(), mean=(0.5,), std=(0.5,))
    told = [step.samples for step in method.fit(learner, teaching_aids.lesson(guide))]
    return ours, theirs, told


def test_four_images_are_seen_for_each_that_counts() -> None:
    assert _seen(KlLowLatency()) == ([16] * 3, [16] * 3, [4, 8, 12])
    assert _seen(KlLowLatency(views_weight=0.0)) == ([4] * 3, [4] * 3, [4, 8, 12])


def test_rotated_images_teach() -> None:
    def weights(method: KlLowLatency) -> Tensor:
        learner = small.student()
        list(method.fit(learner, small.lesson(small.teacher())))
        return nn.utils.parameters_to_vector(learner.parameters())

    plain = KlLowLatency(views_weight=0.0)
    assert not torch.equal(weights(KlLowLatency()), weights(plain))
