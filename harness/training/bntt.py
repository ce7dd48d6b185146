"""Batch norm through time: in every norm's place one a step.

Y. Kim & P. Panda, Front. Neurosci. 15:773954 (2021).
"""

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnsupportedError
from harness.training.student import Student

EPS = 1e-4  # of the variance; the authors' code
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class BatchNormThroughTime(nn.Module):
    """Step ``t`` has statistics and a scale of its own, and no step has a shift.

    ``gamma_t (x_t - mu_t) / sqrt(var_t + eps)``. A constant signal becomes one that is not,
    so no step's norm folds into the weights before it, which all steps share: a meter is
    right to count a product an element.
    """

    sees_time = True
    one_a_step = True  # for a meter: its modules are one layer

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, timesteps: int) -> None:
        """Begin as ``norm`` would, ``timesteps`` times."""
        super().__init__()
        self.steps = nn.ModuleList(_without_shift(norm) for _ in range(timesteps))

    @property
    def scales(self) -> Tensor:
        """The learnt ``gamma``, ``[T, C]``."""
        return torch.stack([cast(Tensor, norm.weight) for norm in self.steps])

    def forward(
        self,
        signal: Tensor,  # [1, N, ...] or [T, N, ...]
    ) -> Tensor:
        """Return ``[T, N, ...]``.

        Raises:
            SpecError: If the signal has another number of steps.
        """
        given, steps = signal.shape[0], len(self.steps)
        if given not in {1, steps}:
            raise SpecError(
                f"this batch norm has statistics for {steps} steps and the signal has {given}; "
                f"simulate it for {steps}"
            )
        frames = signal.unbind(0) * (steps // given)
        return torch.stack([norm(frame) for norm, frame in zip(self.steps, frames, strict=True)])


def _without_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    single = type(norm)(norm.num_features, eps=EPS, momentum=norm.momentum)
    single.register_parameter("bias", None)
    return single


class _ThroughTime(nn.Sequential):
    """A stack some of whose layers see time, and the others all steps together."""

    sees_time = True

    def forward(
        self,
        signal: Tensor,  # [1, N, ...] or [T, N, ...]
    ) -> Tensor:
        """Return ``[1, N, ...]`` or ``[T, N, ...]``."""
        for layer in self:
            if getattr(layer, "sees_time", False):
                signal = layer(signal)
            else:
                value = layer(signal.flatten(0, 1))
                signal = value.view(*signal.shape[:2], *value.shape[1:])
        return signal


def norm_through_time(student: Student, /) -> None:
    """Give every batch norm of the student's network one statistic a step.

    Raises:
        UnsupportedError: If there is none.
    """
    network = student.network
    norms = {name: each for name, each in network.named_modules() if isinstance(each, _NORMS)}
    if not norms:
        raise UnsupportedError("this network has no batch norm that could have one a step")
    for name, norm in norms.items():
        unrolled = BatchNormThroughTime(norm, student.timesteps)
        network.set_submodule(name, unrolled.to(next(norm.parameters()).device))
    # A stack around a norm is called as one layer: it has to see time for it.
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Sequential) and any(map(_is_unrolled, module)):
            network.set_submodule(name, _ThroughTime(OrderedDict(module.named_children())))


def _is_unrolled(module: nn.Module) -> bool:
    return isinstance(module, BatchNormThroughTime)
