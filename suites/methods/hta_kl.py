"""Weigh forward and reverse divergence by where student and teacher disagree."""

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

CARD = MethodCard(
    title="Forward divergence for the teacher's likely classes, reverse for the others",
    citation=(
        "Zhang, Zhu, Yu, Wang. Head-tail-aware KL divergence in knowledge distillation for "
        "spiking neural networks. arXiv 2504.20445, 2025"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=(
        (
            "formula and head mass: those of the adaptive KL of Wu et al., arXiv 2404.02657, whose "
            "parts the abstract names; that the paper's are the same is not known"
        ),
        "shares come from the softened distributions",
        "temperature",
        "weight",
    ),
    claims=(
        Claim(
            accuracy=0.9668,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=2,
            where="secondary: a note on MEOM (ICLR 2026)",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICLR2026/model_compression/many_eyes_one_mind_temporal_m"
                "ulti-perspective_and_progressive_distillation_for_s.md"
            ),
        ),
        Claim(
            accuracy=0.8051,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=2,
            where="secondary: a note on MEOM (ICLR 2026)",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICLR2026/model_compression/many_eyes_one_mind_temporal_m"
                "ulti-perspective_and_progressive_distillation_for_s.md"
            ),
        ),
        Claim(
            accuracy=0.9676,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=4,
            where="secondary: a note on MEOM (ICLR 2026)",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICLR2026/model_compression/many_eyes_one_mind_temporal_m"
                "ulti-perspective_and_progressive_distillation_for_s.md"
            ),
        ),
        Claim(
            accuracy=0.8103,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=4,
            where="secondary: a note on MEOM (ICLR 2026)",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICLR2026/model_compression/many_eyes_one_mind_temporal_m"
                "ulti-perspective_and_progressive_distillation_for_s.md"
            ),
        ),
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class HtaKl:
    """``CE + weight * temperature^2 (h KL(p || q) + (1 - h) KL(q || p))``.

    ``p`` is the softened teacher, ``q`` the softened mean of the student. ``h`` is a
    sample's share of ``|p - q|`` that lies in the head: the teacher's likeliest classes
    as long as they hold no more than ``head_mass`` together, and its likeliest in any case
    (the weights of Wu et al., arXiv 2404.02657).

    Attributes:
        temperature: Softening of both distributions.
        weight: Of the divergence.
        head_mass: What the head may hold of the teacher's probability.
    """

    temperature: PositiveFloat = 4.0
    weight: NonNegativeFloat = 1.0
    head_mass: Fraction = 0.5

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both terms."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of both terms, in nats."""
        mean = output.logits.mean(0)
        divergence = head_tail_kl(
            mean, answer.logits, temperature=self.temperature, head_mass=self.head_mass
        )
        return answer.task.supervised(mean, labels) + self.weight * divergence


def head_tail_kl(
    student: Tensor,  # [N, K]
    teacher: Tensor,  # [N, K]
    *,
    temperature: float,
    head_mass: float,
) -> Tensor:
    """Return the weighted sum of both divergences, ``temperature^2`` times, in nats."""
    log_p = log_softmax(teacher / temperature, dim=-1)
    log_q = log_softmax(student / temperature, dim=-1)
    forward = kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    reverse = kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)
    head = head_share(log_p.exp(), log_q.detach().exp(), head_mass=head_mass)
    return temperature**2 * (head * forward + (1 - head) * reverse).mean()


def head_share(
    p: Tensor,  # [N, K]
    q: Tensor,  # [N, K]
    *,
    head_mass: float,
) -> Tensor:
    """Return how much of ``|p - q|`` lies in the head of ``p``, ``[N]``; 0 at equality."""
    likeliest_first, order = p.sort(dim=-1, descending=True, stable=True)
    gap = (likeliest_first - q.gather(-1, order)).abs()
    head = likeliest_first.cumsum(-1) <= head_mass
    head[:, 0].fill_(value=True)
    # At equality both divergences are 0, so any share will do, but 0 / 0 is none.
    return (gap * head).sum(-1) / gap.sum(-1).clamp_min(torch.finfo(gap.dtype).tiny)


METHOD: Method = HtaKl()
