"""What lies between two networks whose stages differ in width or resolution."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from harness.contracts.errors import UnsupportedError
from harness.training.lesson import Teacher
from harness.training.student import Student


def stages_in_common(student: Student, teacher: Teacher) -> tuple[str, ...]:
    """Return the names of the stages that both have, the first stage first.

    Raises:
        UnsupportedError: If there is none.
    """
    theirs = teacher.tap_channels
    stages = tuple(n for n in student.tap_channels if n.startswith("stage") and n in theirs)
    if not stages:
        raise UnsupportedError("student and teacher have no stage tap in common")
    return stages


def last_stage(channels: Mapping[str, int]) -> str:
    """Return the last stage's name among the taps of a network.

    Raises:
        UnsupportedError: If it has none.
    """
    stages = [name for name in channels if name.startswith("stage")]
    if not stages:
        raise UnsupportedError("a network without stages has no last map to compare")
    return stages[-1]


def projectors(student: Student, teacher: Teacher, stages: Sequence[str]) -> nn.ModuleDict:
    """Return a 1x1 convolution and a norm a stage, from the student's width to the teacher's.

    FitNets' regressor (Romero et al., ICLR 2015, section 2.2); the norm is for rates, which
    lie in [0, 1] where features do not.
    """
    ours, theirs = student.tap_channels, teacher.tap_channels
    return nn.ModuleDict({name: projector(ours[name], theirs[name]) for name in stages})


def projector(inputs: int, outputs: int) -> nn.Module:
    """Return a 1x1 convolution and a norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def token_projectors(
    ours: Mapping[str, int], theirs: Mapping[str, int], pairs: Mapping[str, str]
) -> nn.ModuleDict:
    """Return a linear layer and a norm for each of our taps, to the width of its partner."""
    return nn.ModuleDict(
        {
            name: nn.Sequential(nn.Linear(ours[name], theirs[of]), nn.LayerNorm(theirs[of]))
            for name, of in pairs.items()
        }
    )


def as_tokens(
    tap: Tensor,  # [N, C, ...]
) -> Tensor:
    """Return the places of a tap as tokens, ``[N, P, C]``."""
    return tap.flatten(2).mT


def summed(errors: Sequence[Tensor]) -> Tensor:
    """Return the sum of one or more ``errors``, one a stage."""
    return sum(errors[1:], errors[0])


def mean_of(errors: Sequence[Tensor]) -> Tensor:
    """Return the mean of one or more ``errors``, one a stage."""
    return summed(errors) / len(errors)


def same_size(
    first: Tensor,  # [N, C, H, W]
    second: Tensor,  # [N, C', H', W']
) -> tuple[Tensor, Tensor]:
    """Return both at the coarser of their resolutions, averaged."""
    size = min(first.shape[-2:], second.shape[-2:])
    return averaged_to(first, size), averaged_to(second, size)


def averaged_to(
    value: Tensor,  # [..., C, H, W]
    size: tuple[int, ...],
) -> Tensor:
    """Return ``value`` averaged over a grid of ``size`` fields."""
    height, width = value.shape[-2:]
    if (height, width) == tuple(size):
        return value
    if height % size[0] or width % size[1]:
        return adaptive_avg_pool2d(value, (size[0], size[1]))
    # The adaptive kernel's gradient varies on a GPU.
    return avg_pool2d(value, (height // size[0], width // size[1]))
