"""Mix the labels with what the teacher says, of the images and of their rotations."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import (
    Answer,
    Batch,
    Lesson,
    Student,
    descend,
    softened_kl,
    taught_share,
)

CARD = MethodCard(
    title="Kullback-Leibler distillation, of rotated images too, for few timesteps",
    citation=(
        "Sugahara, Zhang, Nakashima. Training low-latency spiking neural network through "
        "knowledge distillation. COOL CHIPS 2021, doi 10.1109/COOLCHIPS52128.2021.9410323; code, "
        "by all signs an author's: github.com/taku2365/SNN_distillation"
    ),
    loss="reconstructed",
    reconstructed=(
        (
            "that the run of that code which reports 74.63 % is the paper's method: of the paper "
            "only the abstract could be read, and it names the divergence alone"
        ),
    ),
    claims=(
        Claim(
            accuracy=0.7442,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=5,
            where="abstract",
        ),
        Claim(
            accuracy=0.7463,
            dataset="cifar100",
            architecture="VGG-16, teacher WRN-40-2",
            timesteps=5,
            where="comment in the code, snn_skd.py",
        ),
    ),
    departures=(
        (
            "weights start at random. Theirs, and a threshold for each layer, are those of a "
            "VGG-16 that learned from the same teacher first (0.6 times the 99.7th percentile of "
            "currents): here neurons have no threshold of their own, and there is no second teacher"
        ),
        (
            "the neuron is the suite's. Theirs is DIET-SNN's: leak, from 1 on, and threshold of "
            "each layer are trained, reset by subtraction, surrogate 0.3 max(0, 1 - |v/threshold "
            "- 1|); no such neuron is here yet"
        ),
        (
            "the norms of our networks see the rotated images in the same batch; theirs have "
            "neither norms nor biases, and dropout of 0.1 with one mask for all steps"
        ),
        (
            "logits are means over time; theirs are what the last layer has summed, under Adam at "
            "5e-4 for 70 epochs. At our SGD's 0.1, sums take T times the steps: of the digits at "
            "T = 4, 72 to 87 % were right instead of 97"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class KlLowLatency:
    """``(1 - a) CE + a K + views_weight K_turned``, ``K = temperature^2 KL(teacher || student)``.

    ``K_turned`` is ``K`` of the batch rotated by 90, 180 and 270 degrees, which teacher and
    student see beside it: four images for each that counts. The student is its mean logits.

    Attributes:
        temperature: Softening of all distributions.
        teacher_share: ``a``.
        views_weight: Of the rotated images' divergence; 0 does without them.
    """

    temperature: float = 4.0
    teacher_share: float = 0.9
    views_weight: float = 2.7

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the three terms.

        Raises:
            UnsupportedError: If images are to be rotated that are not square.
        """
        if self.views_weight:
            epochs = (map(with_views, epoch) for epoch in lesson.epochs)
            lesson = replace(lesson, epochs=epochs)
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms, in nats; ``labels`` are of the upright."""
        upright = len(labels)
        ours, theirs = output.logits.mean(0), answer.logits
        error = taught_share(
            ours[:upright],
            theirs[:upright],
            labels,
            temperature=self.temperature,
            share=self.teacher_share,
        )
        if not self.views_weight:
            return error
        turned = softened_kl(ours[upright:], theirs[upright:], temperature=self.temperature)
        return error + self.views_weight * turned


def with_views(batch: Batch) -> Batch:
    """Return ``batch`` with three rotated copies of it behind, which have no labels."""
    return replace(
        batch,
        stimulus=turned_about(batch.stimulus),
        images=turned_about(batch.images),
    )


def turned_about(
    maps: Tensor,  # [..., N, C, H, W]
) -> Tensor:
    """Return ``maps`` as they are and after 1, 2 and 3 quarter turns, ``[..., 4 N, C, H, W]``.

    Raises:
        UnsupportedError: If they are not square.
    """
    height, width = maps.shape[-2:]
    if height != width:
        raise UnsupportedError(f"images that are rotated must be square, not {height}x{width}")
    views = torch.cat([maps] * 4, -4)  # a copy of rotated maps would not lie as these in memory
    for turns, view in enumerate(views.chunk(4, -4)):
        view.copy_(maps.rot90(turns, (-2, -1)))
    return views


METHOD: Method = KlLowLatency()
