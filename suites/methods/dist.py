"""Ask for the teacher's relations, not for its probabilities: correlations are enough."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.linalg import vector_norm

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Correlation with the teacher, over the classes and over the batch",
    citation=(
        "Huang, You, Wang, Qian, Xu. Knowledge distillation from a stronger teacher. NeurIPS 2022, "
        "arXiv 2205.10536; code: github.com/hunto/DIST_KD, with the loss and the constants in "
        "github.com/hunto/image_classification_sota"
    ),
    loss="exact",
    weight="beta",
    track="scratch",
    claims=(
        Claim(
            accuracy=0.7175,
            dataset="cifar100",
            architecture="ResNet-20 without spikes, teacher ResNet-56",
            timesteps=None,
            epochs=240,
            where="README of the code; without a teacher 69.06",
            url="https://github.com/hunto/DIST_KD",
        ),
        Claim(
            accuracy=0.7207,
            dataset="imagenet",
            architecture="ResNet-18 without spikes, teacher ResNet-34",
            timesteps=None,
            epochs=100,
            where="README of the code; without a teacher 69.76",
            url="https://github.com/hunto/DIST_KD",
        ),
    ),
    departures=(
        "setting: a method for networks without time; here the student is its mean logits",
    ),
    needs=("classes",),
)
_EPSILON = 1e-8  # the authors'


@dataclass(frozen=True, kw_only=True)
class Dist:
    """``CE + temperature^2 (beta (1 - r_inter) + gamma (1 - r_intra))``.

    Of the softened probabilities of student and teacher, ``[N, K]``, ``r_inter`` is the mean
    over samples of the correlation over classes, ``r_intra`` the mean over classes of the
    correlation over the batch. The student is its mean logits.

    Attributes:
        temperature: Softening of both; 4 in the authors' configuration for CIFAR-100, 1 for
            ImageNet.
        beta: Weight of the relations between classes; theirs is 1 under a weight of 2.
        gamma: Weight of the relations within a class; likewise.
    """

    temperature: PositiveFloat = 4.0
    beta: NonNegativeFloat = 2.0
    gamma: NonNegativeFloat = 2.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the three terms."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms."""
        mean = output.logits.mean(0)
        ours = (mean / self.temperature).softmax(-1)
        theirs = (answer.logits / self.temperature).softmax(-1)
        inter = 1 - correlation(ours, theirs).mean()
        intra = 1 - correlation(ours.mT, theirs.mT).mean()
        relations = self.beta * inter + self.gamma * intra
        return answer.task.supervised(mean, labels) + self.temperature**2 * relations


def correlation(
    ours: Tensor,  # [A, B]
    theirs: Tensor,  # [A, B]
) -> Tensor:
    """Return Pearson's correlation of each row, ``[A]``; 0 for rows that hardly vary."""
    ours, theirs = (rows - rows.mean(-1, keepdim=True) for rows in (ours, theirs))
    lengths: Tensor = vector_norm(ours, dim=-1) * vector_norm(theirs, dim=-1)
    return (ours * theirs).sum(-1) / (lengths + _EPSILON)


METHOD: Method = Dist()
