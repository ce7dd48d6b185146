"""A Spikformer that reads tokens: attention of spikes, without softmax."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Tokens
from harness.contracts.model import Output
from harness.neurons.heaviside import Heaviside
from suites.models._signal import Activation, Visit, add
from suites.models._text import (
    TokenNetwork,
    fire,
    join_heads,
    keep,
    pooled,
    split_heads,
)


@dataclass(frozen=True, kw_only=True)
class SpikformerText:
    """Blocks of spiking self-attention and a perceptron over the spikes of an embedding.

    Lv et al., Neural Networks 197:108482, 2026: the Spikformer of Zhou et al., ICLR 2023, with
    an embedding of words where that has patches, and linear layers and ``LayerNorm`` where that
    has convolutions and batch norms. ``f`` are neurons, ``H`` is 1 where an embedding is at
    least 0, in every step alike (ReLU in the artificial twin), and ``x`` is ``[T, N, L, D]``:

    ``x_0 = H(E[token])``, ``x <- x + SSA(x)``, ``x <- x + f(LN(W_2 f(LN(W_1 x))))``

    ``SSA(x) = f(LN(W_o f(gain Q K^T V)))``, ``Q, K, V = f(LN(W x))`` each, by head

    and the classifier reads the mean of ``LN(x)`` over the tokens. No token knows its place.
    Their attention counts padding, as does their mean; here nothing does: all spikes are
    taken from it, and the logits do not depend on how much of it there is.

    Attributes:
        blocks: How many.
        width: ``D``.
        heads: Of the attention; they divide ``width``.
        hidden: Of the perceptron.
        gain: Theirs is 0.125 before neurons with a quarter of the threshold.
    """

    blocks: int
    width: int
    heads: int
    hidden: int
    gain: float = 0.5

    takes: ClassVar = Tokens

    def build(self, activation: Activation, /, *, input: Tokens, output: Classes) -> nn.Module:
        """Return the topology with ``activation()`` in every slot."""
        return _Network(self, activation, input=input, classes=output.classes)


class _Layer(nn.Module):
    """A linear layer, its norm and its neurons."""

    def __init__(self, inputs: int, outputs: int, activation: Activation) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs)
        self.activation = activation()

    def forward(self, signal: Tensor, visit: Visit) -> Tensor:
        return fire(visit, self.activation, self.norm(self.linear(signal)))


class _Block(nn.Module):
    """Attention and perceptron, each beside a shortcut."""

    def __init__(self, topology: SpikformerText, activation: Activation) -> None:
        super().__init__()
        width = topology.width
        self.heads, self.gain = topology.heads, topology.gain
        self.query, self.key, self.value, self.out = (
            _Layer(width, width, activation) for _ in range(4)
        )
        self.mixed = activation()
        self.widen = _Layer(width, topology.hidden, activation)
        self.narrow = _Layer(topology.hidden, width, activation)

    def forward(self, signal: Tensor, padding: Tensor, visit: Visit) -> Tensor:
        attended = self.attention(signal, padding, visit).masked_fill(padding, 0)
        signal = add(signal, attended)
        hidden = self.widen(signal, visit).masked_fill(padding, 0)
        return add(signal, self.narrow(hidden, visit).masked_fill(padding, 0))

    def attention(self, signal: Tensor, padding: Tensor, visit: Visit) -> Tensor:
        query, key = (
            split_heads(layer(signal, visit).masked_fill(padding, 0), self.heads)
            for layer in (self.query, self.key)
        )
        # The gain on spikes, which is free: the weight of a synapse takes it.
        value = (self.value(signal, visit) * self.gain).masked_fill(padding, 0)
        scores = query @ key.transpose(-1, -2)  # [T, N, heads, L, L], not normalised
        mixed = join_heads(scores @ split_heads(value, self.heads))
        answer: Tensor = self.out(fire(visit, self.mixed, mixed), visit)
        return answer


def encoder(activation: nn.Module) -> nn.Module:
    """Return what reads the embeddings: no slot, so that no method's neurons stand there."""
    return activation if isinstance(activation, nn.ReLU) else Heaviside()


class _Network(TokenNetwork):
    """A realisation of the topology."""

    style = "sew"

    def __init__(
        self, topology: SpikformerText, activation: Activation, *, input: Tokens, classes: int
    ) -> None:
        super().__init__(width=topology.width, blocks=topology.blocks, pad=input.pad)
        if topology.width % topology.heads:
            raise SpecError(f"{topology.heads} heads do not divide a width of {topology.width}")
        self.embedding = nn.Embedding(input.vocabulary, topology.width)
        self.encode = encoder(activation())
        self.blocks = nn.ModuleList(_Block(topology, activation) for _ in range(topology.blocks))
        self.norm = nn.LayerNorm(topology.width)
        self.classifier = nn.Linear(topology.width, classes)
        self.redraw()

    @property
    def embedding_table(self) -> Tensor:
        """The vectors of all tokens, ``[V, D]``."""
        return self.embedding.weight

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        visit = self.visit(stimulus, timesteps, taps)
        padding = self.absent(stimulus)
        current = self.embedding(stimulus).unsqueeze(0)  # [1, N, L, D]
        keep(visit, "embedding", current, padding)
        signal = fire(visit, self.encode, current).masked_fill(padding, 0)
        for number, block in enumerate(self.blocks, start=1):
            signal = block(signal, padding, visit)
            keep(visit, f"stage{number}", signal, padding)
        feature = pooled(self.norm(signal), padding)
        visit.keep("penultimate", feature)
        return Output(logits=self.classifier(feature), taps=visit.taken)
