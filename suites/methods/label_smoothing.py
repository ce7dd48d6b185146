"""A control: soften the labels and ask no teacher."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Control: smoothed labels alone; no teacher",
    citation=(
        "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna. Rethinking the inception architecture for "
        "computer vision. CVPR 2016, arXiv 1512.00567, section 7; why it is a control: Yuan, Tay, "
        "Li, Wang, Feng. Revisiting knowledge distillation via label smoothing regularization. "
        "CVPR 2020, arXiv 1909.11723"
    ),
    loss="exact",
    track="scratch",
    signals=(),
    uses_teacher=False,
    control=True,
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing:
    """Cross-entropy of the mean logits from ``(1 - smoothing) onehot(y) + smoothing / K``.

    Distillation does no better than this if all it gives are targets that are not certain.

    Attributes:
        smoothing: What of the probability all ``K`` classes share, the label among them.
    """

    smoothing: Fraction = 0.1

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the cross-entropy."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, _answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy from the smoothed labels, in nats."""
        return cross_entropy(output.logits.mean(0), labels, label_smoothing=self.smoothing)


METHOD: Method = LabelSmoothing()
