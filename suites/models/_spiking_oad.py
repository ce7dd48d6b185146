"""A spiking network that detects and anticipates actions as their frames come in.

The student of KDSNN for online action detection (IEEE TII 2025) in our reconstruction: of
the paper's network no more is known than "hierarchical spike CNN blocks and spike
Transformer blocks". What a frame's answer depends on are frames before it, each by its
distance alone, so a video can be answered chunk by chunk with little to remember, and the
answers are those of windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.inputs import Classes, Features
from harness.contracts.model import Output
from harness.neurons.carrying import Memory
from harness.neurons.going_on import go_on
from harness.neurons.spiking import SpikingNeuron
from suites.models._frames import as_map, check_windows, tokens_of
from suites.models._signal import Activation, Socket, Visit, add, through

# Attention fires at half the threshold of other neurons (Spikformer, ICLR 2023): the suite's
# neuron has one threshold, so its current is doubled, which is exact.
_SCALE = 0.125 / 0.5
_AHEAD_STD = 0.5


@dataclass(frozen=True, kw_only=True)
class SpikingOad:
    """Causal dilated spike convolutions, then spike Transformer blocks, then a read-out.

    Every sum is taken before a neuron (membrane shortcuts), every norm is a batch norm over
    all frames of all steps: in evaluation it is a scale of each channel, whatever the chunk.

    Attributes:
        width: Channels, ``E``.
        dilations: Of the convolutions, of three taps each, between frames.
        blocks: Of attention and two layers.
        heads: Of attention; they divide ``width``.
        ratio: Of the two layers' inner width to ``E``.
        near: A frame attends to itself and the ``near - 1`` before it,
        far: and to ``far`` frames before those,
        stride: each so many before the next.
        work: Frames at the end of a window that are answered.
        ahead: Frames after it that are, too.
        frames_are_steps: Whether a frame is a time step of the neurons, whose membranes then
            live as long as the video, or is shown for all steps of the simulation to neurons at
            rest.
    """

    takes: ClassVar[type[Features]] = Features
    width: int
    dilations: tuple[int, ...] = (1, 2, 4)
    blocks: int = 2
    heads: int = 4
    ratio: int = 4
    near: int = 8
    far: int = 3
    stride: int = 8
    work: int
    ahead: int = 8
    frames_are_steps: bool = False

    @property
    def reach(self) -> int:
        """How many frames back an answer depends on, where membranes do not outlive a frame."""
        return 2 * sum(self.dilations) + self.blocks * self.attended

    @property
    def attended(self) -> int:
        """How many frames back attention looks."""
        return self.near - 1 + self.far * self.stride

    def build(self, activation: Activation, /, *, input: Features, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot.

        Raises:
            SpecError: If a window is shorter than what is to be answered of it.
        """
        if input.length < self.work:
            raise SpecError(
                f"a window of {input.length} frames cannot answer for {self.work}; show as many"
            )
        return SpikingOadNetwork(self, activation, input=input, classes=output.classes)


@dataclass(kw_only=True)
class Past:
    """What the frames of a video have left in a network, for those that follow.

    Attributes:
        kept: Spikes of the last frames, by the layer that needs them.
        membranes: Where frames are steps, by layer.
    """

    kept: dict[str, Tensor] = field(default_factory=dict)
    membranes: dict[str, Memory] = field(default_factory=dict)


class TokenNorm(nn.BatchNorm1d):
    """Batch norm of the channels ``E`` over all else: samples, steps and frames."""

    def forward(
        self,
        value: Tensor,  # [..., E]
    ) -> Tensor:
        """Return the same shape."""
        return super().forward(value.flatten(0, -2)).view(value.shape)


