"""A reduced MAT: a transformer with a long and a work memory that also answers for what comes.

Wang et al., Memory-and-Anticipation Transformer for Online Action Understanding, ICCV 2023.
Kept are its memories: the long one is read in groups by learned queries and averaged to one
token a group; frames of the work memory and tokens ahead read it, and each other causally.
Left out are the generator of a future, the circular rounds that follow from it, the cut
of attention to its largest three quarters, the mask of what lies before a video (its
features are zeros), and the streams' separate first layers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Features
from harness.contracts.model import Output
from suites.models._frames import as_map, check_windows, tokens_of
from suites.models._signal import Activation, Socket, Visit, add, through

_LEARNED_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class OadTransformer:
    """Two memories, an encoder of the long one, and a causal decoder of the work memory.

    Attributes:
        width: Of a token.
        heads: Of attention.
        inner: Width between the two layers after attention.
        groups: Into which the long memory is cut; each becomes one token.
        queries: That read a group.
        stride: Of the long memory, in frames.
        encoders: Layers over the groups' tokens.
        decoders: Layers over work memory and what is ahead.
        work: Frames of the work memory.
        ahead: Frames after it.
    """

    takes: ClassVar[type[Features]] = Features
    width: int
    heads: int = 4
    inner: int
    groups: int = 8
    queries: int = 16
    stride: int = 4
    encoders: int = 2
    decoders: int = 2
    work: int
    ahead: int = 8

    def build(self, activation: Activation, /, *, input: Features, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot.

        Raises:
            SpecError: If the frames before the work memory are no whole groups.
        """
        before = input.length - self.work
        if before < 1 or before % (self.stride * self.groups):
            raise SpecError(
                f"a window of {input.length} frames has {before} before the work memory of "
                f"{self.work}; they must be a multiple of {self.stride} x {self.groups}"
            )
        return _OadTransformerNetwork(self, activation, input=input, classes=output.classes)


