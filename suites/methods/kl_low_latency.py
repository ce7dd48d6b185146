"""Mix the divergence from the teacher with the labels, mostly the former."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend, taught_share

CARD = MethodCard(
    title="Kullback-Leibler distillation for few timesteps",
    citation=(
        "Takuya, Zhang, Nakashima. Training low-latency spiking neural network through "
        "knowledge distillation. COOL CHIPS 2021"
    ),
    fidelity="reconstructed",
    reconstructed=("temperature", "mixing weight", "no weights are copied", "neuron and surrogate"),
    claims=(
        Claim(
            accuracy=0.7442,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=5,
            where="abstract",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class KlLowLatency:
    """``a temperature^2 KL(teacher || student) + (1 - a) CE``, as the abstract has it.

    Attributes:
        temperature: Softening of both distributions.
        teacher_share: ``a``; 1 is the divergence alone.
    """

    temperature: float = 4.0
    teacher_share: float = 0.9

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the mixture."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the mixture, in nats."""
        return taught_share(
            output.logits.mean(0),
            answer.logits,
            labels,
            temperature=self.temperature,
            share=self.teacher_share,
        )


METHOD: Method = KlLowLatency()
