"""Match the teacher with the student's read-out, averaged over time."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Softened divergence of mean logits, beside the cross-entropy",
    citation=(
        "Hinton, Vinyals, Dean. Distilling the knowledge in a neural network. arXiv 1503.02531, "
        "2015; for spikes, and with these constants, the plain distillation in the code of SASTC "
        "(AAAI 2025), github.com/ieveresthd/SASTC"
    ),
    loss="exact",
    weight="weight",
)


@dataclass(frozen=True, kw_only=True)
class LogitKd:
    """Hinton's distillation, with time averaged away before the comparison.

    ``CE(mean_t z_S, y) + weight * temperature^2 KL(teacher || student)``.

    Attributes:
        temperature: Softening of both distributions; 1 leaves them as they are.
        weight: Of the teacher's term.
    """

    temperature: PositiveFloat = 4.0
    weight: NonNegativeFloat = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both terms."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of both terms, in nats."""
        mean = output.logits.mean(0)
        from_teacher = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
        return answer.task.supervised(mean, labels) + self.weight * from_teacher


METHOD: Method = LogitKd()