class _Attention(nn.Module):
    """Attention by softmax, written out so that every product is seen."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mixed = nn.Linear(width, width)

    def forward(
        self,
        tokens: Tensor,  # [B, L, D]
        memory: Tensor,  # [B, M, D]
        hidden: Tensor | None = None,  # bool [L, M]
    ) -> Tensor:
        """Return ``[B, L, D]``."""
        query, key, value = (
            self._apart(layer(read))
            for layer, read in ((self.query, tokens), (self.key, memory), (self.value, memory))
        )
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        mixed = scores.softmax(-1) @ value
        joined = mixed.view(len(tokens), self.heads, *mixed.shape[1:]).transpose(1, 2).flatten(2)
        answer: Tensor = self.mixed(joined)
        return answer

    def _apart(self, tokens: Tensor) -> Tensor:
        """Return ``[B, L, D]`` as ``[B H, L, D / H]``."""
        apart = tokens.view(*tokens.shape[:2], self.heads, tokens.shape[2] // self.heads)
        return apart.transpose(1, 2).flatten(0, 1)


class _Layer(nn.Module):
    """Attention within, to a memory if there is one, and two layers; norms come first."""

    def __init__(self, topology: OadTransformer, activation: Activation, *, reads: bool) -> None:
        super().__init__()
        width, heads = topology.width, topology.heads
        self.norm = nn.LayerNorm(width)
        self.within = _Attention(width, heads)
        self.read_norm = nn.LayerNorm(width) if reads else None
        self.read = _Attention(width, heads) if reads else None
        self.last_norm = nn.LayerNorm(width)
        self.wide = nn.Linear(width, topology.inner)
        self.activation = activation()
        self.narrow = nn.Linear(topology.inner, width)

    def forward(
        self,
        tokens: Tensor,  # [1 or T, N, L, D]
        visit: Visit,
        memory: Tensor | None = None,  # [1 or T, N, M, D]
        hidden: Tensor | None = None,  # bool [L, L]
    ) -> Tensor:
        """Return ``[T, N, L, D]``."""
        normed = through(tokens, self.norm)
        tokens = add(tokens, through(normed, lambda flat: self.within(flat, flat, hidden)))
        if self.read is not None and self.read_norm is not None and memory is not None:
            normed = through(tokens, self.read_norm)
            steps = max(normed.shape[0], memory.shape[0])
            normed, memory = (each.expand(steps, *each.shape[1:]) for each in (normed, memory))
            read = self.read(normed.flatten(0, 1), memory.flatten(0, 1))
            tokens = add(tokens, read.view(normed.shape))
        inner = through(
            tokens, self.last_norm, self.wide, visit.firing(self.activation), self.narrow
        )
        return add(tokens, inner)


class _OadTransformerNetwork(nn.Module):
    """A realisation of the topology."""

    def __init__(
        self, topology: OadTransformer, activation: Activation, *, input: Features, classes: int
    ) -> None:
        super().__init__()
        width = topology.width
        self.topology, self.features = topology, input
        self.long = (input.length - topology.work) // topology.stride
        self.head = nn.Sequential(nn.Linear(input.width, width), nn.LayerNorm(width))
        self.head_activation = activation()
        self.head2 = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.head2_activation = activation()
        self.long_place = _learned(self.long, width)
        self.work_place = _learned(topology.work, width)
        self.ahead = _learned(topology.ahead, width)
        self.queries = _learned(topology.queries, width)
        self.group_norm = nn.LayerNorm(width)
        self.grouped = _Attention(width, topology.heads)
        self.encoders = nn.ModuleList(
            _Layer(topology, activation, reads=False) for _ in range(topology.encoders)
        )
        self.decoders = nn.ModuleList(
            _Layer(topology, activation, reads=True) for _ in range(topology.decoders)
        )
        self.memory_norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc = nn.Linear(width, classes)
        self.hidden: Tensor
        tokens = topology.work + topology.ahead
        later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        self.register_buffer("hidden", later, persistent=False)
        self.socket = Socket(
            shape=(1, input.length, input.width),
            channels={"stage1": width, "stage2": width, "penultimate": width},
            membranes=frozenset(),
        )
        self.tap_channels = self.socket.channels

    def redraw(self) -> None:
        """Draw anew what no layer draws."""
        for learned in (self.long_place, self.work_place, self.ahead, self.queries):
            nn.init.normal_(learned, std=_LEARNED_STD)

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        """Answer windows ``[N, L, D]``: logits ``[T, N, work + ahead, K]``.

        Raises:
            SpecError: If the windows are of another shape than those it was built for.
        """
        check_windows(stimulus, self.features)
        visit = self.socket.visit(timesteps, taps)
        work, stride = self.topology.work, self.topology.stride
        # Of each stride the newest frame.
        chosen = torch.cat([stimulus[:, stride - 1 : -work : stride], stimulus[:, -work:]], dim=1)
        tokens = through(
            chosen.unsqueeze(0),
            self.head,
            visit.firing(self.head_activation),
            self.head2,
            visit.firing(self.head2_activation),
        )
        memory = self._remembered(tokens[:, :, : self.long] + self.long_place, visit)
        visit.keep("stage1", as_map(memory))
        answered = self._answered(tokens[:, :, self.long :] + self.work_place, memory, visit)
        visit.keep("stage2", as_map(answered))
        visit.keep("penultimate", answered)
        return Output(logits=through(answered, self.fc), taps=visit.taken)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits that follow from ``signal`` in the place of the tap ``name``.

        Raises:
            SpecError: From ``stage1``, the long memory, which is not all that is read.
        """
        if name not in {"stage2", "penultimate"}:
            raise SpecError(f"no way on from {name!r}; there is one from: stage2, penultimate")
        return through(tokens_of(signal) if name == "stage2" else signal, self.fc)

    def _remembered(self, long: Tensor, visit: Visit) -> Tensor:
        """Return the long memory ``[T, N, L, D]`` as one token a group, ``[T, N, groups, D]``."""
        steps, samples, count, width = long.shape
        groups = self.topology.groups
        apart = long.reshape(steps, samples * groups, count // groups, width)

        def read(flat: Tensor) -> Tensor:
            queries = self.queries.expand(len(flat), *self.queries.shape)
            answer: Tensor = self.grouped(queries, flat)
            return answer.mean(1)

        memory = through(apart, self.group_norm, read).view(steps, samples, groups, width)
        for layer in self.encoders:
            memory = layer(memory, visit)
        return through(memory, self.memory_norm)

    def _answered(self, work: Tensor, memory: Tensor, visit: Visit) -> Tensor:
        """Return what is answered from, ``[T, N, work + ahead, D]``."""
        ahead = self.ahead.expand(*work.shape[:2], *self.ahead.shape)
        tokens = torch.cat([work, ahead], dim=2)
        for layer in self.decoders:
            tokens = layer(tokens, visit, memory, self.hidden)
        return through(tokens, self.last_norm)


def _learned(tokens: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(tokens, width) * _LEARNED_STD)
