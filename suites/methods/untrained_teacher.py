"""A control: distil a teacher that has learnt nothing."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

from pydantic import NonNegativeFloat, PositiveFloat
from torch import nn

from harness.contracts.method import Method, MethodCard, Progress
from harness.training import Lesson, Student
from suites.methods.logit_kd import LogitKd
from suites.models._signal import initialise

CARD = MethodCard(
    title="Control: `logit_kd` from a teacher of fresh weights",
    citation="None: a control of this benchmark, `logit_kd` without what the teacher has learnt",
    loss="exact",
    weight="weight",
    track="scratch",
    control=True,
)


@dataclass(frozen=True, kw_only=True)
class UntrainedTeacher:
    """``logit_kd`` from the teacher's topology with the weights and norms of a start.

    Its targets are close to uniform and depend on the image, but not on what it shows. What
    this gains, distillation does not gain by what the teacher has learnt. The weights come
    from the method's random stream, one draw for the whole training.

    Attributes:
        temperature: As of ``logit_kd``.
        weight: As of ``logit_kd``.
    """

    temperature: PositiveFloat = 4.0
    weight: NonNegativeFloat = 1.0

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend as ``logit_kd`` does, from the untrained teacher."""
        untrained = replace(lesson.guide, network=afresh(lesson.guide.network))
        plain = LogitKd(temperature=self.temperature, weight=self.weight)
        return plain.fit(student, replace(lesson, teacher=untrained))


def afresh(network: nn.Module) -> nn.Module:
    """Return a copy whose weights are drawn anew, as our topologies draw them."""
    copy = deepcopy(network)
    for module in copy.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()  # of norms the statistics too
    initialise(copy)
    redraw = getattr(copy, "redraw", None)
    if redraw is not None:
        redraw()  # what no layer draws, or draws otherwise
    return copy


METHOD: Method = UntrainedTeacher()
