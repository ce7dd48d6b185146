"""What all models share: time-major signals, neuron slots and taps.

Inside a model a signal is ``[T, N, ...]``; one with ``T == 1`` may stand for a constant
one, so what stands before the first neuron sees a static stimulus once. Memory is
channels-last wherever the caller's is, in the gradient too: torch's own gradients of
``expand``, ``mean`` and strided slices are not, hence the two functions with a
backward of their own.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from harness.contracts.errors import SpecError, UnsupportedError
from harness.neurons.spiking import SpikingLayer

Activation = Callable[[], nn.Module]
Layer = Callable[[Tensor], Tensor]
MEMBRANE = ".membrane"


def through(
    signal: Tensor,  # [T, N, ...]
    *layers: Layer,
) -> Tensor:
    """Apply ``layers`` once, to all steps of all samples together.

    A layer that says ``sees_time`` is given ``[T, N, ...]``, and may answer a constant
    signal with one that is not. A signal between two layers is gone once the second has
    answered, unless the gradient needs it.
    """
    steps, samples = signal.shape[:2]
    value = signal.flatten(0, 1)
    for layer in layers:
        if getattr(layer, "sees_time", False):
            value = layer(value.view(steps, samples, *value.shape[1:]))
            steps, value = value.shape[0], value.flatten(0, 1)
        else:
            value = layer(value)
    return value.view(steps, samples, *value.shape[1:])


class _Expand(torch.autograd.Function):
    """Expansion over time whose gradient has the layout of what was expanded."""

    @staticmethod
    def forward(
        ctx: Any,
        signal: Tensor,  # [1, N, ...]
        timesteps: int,
    ) -> Tensor:
        ctx.layout = _layout(signal)
        return signal.expand(timesteps, *signal.shape[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients  # [T, N, ...]
        total = torch.empty_like(gradient[0], memory_format=ctx.layout)
        return torch.sum(gradient, dim=0, out=total).unsqueeze(0), None


def _layout(value: Tensor) -> torch.memory_format:
    """Return how ``value`` ``[..., C, H, W]`` lies in memory."""
    images = value[0] if value.dim() == 5 else value
    if images.dim() == 4 and images.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def _expanded(signal: Tensor, timesteps: int) -> Tensor:
    if signal.shape[0] == timesteps:
        return signal
    expanded: Tensor = _Expand.apply(signal, timesteps)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return expanded


def hold(
    signal: Tensor,  # [1, N, ...] or [T, N, ...]
    timesteps: int,
) -> Tensor:
    """Return ``[T, N, ...]``, expanding a constant signal without copying it.

    Its gradient keeps the signal's layout, whoever made it: a simulator that returns
    another one than it was given costs one copy here and not the slow kernels of every
    layer below.
    """
    held = _expanded(signal, timesteps)
    # A hook, which adds no node to the graph; a leaf has no layer below, and would keep it.
    if held is signal and signal.grad_fn is not None:
        signal.register_hook(partial(_laid_out, layout=_layout(signal)))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return held


def _laid_out(
    gradient: Tensor,  # [T, N, ...]
    *,
    layout: torch.memory_format,
) -> Tensor:
    images = gradient.flatten(0, 1).contiguous(memory_format=layout)
    return images.view(gradient.shape)


def add(
    first: Tensor,  # [1, N, ...] or [T, N, ...]
    second: Tensor,  # [1, N, ...] or [T, N, ...]
) -> Tensor:
    """Return the sum; a constant summand counts in every step."""
    timesteps = max(first.shape[0], second.shape[0])
    return _expanded(first, timesteps) + _expanded(second, timesteps)


class _PadShortcut(torch.autograd.Function):
    """The tensor function behind ``PadShortcut``."""

    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,  # [N, C, H, W]
        zero_planes: int,
    ) -> Tensor:
        ctx.zero_planes, ctx.shape, ctx.layout = zero_planes, value.shape, _layout(value)
        pixels = value[:, :, ::2, ::2]
        samples, channels, height, width = pixels.shape
        shape = (samples, channels + 2 * zero_planes, height, width)
        padded = _zeros(shape, like=value, layout=ctx.layout)
        padded.narrow(1, zero_planes, channels).copy_(pixels)
        return padded

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        spread = _zeros(ctx.shape, like=gradient, layout=ctx.layout)
        spread[:, :, ::2, ::2] = gradient.narrow(1, ctx.zero_planes, ctx.shape[1])
        return spread, None


def _zeros(shape: Sequence[int], *, like: Tensor, layout: torch.memory_format) -> Tensor:
    empty = torch.empty(*shape, dtype=like.dtype, device=like.device, memory_format=layout)
    return empty.zero_()


class PadShortcut(nn.Module):
    """Every second pixel, between planes of zeros (He et al., CVPR 2016, option A)."""

    def __init__(self, zero_planes: int) -> None:
        """Put ``zero_planes`` on either side of the channels."""
        super().__init__()
        self.zero_planes = zero_planes

    def forward(
        self,
        value: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Return ``[N, C + 2 zero_planes, H/2, W/2]``, halves rounded up."""
        padded: Tensor = _PadShortcut.apply(value, self.zero_planes)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
        return padded


