"""Several devices, a process each, that share every batch and train one network.

Each answers its share; then all hold all answers, so that any loss is that of the whole
batch, and descend on the mean of their gradients. That is what one device would do, but for
rounding, whatever the loss makes of a batch. Batch norms use the statistics of all shares.
What sees more of its share than sample by sample, or draws random numbers for it, is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.contracts.errors import HarnessError, PlaceError
from harness.contracts.model import Output
from harness.training.team import Look

_UNSURE = 2  # steps: what one looked at, and what was made of that before the next
_ALIKE = 1e-6  # of a tensor's size: more than kernels of one kind differ by, less than a sample


class LostError(HarnessError, ConnectionError):
    """Another device that does not answer any more."""


class Several:
    """The devices of torch's process group, as one of them sees it."""

    eager = "several devices share each batch"

    def __init__(self) -> None:
        """Take part in the group of this process."""
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._unsure = _UNSURE

    def looking(self, look: Look, network: nn.Module, /) -> Look:
        """Return what answers the whole batch; its norms see all of it."""
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        shared = {norm: self._shared(norm) for norm in norms}
        self._unsure = _UNSURE

        def looked(stimulus: Tensor, taps: Sequence[str]) -> Output:
            with _instead(shared):
                return self.answered(partial(look, stimulus, taps))

        return looked

    def whole(self, part: Tensor, /) -> Tensor:
        """Return ``[N, ...]`` of all devices' shares, each ``[n, ...]``, without a gradient."""
        return torch.cat(self._told(part))

    def answered(self, look: Callable[[], Output], /) -> Output:
        """Return what ``look`` answers to the shares of all devices, with its gradient.

        Raises:
            PlaceError: If it draws random numbers, which would be others for each share.
        """
        before, output = _random(), look()
        if not all(map(torch.equal, before, _random())):
            raise PlaceError(
                "random numbers are drawn while a network looks at a batch, and each of several "
                "devices would draw others for its share; run it on one"
            )
        return Output(
            logits=_Answered.apply(output.logits, self),  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
            taps={name: _Answered.apply(tap, self) for name, tap in output.taps.items()},  # type: ignore[no-untyped-call]  # likewise
        )

    def average(self, modules: Iterable[nn.Module], /) -> None:
        """Give all devices the mean of their gradients.

        Raises:
            PlaceError: If what the first steps have left in ``modules`` is not the same.
        """
        modules = list(modules)
        if self._unsure:
            self.refuse_unlike(modules)
            self._unsure -= 1
        weights = [weight for module in modules for weight in module.parameters()]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        together = self.summed(torch.cat([each.flatten() for each in gradients])) / self.size
        parts = torch.split(together, [each.numel() for each in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def refuse_unlike(self, modules: Iterable[nn.Module], /) -> None:
        """Refuse modules whose weights or buffers are not the same on all devices.

        Raises:
            PlaceError: If they are not.
        """
        states = [part.double() for each in modules for part in each.state_dict().values()]
        ours = torch.stack([torch.stack([part.sum(), part.abs().sum()]) for part in states])
        sums, sizes = torch.stack(self._told(ours)).unbind(-1)  # each [devices, tensors]
        # The same on all of them, so that none goes on without the others.
        if (sums.amax(0) - sums.amin(0) > _ALIKE * sizes.amax(0)).any():
            raise PlaceError(
                "what this method keeps from step to step follows from a device's share of the "
                "batch, and several devices would each keep another; run it on one"
            )

    def summed(self, part: Tensor, /) -> Tensor:
        """Return the sum over all devices, without a gradient."""
        total = part.detach().clone(memory_format=torch.contiguous_format)
        with _heard():
            dist.all_reduce(total)
        return total

    def _told(self, part: Tensor) -> list[Tensor]:
        """Return what each device has in the place of ``part``."""
        ours = part.detach().contiguous()
        told = [torch.empty_like(ours) for _ in range(self.size)]
        with _heard():
            dist.all_gather(told, ours)
        return told

    def _shared(self, norm: _BatchNorm) -> Callable[[Tensor], Tensor]:
        """Return what ``norm`` does to a share, with its weights and its running statistics."""
        if next(norm.buffers(), torch.empty(0)).is_cuda:
            kind: Any = nn.SyncBatchNorm  # torch leaves it untyped
            return partial(_on_gpu, norm, kind.convert_sync_batchnorm(norm))
        return partial(_normed, self, norm)


@contextmanager
def _heard() -> Iterator[None]:
    """Tell what torch says of a group that is no longer complete from every other error."""
    try:
        yield
    except RuntimeError as error:
        raise LostError(f"another device does not answer: {error}") from error


def _random() -> list[Tensor]:
    """Return the states of torch's random numbers."""
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if on_gpu else ())]


@contextmanager
def _instead(shared: dict[_BatchNorm, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Let norms be called by what they do to a share; their kind stays what it is."""
    for norm, forward in shared.items():
        vars(norm)["forward"] = forward
    try:
        yield
    finally:
        for norm in shared:
            del vars(norm)["forward"]


def _on_gpu(norm: _BatchNorm, shared: nn.Module, signal: Tensor) -> Tensor:
    answer: Tensor = shared.train(norm.training)(signal)
    return answer


def _normed(
    team: Several,
    norm: _BatchNorm,
    signal: Tensor,  # [n, C, ...]
) -> Tensor:
    """Normalise a share by the mean and variance of the whole batch.

    What ``SyncBatchNorm`` does, which torch has for GPUs alone.
    """
    if not norm.training:
        return type(norm).forward(norm, signal)
    axes, shape = [0, *range(2, signal.dim())], (-1, *[1] * (signal.dim() - 2))
    wide = signal.to(torch.promote_types(signal.dtype, torch.float32))
    count = team.size * wide.numel() // wide.shape[1]
    mean = _summed(wide.sum(axes), team) / count
    around = wide - mean.view(shape)
    variance = _summed(around.square().sum(axes), team) / count
    if norm.running_mean is not None and norm.running_var is not None:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        pace = 1 / norm.num_batches_tracked.item() if norm.momentum is None else norm.momentum
        with torch.no_grad():
            norm.running_mean.lerp_(mean.to(norm.running_mean), pace)
            unbiased = variance * (count / (count - 1))
            norm.running_var.lerp_(unbiased.to(norm.running_var), pace)
    answer = around * (variance + norm.eps).rsqrt().view(shape)
    if norm.weight is not None:
        answer = answer * norm.weight.view(shape)
    if norm.bias is not None:
        answer = answer + norm.bias.view(shape)
    return answer.to(signal.dtype)


class _Summed(torch.autograd.Function):
    """The sum over all devices, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, team: Several) -> Tensor:
        ctx.team = team
        return team.summed(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.team.summed(gradients[0]), None


def _summed(part: Tensor, team: Several) -> Tensor:
    total: Tensor = _Summed.apply(part, team)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return total


class _Answered(torch.autograd.Function):
    """``[T, N, ...]`` of all shares ``[T, n, ...]``.

    Every device has the whole loss, and the mean of their gradients is taken: a share's part
    in it counts as often as there are devices, and what all of them have alike counts once.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, team: Several) -> Tensor:
        ctx.team = team
        return torch.cat(team._told(part), 1)  # noqa: SLF001  its own

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.team.size * gradients[0].chunk(ctx.team.size, 1)[ctx.team.rank], None
