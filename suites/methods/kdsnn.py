"""Imitate the teacher's last feature map, or its softened answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import last_stage, same_size

CARD = MethodCard(
    title="The last feature map, or the softened logits, beside the labels",
    citation=(
        "Xu, Li, Shen, Liu, Tang, Pan. Constructing deep spiking neural networks from artificial "
        "neural networks with knowledge distillation. CVPR 2023, arXiv 2304.05627"
    ),
    loss="reconstructed",
    weight="feature_weight",
    reconstructed=(
        (
            "form and weight of the feature term are those of BKDSNN's re-implementation: "
            "github.com/Intelligent-Computing-Research-Group/BKDSNN, loss.py"
        ),
        "form, temperature and mixing weight of the response variant",
        "averaging where the maps differ in resolution",
    ),
    claims=(
        Claim(
            accuracy=0.9341,
            dataset="cifar10",
            architecture="ResNet-18, teacher PyramidNet-18",
            timesteps=4,
            where="as quoted in table 8 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.6728,
            dataset="imagenet",
            architecture="SEW-ResNet-34",
            timesteps=4,
            where="as quoted in table 7 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
    ),
    signals=("features", "logits"),
    extras=("a 1x1 convolution, if the widths differ",),
    departures=(
        "that convolution has no bias, so that padding stays nothing; the re-implementation's has",
        "on MS-ResNets the last stage is a sum of currents and not of spikes (docs/models.md)",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Kdsnn:
    """One of the paper's two variants.

    =========  =======================================================================
    feature    ``CE + feature_weight / N * sum (align(rate) - F)^2`` of either's last stage,
               ``align`` a 1x1 convolution if the widths differ (BKDSNN's re-implementation)
    response   ``(1 - a) CE + a temperature^2 KL(teacher || student)``
    =========  =======================================================================

    Attributes:
        variant: Which of the two.
        feature_weight: For small images; 7e-5 for ImageNet.
        teacher_share: ``a``.
        temperature: Softening of both distributions.
    """

    variant: Literal["feature", "response"] = "feature"
    feature_weight: NonNegativeFloat = 2e-3
    teacher_share: Fraction = 0.5
    temperature: PositiveFloat = 4.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the variant's loss.

        Raises:
            UnsupportedError: If either network has no stage.
        """
        if self.variant == "response":
            return descend(student, lesson, self.response_loss)
        ours, theirs = map(last_stage, (student.tap_channels, lesson.guide.tap_channels))
        width, wanted = student.tap_channels[ours], lesson.guide.tap_channels[theirs]
        align = nn.Identity() if width == wanted else nn.Conv2d(width, wanted, 1, bias=False)
        align.to(lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            hint = feature_error(align, output.taps[ours].mean(0), answer.taps[theirs])
            return (
                answer.task.supervised(output.logits.mean(0), labels) + self.feature_weight * hint
            )

        return descend(
            student, lesson, loss, also_train=[align], taps=[ours], teacher_taps=[theirs]
        )

    def response_loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the mixture of divergence and cross-entropy, in nats."""
        mean, share = output.logits.mean(0), self.teacher_share
        from_teacher = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
        return share * from_teacher + (1 - share) * answer.task.supervised(mean, labels)


def feature_error(
    align: nn.Module,
    rate: Tensor,  # [N, C, H, W]
    feature: Tensor,  # [N, C', H', W']
) -> Tensor:
    """Return the squared error, summed over a sample and averaged over samples."""
    rate, feature = same_size(rate, feature)
    difference: Tensor = widened(align(rate)) - widened(feature)
    return difference.square().flatten(1).sum(1).mean()


METHOD: Method = Kdsnn()