def averaged(
    value: Tensor,  # [N, C, H, W]
    *,
    side: int = 1,
) -> Tensor:
    """Return the averages over a grid of ``side x side`` fields, ``[N, C * side**2]``."""
    height, width = value.shape[-2:]
    if height % side or width % side:
        return adaptive_avg_pool2d(value, side).flatten(1)
    # Not adaptive_avg_pool2d: to 1x1 that is a mean, whose gradient is not channels-last.
    return avg_pool2d(value, (height // side, width // side)).flatten(1)


@dataclass(frozen=True, kw_only=True)
class TimeLayer:
    """A layer for ``through`` that is given all steps apart, ``[T, N, ...]``."""

    layer: Layer
    sees_time = True

    def __call__(self, signal: Tensor) -> Tensor:
        """Return the layer's answer, ``[T, N, ...]``."""
        return self.layer(signal)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One forward pass: how many steps it has and what of it is to be kept.

    Attributes:
        timesteps: ``T``.
        wanted: Names of taps, known to exist.
        taken: What has been kept so far, each ``[T, N, ...]``.
    """

    timesteps: int
    wanted: frozenset[str]
    taken: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, name: str, signal: Tensor) -> None:
        """Keep ``signal`` if the caller asked for it, in every step."""
        if name in self.wanted:
            # A view, so that its gradient is added last, after those of all further layers.
            self.taken[name] = hold(signal.view_as(signal), self.timesteps)

    def fire(self, activation: nn.Module, signal: Tensor, *makes: str) -> Tensor:
        """Return ``activation``'s answer to ``signal``, ``[T, N, ...]``.

        Args:
            activation: A neuron, or a stateless function such as ``nn.ReLU()``.
            signal: Its input, ``[1, N, ...]`` or ``[T, N, ...]``.
            makes: The taps whose membrane is this one's.
        """
        current = hold(signal, self.timesteps)
        names = self.wanted.intersection(f"{tap}{MEMBRANE}" for tap in makes)
        if not names:
            spikes: Tensor = activation(current)
            return spikes
        spikes, membrane = _with_membrane(activation, current)
        self.taken.update(dict.fromkeys(names, membrane))
        return spikes

    def firing(self, activation: nn.Module, *makes: str) -> TimeLayer:
        """Return a layer for ``through`` that does what ``fire`` does."""
        return TimeLayer(layer=lambda signal: self.fire(activation, signal, *makes))

    def keeping(self, *names: str) -> TimeLayer:
        """Return a layer for ``through`` that keeps its signal by ``names`` and hands it on."""

        def kept(signal: Tensor) -> Tensor:
            for name in names:
                self.keep(name, signal)
            return signal

        return TimeLayer(layer=kept)


def _with_membrane(activation: nn.Module, current: Tensor) -> tuple[Tensor, Tensor]:
    """Return the answer and what was compared with the threshold before any reset."""
    if not isinstance(activation, SpikingLayer):  # stateless: its input is the membrane
        return activation(current), current
    record: list[Tensor] = []
    spikes: Tensor = activation(current, record)
    return spikes, record[0]


@dataclass(frozen=True, kw_only=True)
class Socket:
    """What a network may be shown and asked for.

    Attributes:
        shape: Of one sample, ``(C, H, W)``.
        channels: Of every tap, membranes left out.
        membranes: The taps that one neuron made, so that ``x.membrane`` exists.
    """

    shape: tuple[int, int, int]
    channels: Mapping[str, int]
    membranes: frozenset[str]

    def visit(self, timesteps: int, taps: Sequence[str]) -> Visit:
        """Begin a forward pass.

        Raises:
            SpecError: If there is no such tap, or nothing to simulate.
            UnsupportedError: If a tap has no membrane, and it is asked for.
        """
        if timesteps < 1:
            raise SpecError(f"timesteps must be at least 1, got {timesteps!r}")
        membranes = [f"{name}{MEMBRANE}" for name in self.channels if name in self.membranes]
        known = [*self.channels, *membranes]
        for name in taps:
            if name not in known and (tap := name.removesuffix(MEMBRANE)) in self.channels:
                raise UnsupportedError(
                    f"no neuron of this network made {tap!r}, so it has no membrane; there are: "
                    f"{', '.join(membranes) or 'none'}"
                )
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise SpecError(f"no tap {name!r}; {hint}there are: {', '.join(known)}")
        return Visit(timesteps=timesteps, wanted=frozenset(taps))

    def signal(self, stimulus: Tensor, timesteps: int) -> Tensor:
        """Return ``stimulus`` as ``[1, N, C, H, W]`` or ``[T, N, C, H, W]``.

        Raises:
            SpecError: If it is neither one image a sample nor ``timesteps`` frames.
        """
        if stimulus.dim() not in {4, 5} or tuple(stimulus.shape[-3:]) != self.shape:
            raise SpecError(
                f"the stimulus is {list(stimulus.shape)}; this network was built for "
                f"[N, {_listed(self.shape)}] or [T, N, {_listed(self.shape)}]"
            )
        if stimulus.dim() == 4:
            return stimulus.unsqueeze(0)
        if (frames := stimulus.shape[0]) != timesteps:
            raise SpecError(
                f"the stimulus has {frames} frames and timesteps is {timesteps}; pass "
                f"timesteps={frames}, or a static stimulus [N, C, H, W] for any other number"
            )
        return stimulus


def stage_of(name: str, *, stages: int) -> int:
    """Return the number of the stage that makes the tap ``name``.

    Raises:
        SpecError: If a network cannot go on from there.
    """
    known = {f"stage{stage}": stage for stage in range(1, stages + 1)}
    if name not in known:
        raise SpecError(
            f"no way on from {name!r}; there is one from: {', '.join(known)}, penultimate"
        )
    return known[name]


def _listed(shape: tuple[int, int, int]) -> str:
    return ", ".join(str(size) for size in shape)


def conv3x3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """Return a convolution without bias, since a norm follows it."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def hidden_layer(inputs: int, outputs: int) -> nn.Sequential:
    """Return a linear layer for the neurons before the classifier.

    Its norm is ours: averaged spikes are too weak for the usual start of a linear layer,
    and without one these neurons begin silent.
    """
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))


def initialise(network: nn.Module) -> None:
    """Draw the convolutions anew (He et al., ICCV 2015, eq. 14: by fan-out).

    The draws come from torch's global generator. No activation draws, so the same seed
    gives every realisation the same weights.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
