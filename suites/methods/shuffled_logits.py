"""A control: distil answers that the teacher gave about other samples of the batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Lesson, Student
from suites.methods.logit_kd import LogitKd

CARD = MethodCard(
    title="Control: `logit_kd` with the teacher's answers shuffled over the batch",
    citation="None: a control of this benchmark, `logit_kd` without what ties answers to images",
    loss="exact",
    weight="weight",
    track="scratch",
    control=True,
)


@dataclass(frozen=True, kw_only=True)
class ShuffledLogits:
    """``logit_kd``, whose teacher's answers are permuted over the batch, anew at every step.

    The targets have the distribution of a teacher's and say nothing of their image; on average
    one answer a batch stays where it was. What this gains, distillation does not gain by
    what the teacher knows. The permutations come from the method's random stream.

    Attributes:
        temperature: As of ``logit_kd``.
        weight: As of ``logit_kd``.
    """

    temperature: PositiveFloat = 4.0
    weight: NonNegativeFloat = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend as ``logit_kd`` does, from the shuffled teacher."""
        shuffled = replace(lesson.guide, network=Shuffled(lesson.guide.network))
        plain = LogitKd(temperature=self.temperature, weight=self.weight)
        return plain.fit(student, replace(lesson, teacher=shuffled))


class Shuffled(nn.Module):
    """A network whose logits are those of other samples of the batch."""

    def __init__(self, network: nn.Module) -> None:
        """Answer through ``network``."""
        super().__init__()
        self.network = network

    def forward(self, stimulus: Tensor, timesteps: int, taps: Sequence[str] = ()) -> Output:
        """Answer ``stimulus``, each sample with the logits of any of the batch; taps stay."""
        answer: Output = self.network(stimulus, timesteps, taps)
        order = torch.randperm(answer.logits.shape[1], device=stimulus.device)
        return Output(logits=answer.logits[:, order], taps=answer.taps)


METHOD: Method = ShuffledLogits()
