"""Align the last stage with the teacher's, through one affine map."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import last_stage, same_size

CARD = MethodCard(
    title="One affine projector from spikes or membranes to the teacher's last stage",
    citation=(
        "Hu, Li, Deng. Knowledge distillation for spiking neural networks: aligning features "
        "and saliency. Neuromorph. Comput. Eng. 2025"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=(
        (
            "the last stage, averaged over time, is the feature; on MS-ResNets that is a sum of "
            "currents and not of spikes (docs/models.md)"
        ),
        "the projector is a 1x1 convolution",
        "a norm on both sides, which makes the projector's bias void",
        "all weights, and no distillation of logits",
    ),
    claims=(
        Claim(
            accuracy=0.8048,
            dataset="cifar100",
            architecture="ResNet-18",
            timesteps=4,
            where="abstract",
            url="https://doi.org/10.1088/2634-4386/ade821",
        ),
    ),
    signals=("features",),
    extras=("projector from the student's width to the teacher's",),
)


@dataclass(frozen=True, kw_only=True)
class AffineProjector:
    """``CE + weight * |norm(W h) - norm(feature)|^2 + logit_weight * temperature^2 KL``.

    ``h`` is the mean over time of the student's last stage, the feature the teacher's; ``norm``
    makes each channel's mean 0 and variance 1 over the batch. The square is a mean, too.

    Attributes:
        feature: What of the last stage: its spikes, or its neurons' membrane before the
            reset.
        weight: Of the features' term.
        logit_weight: Of the divergence; 0 leaves the features alone.
        temperature: Softening of both distributions.
    """

    feature: Literal["spike", "membrane"] = "spike"
    weight: NonNegativeFloat = 1.0
    logit_weight: NonNegativeFloat = 0.0
    temperature: PositiveFloat = 4.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, with one projector.

        Raises:
            UnsupportedError: If either network has no stage.
        """
        own, stage = map(last_stage, (student.tap_channels, lesson.guide.tap_channels))
        tap = own if self.feature == "spike" else f"{own}.membrane"
        alignment = Alignment(student.tap_channels[own], lesson.guide.tap_channels[stage]).to(
            lesson.device
        )

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            mean = output.logits.mean(0)
            ours, theirs = output.taps[tap].mean(0), answer.taps[stage]
            error: Tensor = alignment(answer.places(ours), answer.places(theirs))
            total = answer.task.supervised(mean, labels) + self.weight * error
            if not self.logit_weight:
                return total
            from_teacher = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
            return total + self.logit_weight * from_teacher

        return descend(
            student, lesson, loss, also_train=[alignment], taps=[tap], teacher_taps=[stage]
        )


class Alignment(nn.Module):
    """The projector, and the norms in which both sides are compared."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Start as the identity, or as a rotation between different widths."""
        super().__init__()
        # No bias: the norm would subtract it, and it would never receive a gradient.
        self.projector = nn.Conv2d(inputs, outputs, 1, bias=False)
        if inputs == outputs:
            nn.init.dirac_(self.projector.weight)
        else:
            nn.init.orthogonal_(self.projector.weight)
        self.norm_student = nn.BatchNorm2d(outputs, affine=False)
        self.norm_teacher = nn.BatchNorm2d(outputs, affine=False)

    def forward(
        self,
        ours: Tensor,  # [N, C, H, W]
        theirs: Tensor,  # [N, C', H', W']
    ) -> Tensor:
        """Return the mean squared error at the coarser of both resolutions."""
        ours, theirs = same_size(ours, theirs)
        projected = self.norm_student(widened(self.projector(ours)))
        return mse_loss(projected, self.norm_teacher(widened(theirs)))


METHOD: Method = AffineProjector()
