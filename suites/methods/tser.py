"""Teach every step by itself, and reward it for remaining undecided."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn.functional import log_softmax

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.stepwise import stepwise_cross_entropy, stepwise_kl

CARD = MethodCard(
    title="Labels and teacher for every step by itself, and a bonus for entropy",
    citation=(
        "Yu, Yu, Zhang, Zhao, Yang, Wang, Zhang, Xu. Temporal separation with entropy "
        "regularization for knowledge distillation in spiking neural networks. CVPR 2025, arXiv "
        "2503.03144"
    ),
    loss="reconstructed",
    weight="gamma",
    reconstructed=(
        (
            "the formula: labels and teacher at every step and a term of entropy are the paper's; "
            "how they are put together is what two independent re-implementations agree on"
        ),
        "alpha and gamma: not found",
        "temperature: the paper is noted to find 2 to 6 alike",
        "the entropy is of the softened steps; the labels meet them as they are",
    ),
    track="scratch",
    claims=(
        Claim(
            accuracy=0.9558,
            dataset="cifar10",
            architecture="ResNet-18",
            timesteps=None,
            where="secondary: a third party's summary; tables of the paper not read",
            url="https://arxiv.org/abs/2503.03144",
        ),
        Claim(
            accuracy=0.7830,
            dataset="cifar100",
            architecture="ResNet-18",
            timesteps=None,
            where="secondary: a third party's summary; tables of the paper not read",
            url="https://arxiv.org/abs/2503.03144",
        ),
        Claim(
            accuracy=0.6924,
            dataset="imagenet",
            architecture="SEW-ResNet-18",
            timesteps=None,
            where="secondary: a third party's summary; tables of the paper not read",
            url="https://arxiv.org/abs/2503.03144",
        ),
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Tser:
    """Means over time of ``(1 - alpha) CE_t + alpha KL(teacher || t) - gamma H(t)``.

    The divergence is softened, with the factor ``temperature^2``; ``H`` is the entropy of the
    softened step, in nats, and is raised: a teacher that is wrong is followed less far.

    Attributes:
        temperature: Softening of the teacher and of the steps it is compared with.
        alpha: The teacher's share.
        gamma: Weight of the entropy.
    """

    temperature: PositiveFloat = 4.0
    alpha: Fraction = 0.5
    gamma: NonNegativeFloat = 0.1

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the three terms."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms, in nats."""
        logits = output.logits
        return (
            (1 - self.alpha) * stepwise_cross_entropy(logits, labels)
            + self.alpha * stepwise_kl(logits, answer.logits, temperature=self.temperature)
            - self.gamma * mean_entropy(logits / self.temperature)
        )


def mean_entropy(
    logits: Tensor,  # [..., K]
) -> Tensor:
    """Return the mean entropy of the distributions that ``logits`` stand for, in nats."""
    log_p = log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1).mean()


METHOD: Method = Tser()
