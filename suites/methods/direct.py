"""Learn from the labels alone: what every distillation has to beat."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Cross-entropy of the mean logits; no teacher",
    citation=(
        "The loss as Deng, Li, Zhang, Gu (Temporal efficient training of spiking neural network "
        "via gradient re-weighting. ICLR 2022, arXiv 2202.11946) call it, standard direct "
        "training; the training: Wu, Deng, Li, Zhu, Shi. Spatio-temporal backpropagation for "
        "training high-performance spiking neural networks. Front. Neurosci. 12:331, 2018"
    ),
    loss="exact",
    signals=(),
    uses_teacher=False,
)


@dataclass(frozen=True, kw_only=True)
class Direct:
    """Surrogate-gradient training on the labels, through time."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the cross-entropy."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return answer.task.supervised(output.logits.mean(0), labels)


METHOD: Method = Direct()
