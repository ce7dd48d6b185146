"""Have every stage of the student look where the teacher's looks."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.attention import attention_map
from harness.training.losses.projection import mean_of, same_size, stages_in_common

CARD = MethodCard(
    title="Attention maps of firing rates, layer by layer, beside the logits",
    citation=(
        "Hong, Shen, Qi, Wang. LaSNN: layer-wise ANN-to-SNN distillation for effective and "
        "efficient training in deep spiking neural networks. Neurocomputing 2025 "
        "(S0925231225020235); arXiv 2304.09101, 2023"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=(
        "attention is the sum of squares over channels, of length 1",
        "weights and temperature, that of attention after attention transfer (ICLR 2017)",
        "softened divergence of the logits",
        "the stages are the layers, and their errors are averaged",
    ),
    departures=(
        (
            "BKDSNN's re-implementation compares the maps themselves, through 1x1 convolutions "
            "that are not trained; the abstract speaks of attention"
        ),
    ),
    signals=("features", "logits"),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class Lasnn:
    """Attention transfer from features to firing rates.

    ``CE + logit_weight * temperature^2 KL + weight * mean over stages and samples of
    |a(rate) - a(feature)|^2`` with ``a(F) = norm(sum_c F_c^2)``, the form of Zagoruyko &
    Komodakis (ICLR 2017, eq. 2).

    Attributes:
        weight: Of the squared distance of attention. Theirs is 1000 over the number of
            positions (section 4.1), so 4 in the middle of three stages on CIFAR; it is
            kept whatever the resolution, as at 4x4 positions it would be 62, and drown
            the labels.
        logit_weight: Of the divergence.
        temperature: Softening of both distributions.
    """

    weight: NonNegativeFloat = 4.0
    logit_weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 4.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, on every stage that both networks have."""
        stages = stages_in_common(student, lesson.guide)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            mean = output.logits.mean(0)
            errors = [
                attention_error(output.taps[name].mean(0), answer.taps[name]) for name in stages
            ]
            looks = mean_of(errors)
            from_teacher = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
            return (
                answer.task.supervised(mean, labels)
                + self.logit_weight * from_teacher
                + self.weight * looks
            )

        return descend(student, lesson, loss, taps=stages, teacher_taps=stages)


def attention_error(
    rate: Tensor,  # [N, C, H, W]
    feature: Tensor,  # [N, C', H', W']
) -> Tensor:
    """Return the squared distance of attention at the coarser of both resolutions.

    It lies between 0 and 2, both included, and is a mean over samples.
    """
    rate, feature = same_size(rate, feature)
    return (attention_map(rate) - attention_map(feature)).square().sum(-1).mean()


METHOD: Method = Lasnn()
