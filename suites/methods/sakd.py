"""Take over the weights of the same architecture, then imitate its stages and answers."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import stages_in_common, summed
from harness.training.transfer import copy_weights

CARD = MethodCard(
    title="Weights, stages and logits of the same architecture",
    citation=(
        "Qiu et al. Self-architectural knowledge distillation for spiking neural networks. "
        "Neural Networks 178, 2024, doi 10.1016/j.neunet.2024.106475; code: "
        "github.com/Maybe2022/SAKD"
    ),
    loss="reconstructed",
    weight="feature_weight",
    track="inherited",
    reconstructed=(
        (
            "weights of both terms and temperature: the paper's are unknown, and the scripts have "
            "100, 0 (an ablation, left in) and 4 for CIFAR, 10, 10 and 1 for ImageNet"
        ),
    ),
    claims=(
        Claim(
            accuracy=0.7004,
            dataset="imagenet",
            architecture="Spiking-ResNet-34",
            timesteps=4,
            where="abstract",
            url="https://doi.org/10.1016/j.neunet.2024.106475",
        ),
        Claim(
            accuracy=0.6639,
            dataset="imagenet",
            architecture="SEW-ResNet-18",
            timesteps=4,
            where="authors' README and log",
            epochs=120,
            url="https://github.com/Maybe2022/SAKD/blob/main/origin_logs/sew18_SAKD_120epoch.log",
        ),
        Claim(
            accuracy=0.7180,
            dataset="imagenet",
            architecture="SEW-ResNet-34",
            timesteps=4,
            where="authors' README and log",
            epochs=120,
            url="https://github.com/Maybe2022/SAKD/blob/main/origin_logs/sew34_SAKD_120epoch.log",
        ),
        Claim(
            accuracy=0.7470,
            dataset="imagenet",
            architecture="SEW-ResNet-50",
            timesteps=4,
            where="authors' README and log",
            epochs=120,
            url="https://github.com/Maybe2022/SAKD/blob/main/origin_logs/sew50_SAKD_120epoch.log",
        ),
        Claim(
            accuracy=0.7730,
            dataset="imagenet",
            architecture="SEW-ResNet-152",
            timesteps=4,
            where="abstract",
            url="https://doi.org/10.1016/j.neunet.2024.106475",
        ),
        Claim(
            accuracy=0.8150,
            dataset="cifar10_dvs",
            architecture="not named in the source",
            timesteps=4,
            where="as quoted in table 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
    ),
    signals=("weights", "features", "logits"),
    extras=("a 3x3 convolution and a norm a stage",),
    departures=(
        "weights are copied for small images too, which the script for CIFAR leaves out",
        (
            "the feature term weighs 10, as where the script for ImageNet starts; at the 100 of "
            "the script for CIFAR small students of few epochs fall silent without a warm-up"
        ),
        "feature_epochs counts epochs; the script for ImageNet compares the iteration instead",
        "every transform is 3x3; the scripts' are 1x1 for ResNet-19 and for ImageNet",
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class Sakd:
    """Level 1 copies weights, level 2 is ``CE(z_S, y) + b L_fea + c L_log``.

    ``L_fea = sum_k mean (G_k(mean_t S_k) - F_k)^2`` over all stages, where ``G_k`` is a 3x3
    convolution and a norm, and ``L_log = temperature^2 KL(teacher || student)`` of mean
    logits. The authors' script for CIFAR has ``b = 100``, ``c = 0`` (an ablation, left in) and
    a temperature of 4; that for ImageNet a 1x1 convolution, ``b = 10`` for ten epochs and
    0.01 from there, ``c = 10`` and a temperature of 1.

    Only layers behind the last map may differ between the two networks, as in the authors'
    ResNet-19; those keep their start.

    Attributes:
        feature_weight: ``b``.
        logit_weight: ``c``.
        temperature: Softening of both distributions.
        feature_epochs: How long ``feature_weight`` holds; None is to the end.
        late_feature_weight: ``b`` from there.
    """

    feature_weight: NonNegativeFloat = 10.0
    logit_weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 4.0
    feature_epochs: NonNegativeInt | None = None
    late_feature_weight: NonNegativeFloat = 0.01

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy, then descend the three terms.

        Raises:
            UnsupportedError: If the teacher has another architecture.
        """
        stages = stages_in_common(student, lesson.guide)
        copy_weights(student, lesson.guide, head_may_differ=True)
        transforms = nn.ModuleDict(
            {name: _transform(student.tap_channels[name]) for name in stages}
        ).to(lesson.device)
        weights = torch.tensor([*self.feature_weights(lesson)], device=lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            errors = [
                mse_loss(
                    widened(transforms[name](output.taps[name].mean(0))), widened(answer.taps[name])
                )
                for name in stages
            ]
            from_features = summed(errors)
            mean = output.logits.mean(0)
            from_logits = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
            imitation = answer.now(weights) * from_features + self.logit_weight * from_logits
            return answer.task.supervised(mean, labels) + imitation

        return descend(
            student, lesson, loss, also_train=[transforms], taps=stages, teacher_taps=stages
        )

    def feature_weights(self, lesson: Lesson) -> Iterator[float]:
        """Yield ``b`` for each step."""
        epochs = lesson.recipe.epochs if self.feature_epochs is None else self.feature_epochs
        early = epochs * lesson.steps // max(1, lesson.recipe.epochs)
        for step in range(lesson.steps):
            yield self.feature_weight if step < early else self.late_feature_weight


def _transform(channels: int) -> nn.Module:
    convolution = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))


METHOD: Method = Sakd()
