"""A control: run the teacher as often as a distillation would, and do not listen."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Control: direct training beside a teacher that runs in vain",
    citation="None: a control of this benchmark, `direct` at the cost of `logit_kd`",
    loss="exact",
    track="scratch",
    signals=(),
    control=True,
)


@dataclass(frozen=True, kw_only=True)
class ExtraForwards:
    """``CE(mean_t z_t, y)``; the teacher answers every batch and its answer is thrown away.

    Its numbers are those of ``direct`` to the last bit, its time that of a distillation by
    logits: what a method costs beyond this, its own loss costs.
    """

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the cross-entropy."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        _ = answer.logits  # Read: the teacher runs only if it is asked.
        return answer.task.supervised(output.logits.mean(0), labels)


METHOD: Method = ExtraForwards()
