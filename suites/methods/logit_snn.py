"""Teach every step by itself: labels, teacher and the student's own mean over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.stepwise import stepwise_cross_entropy, stepwise_kl

CARD = MethodCard(
    title="Labels, teacher and own ensemble for every timestep by itself",
    citation=(
        "Yu, Zhao, Liu, Yang, Wang, Li, Wang. Efficient logit-based knowledge distillation of "
        "deep spiking neural networks for full-range timestep deployment. ICML 2025, arXiv "
        "2501.15925; code: github.com/Intelli-Chip-Lab/snn_temporal_decoupling_distillation"
    ),
    loss="exact",
    weight="alpha",
    claims=(
        Claim(
            accuracy=0.9665,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=2,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.9697,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.97,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=6,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.9557,
            dataset="cifar10",
            architecture="ResNet-18",
            timesteps=4,
            where="as quoted in table 1 of DS-ATGO (AAAI 2026)",
            url="https://arxiv.org/abs/2511.13050",
        ),
        Claim(
            accuracy=0.9596,
            dataset="cifar10",
            architecture="ResNet-18",
            timesteps=6,
            where="as quoted in table 1 of DS-ATGO (AAAI 2026)",
            url="https://arxiv.org/abs/2511.13050",
        ),
        Claim(
            accuracy=0.8147,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=2,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.8247,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.8256,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=6,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.7104,
            dataset="imagenet",
            architecture="ResNet-34",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.835,
            dataset="cifar10_dvs",
            architecture="ResNet-18",
            timesteps=4,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
        Claim(
            accuracy=0.864,
            dataset="cifar10_dvs",
            architecture="ResNet-18",
            timesteps=10,
            where="secondary: a note on the paper",
            url=(
                "https://github.com/zhaoyang97/Paper-Notes-en/blob/a87e1184c1fb5b7ededda8957c"
                "497f37a5542f79/docs/ICML2025/model_compression/efficient_logit-based_knowled"
                "ge_distillation_of_deep_spiking_neural_networks_for.md"
            ),
        ),
    ),
    departures=(
        (
            "the ensemble is the authors' code's, of the steps that are right alone; the paper is "
            "noted to take all of them: ensemble='all'"
        ),
        (
            "setting: the neuron is the suite's, where the authors' decays by 0.5 and resets to "
            "zero, through the gradient; 300 epochs and T = 6 on small images"
        ),
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class LogitSnn:
    """Means over time of ``CE_t + alpha KL(teacher || t) + beta KL(ensemble || t)``.

    ``CE_t`` is the cross-entropy of step ``t`` alone; both divergences are softened, with
    the factor ``temperature^2``. All three are convex in the logits, so they bound the
    same losses of the mean logits from above, and a student may stop early. The ensemble is
    a target, without a gradient; that of all steps would get none in any case, since the
    divergences' pulls on it cancel. All constants are those of the authors' commands.

    Attributes:
        temperature: Softening of all distributions; 3 for small images, 1 for ImageNet.
        alpha: Weight of the teacher's term.
        beta: Weight of the ensemble's term.
        ensemble: The mean logits of the steps that are ``right`` about the sample, zeros
            where none is (the authors' code), or of ``all``.
    """

    temperature: PositiveFloat = 3.0
    alpha: NonNegativeFloat = 0.2
    beta: NonNegativeFloat = 0.5
    ensemble: Literal["right", "all"] = "right"

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the three terms."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms, in nats."""
        logits = output.logits
        own = logits.mean(0) if self.ensemble == "all" else mean_of_right(logits, labels)
        return (
            stepwise_cross_entropy(logits, labels)
            + self.alpha * stepwise_kl(logits, answer.logits, temperature=self.temperature)
            + self.beta * stepwise_kl(logits, own.detach(), temperature=self.temperature)
        )


def mean_of_right(
    logits: Tensor,  # [T, N, K]
    labels: Tensor,  # [N]
) -> Tensor:
    """Return the mean of the steps whose largest logit is the label's, ``[N, K]``."""
    right = (logits.argmax(-1) == labels).to(logits.dtype).unsqueeze(-1)
    return (right * logits).sum(0) / right.sum(0).clamp_min(1)


METHOD: Method = LogitSnn()
