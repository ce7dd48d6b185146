"""Let the teacher's later blocks read the student's rates, and train all such hybrids."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, Teacher, descend, softened_kl
from harness.training.losses.projection import mean_of, projector, stages_in_common
from harness.training.rate import by_rate, slowed

CARD = MethodCard(
    title="Hybrids of the student's first blocks and the teacher's last, trained by rates",
    citation=(
        "Yang, Yu, Liu, Ma, Wang, Li. Efficient ANN-guided distillation: aligning rate-based "
        "features of spiking neural networks through hybrid block-wise replacement. CVPR 2025"
    ),
    loss="reconstructed",
    weight="teacher_weight",
    reconstructed=(
        "loss weights and temperature",
        "adapters: a 1x1 convolution, a norm and a ReLU",
        "cuts: every stage but the teacher's last",
        "maps are averaged to the teacher's resolution",
        "neuron and surrogate",
    ),
    signals=("logits", "layers"),
    extras=("an adapter a cut: a 1x1 convolution, a norm and a ReLU",),
    departures=(
        "the gradient is not divided by T: under one recipe for all, a learning rate T times less",
    ),
    needs=("classes", "maps"),
)


@dataclass(frozen=True, kw_only=True)
class HybridBlockwise:
    """``pair(z_S) + weight * mean over cuts k of pair(z_k)``.

    ``pair(z) = CE(z, y) + teacher_weight * temperature^2 KL(teacher || z)``. The hybrid's
    logits ``z_k`` are what the teacher makes, from its stage ``k`` on, of the student's
    rates at its stage ``k``, carried over by an adapter (Yang et al. 2025, figure 1; the
    weights are ours). The hybrids are ordinary networks from there on, so each gives the
    student's first blocks a short way to the loss.

    Attributes:
        temperature: Softening of both distributions; the same group's other methods use 3.
        teacher_weight: Of the divergence, beside each cross-entropy.
        hybrid_weight: Of the mean over the hybrids.
        trained_by: Rate-based backpropagation, or backpropagation through time.
        divide_by_timesteps: Whether the gradient is, as in the authors' code for
            rate-based backpropagation.
    """

    temperature: PositiveFloat = 3.0
    teacher_weight: NonNegativeFloat = 1.0
    hybrid_weight: NonNegativeFloat = 1.0
    trained_by: Literal["rates", "time"] = "rates"
    divide_by_timesteps: bool = False

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, with one adapter a stage that both networks have."""
        cuts = cuts_of(student, lesson.guide)
        adapters = adapters_of(student, lesson.guide, cuts).to(lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            hybrids = [
                hybrid(name, adapters[name], output.taps[name].mean(0), lesson.guide, answer)
                for name in cuts
            ]
            errors = [self.pair(logits, answer.logits, labels) for logits in hybrids]
            own = self.pair(output.logits.mean(0), answer.logits, labels)
            total = own + self.hybrid_weight * mean_of(errors)
            return slowed(total, timesteps=student.timesteps if self.divide_by_timesteps else 1)

        return descend(
            student,
            lesson,
            loss,
            also_train=[adapters],
            taps=cuts,
            teacher_taps=cuts,
            forward=by_rate(student) if self.trained_by == "rates" else None,
        )

    def pair(
        self,
        logits: Tensor,  # [N, K]
        teacher: Tensor,  # [N, K]
        labels: Tensor,  # [N]
    ) -> Tensor:
        """Return the cross-entropy and the weighted divergence, in nats."""
        from_teacher = softened_kl(logits, teacher, temperature=self.temperature)
        return cross_entropy(logits, labels) + self.teacher_weight * from_teacher


def cuts_of(student: Student, teacher: Teacher) -> tuple[str, ...]:
    """Return the stages in common that have another stage of the teacher after them.

    A teacher of one stage is cut before its classifier.
    """
    stages = stages_in_common(student, teacher)
    last = [name for name in teacher.tap_channels if name.startswith("stage")][-1]
    return tuple(name for name in stages if name != last) or stages


def adapters_of(student: Student, teacher: Teacher, cuts: tuple[str, ...]) -> nn.ModuleDict:
    """Return what makes the teacher's features of the student's rates, a cut each."""
    ours, theirs = student.tap_channels, teacher.tap_channels
    return nn.ModuleDict(
        {name: nn.Sequential(projector(ours[name], theirs[name]), nn.ReLU()) for name in cuts}
    )


def hybrid(
    name: str,
    adapter: nn.Module,
    rate: Tensor,  # [N, C, H, W]
    teacher: Teacher,
    answer: Answer,
) -> Tensor:
    """Return the logits ``[N, K]`` of the teacher with ``rate`` at its stage ``name``."""
    height, width = answer.taps[name].shape[-2:]
    if rate.shape[-2:] != (height, width):
        rate = adaptive_avg_pool2d(rate, (height, width))
    return teacher.tail(name, adapter(rate))


METHOD: Method = HybridBlockwise()
