"""Ask every step for the label by itself, and keep the logits near the threshold."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat
from torch import Tensor

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.stepwise import stepwise_cross_entropy

CARD = MethodCard(
    title="Cross-entropy of every step, logits held to a constant; no teacher",
    citation=(
        "Deng, Li, Zhang, Gu. Temporal efficient training of spiking neural network via gradient "
        "re-weighting. ICLR 2022, arXiv 2202.11946; code: "
        "github.com/Gus-Lab/temporal_efficient_training"
    ),
    loss="exact",
    weight="share",
    track="scratch",
    signals=(),
    uses_teacher=False,
    claims=(
        Claim(
            accuracy=0.9444,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=4,
            where="as quoted in table 3 of Spikformer (ICLR 2023)",
            url="https://arxiv.org/abs/2209.15425",
        ),
        Claim(
            accuracy=0.7447,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=4,
            where="as quoted in table 3 of Spikformer (ICLR 2023)",
            url="https://arxiv.org/abs/2209.15425",
        ),
        Claim(
            accuracy=0.6479,
            dataset="imagenet",
            architecture="Spiking-ResNet-34",
            timesteps=6,
            where="as quoted in table 2 of Spikformer (ICLR 2023)",
            url="https://arxiv.org/abs/2209.15425",
        ),
        Claim(
            accuracy=0.832,
            dataset="cifar10_dvs",
            architecture="VGGSNN",
            timesteps=None,
            epochs=300,
            where="as quoted in section 4.2 of Spikformer (ICLR 2023); the abstract says 83",
            url="https://arxiv.org/abs/2209.15425",
        ),
    ),
    departures=(
        (
            "setting: their neuron keeps half of its potential and is reset to zero, through the "
            "gradient, under a triangular surrogate; Adam at 0.001"
        ),
        "the training that lengthens the simulation by and by (time inheritance) is not here",
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Tet:
    """``(1 - share) mean_t CE(z_t, y) + share mean_tnk (z_tnk - potential)^2``.

    The cross-entropy of each step bounds that of the mean logits from above; the square is
    to keep single steps from running away.

    Attributes:
        share: Of the square, the paper's lambda; 0.001 in the authors' script for
            CIFAR10-DVS, 0 in that for ImageNet.
        potential: What logits are held to, the threshold of their neurons.
    """

    share: Fraction = 0.001
    potential: NonNegativeFloat = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both terms."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, _answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of both terms."""
        far = (output.logits - self.potential).square().mean()
        return (1 - self.share) * stepwise_cross_entropy(output.logits, labels) + self.share * far


METHOD: Method = Tet()