class _Causal(nn.Module):
    """A convolution over frames that sees none to come, and its norm."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm1d(width)

    def forward(
        self,
        value: Tensor,  # [B, L + 2 dilation, E], so many frames before the first
    ) -> Tensor:
        """Return ``[B, L, E]``."""
        answer: Tensor = self.bn(self.conv(value.transpose(1, 2)))
        return answer.transpose(1, 2)


class ByFrame(nn.Module):
    """Neurons that take frames for steps: given ``[1, N, L, E]``, they are simulated for ``L``.

    To the meter a frame's neurons are neurons of their own, of one step: the same counts.
    """

    def __init__(self, neuron: nn.Module) -> None:
        """Wrap ``neuron``, which may be none, as ReLU."""
        super().__init__()
        self.neuron = neuron
        if isinstance(neuron, SpikingNeuron):
            self.costs_like = neuron.spec

    def forward(
        self,
        current: Tensor,  # [1, N, L, E]
        memory: Memory | None = None,
        until: int = 0,
    ) -> Tensor:
        """Return the answer to all frames, from rest or from ``memory``.

        That holds afterwards what is left after ``until`` frames.
        """
        frames = current.transpose(0, 2)
        if memory is None:
            answer: Tensor = self.neuron(frames)
        else:
            answer, memory.held = go_on(self.neuron, frames, memory.held, until=until)
        return answer.transpose(0, 2)


def _normed(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), TokenNorm(outputs))


class _Block(nn.Module):
    """The parts of one spike Transformer block; the network runs it."""

    def __init__(self, topology: SpikingOad, activation: Activation) -> None:
        super().__init__()
        width, inner = topology.width, topology.ratio * topology.width
        self.first = activation()
        self.query, self.key, self.value = (_normed(width, width) for _ in range(3))
        self.query_neuron, self.key_neuron, self.value_neuron = (activation() for _ in range(3))
        self.attention_neuron = activation()
        self.mixed = _normed(width, width)
        self.second = activation()
        self.wide = _normed(width, inner)
        self.wide_neuron = activation()
        self.narrow = _normed(inner, width)


class SpikingOadNetwork(nn.Module):
    """A realisation of the topology, of windows or chunk by chunk."""

    style = "ms"

    def __init__(
        self, topology: SpikingOad, activation: Activation, *, input: Features, classes: int
    ) -> None:
        """Build it; nothing is remembered but in a ``Past``."""
        super().__init__()
        width = topology.width
        self.topology, self.features = topology, input
        if topology.frames_are_steps:
            activation = _by_frame(activation)
        self.embed = _normed(input.width, width)
        self.neurons = nn.ModuleList(activation() for _ in topology.dilations)
        self.convolutions = nn.ModuleList(_Causal(width, each) for each in topology.dilations)
        self.ahead = nn.Parameter(torch.randn(topology.ahead, width) * _AHEAD_STD)
        self.blocks = nn.ModuleList(_Block(topology, activation) for _ in range(topology.blocks))
        self.last = activation()
        self.fc = nn.Linear(width, classes)
        self.asked = topology.work + topology.ahead
        # No answer depends on frames before these, unless membranes do.
        reached = input.length if topology.frames_are_steps else topology.work + topology.reach
        self.shown = min(input.length, reached)
        self.hidden: Tensor
        unseen = hidden(topology, self.shown, self.shown, topology.ahead)
        self.register_buffer("hidden", unseen, persistent=False)
        taps = {"stage1": width, "stage2": width, "penultimate": width}
        self.socket = Socket(
            shape=(1, input.length, input.width),
            channels=taps,
            membranes=frozenset(),
        )
        self.tap_channels = self.socket.channels
        # Frames of zeros before a video's first, with which chunks answer as windows do.
        self.lead_in = 0 if topology.frames_are_steps else topology.reach

    def redraw(self) -> None:
        """Draw anew what no layer draws."""
        nn.init.normal_(self.ahead, std=_AHEAD_STD)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        """Answer windows ``[N, L, D]``: logits ``[T, N, work + ahead, K]``.

        Raises:
            SpecError: If the windows are of another shape than those it was built for.
        """
        check_windows(stimulus, self.features)
        visit = self._visit(timesteps, taps)
        spikes = self._spikes(stimulus[:, -self.shown :], visit, None)
        asked = spikes[:, :, -self.asked :]
        visit.keep("stage2", as_map(asked))
        visit.keep("penultimate", asked)
        return Output(logits=through(asked, self.fc), taps=visit.taken)

    def advance(
        self,
        frames: Tensor,  # [N, c, D]: the next of each of N videos
        past: Past,
        /,
        timesteps: int = 1,
    ) -> Tensor:
        """Answer the next frames of videos, and change what is ``past`` to what they leave.

        Returns:
            Logits ``[T, N, c + ahead, K]``: of each frame, and of those after the last.
        """
        return through(self._spikes(frames, self._visit(timesteps, ()), past), self.fc)

    def begin(self) -> Past:
        """Return what is past before the first frame of a video: nothing."""
        return Past()

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of the tap ``name``.

        Raises:
            SpecError: From ``stage1``, which attention reads of more frames than are answered.
        """
        if name not in {"stage2", "penultimate"}:
            raise SpecError(f"no way on from {name!r}; there is one from: stage2, penultimate")
        return through(tokens_of(signal) if name == "stage2" else signal, self.fc)

    def _visit(self, timesteps: int, taps: Sequence[str]) -> Visit:
        if self.topology.frames_are_steps and timesteps != 1:
            raise UnsupportedError(
                f"frames are the time steps of this network, so T is 1 and not {timesteps}"
            )
        return self.socket.visit(timesteps, taps)

    def _spikes(self, frames: Tensor, visit: Visit, past: Past | None) -> Tensor:
        """Return what the read-out reads, ``[T, N, c + ahead, E]``."""
        run = _Run(topology=self.topology, visit=visit, past=past, frames=frames.shape[1])
        current = through(frames.unsqueeze(0), self.embed)  # [1, N, c, E]
        layers = zip(self.neurons, self.convolutions, strict=True)
        for number, (neuron, convolution) in enumerate(layers):
            spikes = run.fire(f"conv{number}", neuron, current)
            before = 2 * self.topology.dilations[number]
            seen = run.with_earlier(f"conv{number}", spikes, before, blank=True)
            current = add(current, through(seen, convolution))
        current = run.with_ahead(current, self.ahead)
        for number, block in enumerate(self.blocks):
            current = self._blocked(run, f"block{number}", block, current)
        if past is None and not self.topology.frames_are_steps:
            current = current[:, :, -self.asked :]
        return run.fire("last", self.last, current)

    def _blocked(self, run: "_Run", name: str, block: nn.Module, current: Tensor) -> Tensor:
        """Return the current after one block, ``[T, N, c + ahead, E]``."""
        part = dict(block.named_children())
        spikes = run.fire(f"{name}.first", part["first"], current)
        if name == "block0":
            run.visit.keep("stage1", as_map(spikes[:, :, : run.frames]))
        query, key, value = (
            run.fire(f"{name}.{each}", part[f"{each}_neuron"], through(spikes, part[each]))
            for each in ("query", "key", "value")
        )
        mixed = self._attended(run, name, query, key, value)
        fired = run.fire(f"{name}.attention", part["attention_neuron"], mixed * _SCALE)
        current = add(current, through(fired, part["mixed"]))
        spikes = run.fire(f"{name}.second", part["second"], current)
        inner = run.fire(f"{name}.wide", part["wide_neuron"], through(spikes, part["wide"]))
        return add(current, through(inner, part["narrow"]))

    def _attended(
        self, run: "_Run", name: str, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        """Return ``((Q K^T) o M) V`` without a softmax, ``[T, N, c + ahead, E]``."""
        frames, look = run.frames, self.topology.attended
        keys = run.with_earlier(f"{name}.key", key[:, :, :frames], look, blank=False)
        values = run.with_earlier(f"{name}.value", value[:, :, :frames], look, blank=False)
        seen = keys.shape[2]
        unseen = self.hidden
        if unseen.shape != (query.shape[2], seen):
            unseen = hidden(self.topology, frames, seen, self.topology.ahead).to(query.device)
        met = self._heads(query) @ self._heads(keys).mT  # [T N H, c + ahead, seen]
        mixed = met.masked_fill(unseen, 0) @ self._heads(values)
        steps, samples, tokens = query.shape[:3]
        return mixed.view(steps, samples, -1, tokens, mixed.shape[-1]).transpose(2, 3).flatten(3)

    def _heads(self, signal: Tensor) -> Tensor:
        """Return ``[T, N, L, E]`` as ``[T N H, L, E / H]``."""
        heads = self.topology.heads
        apart = signal.view(*signal.shape[:3], heads, signal.shape[3] // heads)
        return apart.transpose(2, 3).flatten(0, 2)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One pass over the frames of a window or a chunk.

    Attributes:
        topology: Of the network.
        visit: Of the pass.
        past: What earlier frames left, and what these will leave; None for a window.
        frames: How many there are; tokens after them are ahead.
    """

    topology: SpikingOad
    visit: Visit
    past: Past | None
    frames: int

    def fire(self, name: str, neuron: nn.Module, current: Tensor) -> Tensor:
        """Return the neuron's answer to ``current`` ``[1 or T, N, L, E]``, ``[T, N, L, E]``."""
        if self.past is None or not isinstance(neuron, ByFrame):
            return self.visit.fire(neuron, current)
        memory = self.past.membranes.setdefault(name, Memory())
        answer: Tensor = neuron(current, memory, self.frames)
        return answer

    def with_earlier(self, name: str, signal: Tensor, count: int, *, blank: bool) -> Tensor:
        """Return the frames of ``signal`` after the ``count`` before them, ``[T, N, L', E]``.

        Before the first of a window there are none: zeros, if ``blank``, or nothing at all,
        which means the same to attention without a softmax.
        """
        if self.past is None:
            return pad(signal, (0, 0, count, 0)) if blank else signal
        steps, samples, _, width = signal.shape
        earlier = self.past.kept.get(name)
        if earlier is None:
            earlier = signal.new_zeros(steps, samples, count, width)
        both = torch.cat([earlier, signal], dim=2)
        self.past.kept[name] = both[:, :, both.shape[2] - count :]
        return both

    def with_ahead(self, current: Tensor, queries: Tensor) -> Tensor:
        """Return ``current`` with a token for each frame ahead: the newest, and its query."""
        if not len(queries):
            return current
        newest = current[:, :, self.frames - 1 : self.frames]
        return torch.cat([current, newest + queries], dim=2)


def _by_frame(activation: Activation) -> Activation:
    return lambda: ByFrame(activation())


def hidden(topology: SpikingOad, frames: int, seen: int, ahead: int, /) -> Tensor:
    """Return what each token must not see, bool ``[frames + ahead, seen]``.

    Of the ``seen`` frames the last ``frames`` are the tokens themselves. A token sees frames
    ``r`` before it, ``0 <= r < near``, and ``r = near - 1 + stride i`` for ``i = 1 ... far``.
    One ahead sees what the newest frame does.
    """
    place = torch.arange(frames).clamp(max=frames - 1)
    place = torch.cat([place, place[-1:].expand(ahead)]) + seen - frames
    back = place[:, None] - torch.arange(seen)
    beyond = back - (topology.near - 1)
    near = (back >= 0) & (beyond <= 0)
    far = (beyond > 0) & (beyond % topology.stride == 0)
    return ~(near | (far & (beyond <= topology.far * topology.stride)))
