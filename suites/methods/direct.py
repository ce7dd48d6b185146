"""Learn from the labels alone: what every distillation has to beat."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Cross-entropy of the mean logits; no teacher",
    citation="Wu, Deng, Li, Zhu, Shi. Spatio-temporal backpropagation. Front. Neurosci. 2018",
    fidelity="exact",
    signals=(),
    uses_teacher=False,
)


@dataclass(frozen=True, kw_only=True)
class Direct:
    """Surrogate-gradient training on the labels, through time."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the cross-entropy."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, _answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return cross_entropy(output.logits.mean(0), labels)


METHOD: Method = Direct()
