"""Weigh what the teacher says of the label apart from what it says of the other classes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.labels import is_label

CARD = MethodCard(
    title="The divergence in two parts: the label against the rest, and within the rest",
    citation=(
        "Zhao, Cui, Song, Qiu, Liang. Decoupled knowledge distillation. CVPR 2022, arXiv "
        "2203.08679; code: github.com/megvii-research/mdistiller"
    ),
    loss="exact",
    weight="beta",
    track="scratch",
    claims=(
        Claim(
            accuracy=0.7197,
            dataset="cifar100",
            architecture="ResNet-20 without spikes, teacher ResNet-56",
            timesteps=None,
            epochs=240,
            where="README of the code, at beta = 2; plain distillation 70.66",
            url="https://github.com/megvii-research/mdistiller",
        ),
        Claim(
            accuracy=0.7170,
            dataset="imagenet",
            architecture="ResNet-18 without spikes, teacher ResNet-34",
            timesteps=None,
            epochs=100,
            where="README of the code, at beta = 0.5, temperature 1; plain distillation 71.03",
            url="https://github.com/megvii-research/mdistiller",
        ),
    ),
    departures=(
        "setting: a method for networks without time; here the student is its mean logits",
        (
            "both parts rise over the first twelfth of the training step by step; those of the "
            "authors epoch by epoch, over 20 of 240"
        ),
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Dkd:
    """``CE + w temperature^2 (alpha KL(b_A || b_S) + beta KL(p_A || p_S))``.

    ``b`` are the softened probabilities of the label and of all other classes together, ``p``
    those of the other classes among themselves. With ``beta`` the teacher's probability of
    these it would be plain distillation (eq. 6 of the paper). ``w`` rises to 1 at the start.
    The student is its mean logits. With two classes ``p`` says nothing.

    Attributes:
        temperature: Softening of all distributions; 4 for CIFAR-100, 1 for ImageNet.
        alpha: Weight of the label against the rest.
        beta: Weight within the rest. The authors choose it by pair of networks: 8 is the
            default of their code for CIFAR-100, where it goes down to 2; 0.5 or 2 for ImageNet.
        warmup: Fraction of the steps over which ``w`` rises; 20 of the authors' 240 epochs.
    """

    temperature: PositiveFloat = 4.0
    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 8.0
    warmup: Fraction = 0.0833

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the three terms."""
        risen = torch.tensor([*self.rise(lesson.steps)], device=lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            return self.loss(output, answer, labels, risen=answer.now(risen))

        return descend(student, lesson, loss)

    def rise(self, steps: int) -> Iterator[float]:
        """Yield ``w`` for each step."""
        for step in range(1, steps + 1):
            yield min(step / steps / self.warmup, 1.0) if self.warmup else 1.0

    def loss(
        self, output: Output, answer: Answer, labels: Tensor, *, risen: float | Tensor = 1.0
    ) -> Tensor:
        """Return the weighted sum of the three terms, in nats, with ``w`` at ``risen``."""
        mean = output.logits.mean(0)
        label, others = decoupled_kl(
            mean / self.temperature, answer.logits / self.temperature, labels
        )
        decoupled = self.temperature**2 * (self.alpha * label + self.beta * others)
        return answer.task.supervised(mean, labels) + risen * decoupled


def decoupled_kl(
    student: Tensor,  # [N, K]
    teacher: Tensor,  # [N, K]
    labels: Tensor,  # [N]
) -> tuple[Tensor, Tensor]:
    """Return the divergence of label against rest, and that within the rest, in nats.

    The paper's TCKD and NCKD, teacher to student, mean over samples.
    """
    named = is_label(labels, student.shape[-1])
    return (
        _kl(_binary(student, named), _binary(teacher, named)),
        _kl(_others(student, named), _others(teacher, named)),
    )


def _kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    return kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def _binary(logits: Tensor, named: Tensor) -> Tensor:
    """Return the logarithms of the probabilities of the named class and of the rest, [N, 2]."""
    log_p = log_softmax(logits, dim=-1)
    label = log_p.masked_fill(~named, -torch.inf).logsumexp(-1)
    rest = log_p.masked_fill(named, -torch.inf).logsumexp(-1)
    return torch.stack([label, rest], -1)


def _others(logits: Tensor, named: Tensor) -> Tensor:
    """Return those of the other classes among themselves, 0 for the named one, [N, K]."""
    among = log_softmax(logits.masked_fill(named, -torch.inf), dim=-1)
    # Equal in student and teacher, so that it adds nothing; infinity less itself is no number.
    return among.masked_fill(named, 0.0)


METHOD: Method = Dkd()
