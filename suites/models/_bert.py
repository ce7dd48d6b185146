"""BERT, an artificial network of tokens that teaches.

Parameters are called as in published checkpoints, so that those can be loaded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn.functional import gelu

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Classes, Tokens
from harness.contracts.model import Output
from suites.models._signal import Activation
from suites.models._text import (
    TokenNetwork,
    far_below,
    join_heads,
    keep,
    no_spikes,
    pooled,
    split_heads,
)

_EPS = 1e-12  # of every norm, as BERT has it


@dataclass(frozen=True, kw_only=True)
class Bert:
    """Transformer blocks with the norm after each sum.

    Devlin et al., NAACL 2019; Vaswani et al., NeurIPS 2017. With ``x`` ``[N, L, D]``

    ``x <- LN(x + W_o softmax(Q K^T / sqrt(d)) V)``, ``x <- LN(x + W_2 gelu(W_1 x))``

    over the sum of the embeddings of token, place and segment (always the first). Padding is
    no key. The classifier reads the mean over the tokens; nothing drops out.

    Attributes:
        blocks: How many.
        width: ``D``.
        heads: Of the attention; they divide ``width``.
        hidden: Of the perceptron.
        places: The longest sentence.
    """

    blocks: int
    width: int
    heads: int
    hidden: int
    places: int = 512

    takes: ClassVar = Tokens

    def build(self, activation: Activation, /, *, input: Tokens, output: Classes) -> nn.Module:
        """Return the network; ``activation`` has no slot in it, and has to be ReLU."""
        no_spikes(activation(), "a BERT")
        return _Network(self, input=input, classes=output.classes)


class _Embeddings(nn.Module):
    def __init__(self, topology: Bert, vocabulary: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, topology.width)
        self.position_embeddings = nn.Embedding(topology.places, topology.width)
        self.token_type_embeddings = nn.Embedding(2, topology.width)
        self.LayerNorm = nn.LayerNorm(topology.width, eps=_EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        if length > (most := self.position_embeddings.num_embeddings):
            raise SpecError(f"sentences of {length} tokens; this network has places for {most}")
        constant = self.position_embeddings.weight[:length] + self.token_type_embeddings.weight[0]
        embedded: Tensor = self.LayerNorm(self.word_embeddings(tokens) + constant)
        return embedded


class _Places:
    """Where a batch has tokens. Packed, what treats each alone is not given the padding.

    Half of a batch of sentences is padding, on which a processor would spend half of its time.
    A GPU is given all, for the graph of a training step holds no shape that depends on values.
    """

    def __init__(
        self,
        padding: Tensor,  # bool [N, L, 1]
        *,
        packed: bool,
    ) -> None:
        self.padding = padding
        packed = packed and not padding.is_cuda
        self._there = (~padding).flatten().nonzero().squeeze(1) if packed else None

    def tokens(self, signal: Tensor) -> Tensor:
        """Return of ``signal`` ``[1, N, L, D]`` what is there, ``[tokens, D]``, or all as it is."""
        if self._there is None:
            return signal
        return signal.flatten(0, 2).index_select(0, self._there)

    def sentences(self, signal: Tensor) -> Tensor:
        """Undo ``tokens``; padding is zero."""
        if self._there is None:
            return signal
        whole = signal.new_zeros(self.padding.numel(), signal.shape[-1])
        spread = whole.index_copy(0, self._there, signal)
        return spread.view(1, *self.padding.shape[:2], signal.shape[-1])


class _Self(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.heads = heads

    def forward(self, signal: Tensor, places: _Places) -> Tensor:
        query, key, value = (
            split_heads(places.sentences(layer(signal)), self.heads)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # [1, N, heads, L, L]
        keys = places.padding.squeeze(-1)[:, None, None, :]
        shares = scores.masked_fill(keys, far_below(scores)).softmax(-1)
        return places.tokens(join_heads(shares @ value))


class _Output(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, value: Tensor, shortcut: Tensor) -> Tensor:
        summed: Tensor = self.LayerNorm(self.dense(value) + shortcut)
        return summed


class _Block(nn.Module):
    def __init__(self, topology: Bert) -> None:
        super().__init__()
        width = topology.width
        attended = {"self": _Self(width, topology.heads), "output": _Output(width, width)}
        self.attention = nn.ModuleDict(attended)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, topology.hidden)})
        self.output = _Output(topology.hidden, width)

    def forward(self, signal: Tensor, places: _Places) -> Tensor:
        mixed = self.attention["self"](signal, places)
        signal = self.attention["output"](mixed, signal)
        answer: Tensor = self.output(gelu(self.intermediate["dense"](signal)), signal)
        return answer


class _Network(TokenNetwork):
    """A realisation of the topology.

    Attributes:
        packs: Whether what treats each token alone is not given the padding. The answers are
            the same, and a meter cannot tell samples apart; in training it is so anyway.
    """

    packs = False

    def __init__(self, topology: Bert, *, input: Tokens, classes: int) -> None:
        super().__init__(width=topology.width, blocks=topology.blocks, pad=input.pad)
        self.topology = topology
        self.embeddings = _Embeddings(topology, input.vocabulary)
        blocks = nn.ModuleList(_Block(topology) for _ in range(topology.blocks))
        self.encoder = nn.ModuleDict({"layer": blocks})
        self.classifier = nn.Linear(topology.width, classes)
        self.redraw()

    def redraw(self) -> None:
        """Draw the linear layers and the embeddings anew."""
        super().redraw()
        for module in self.embeddings.children():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    @property
    def embedding_table(self) -> Tensor:
        """The vectors of all tokens, ``[V, D]``."""
        return self.embeddings.word_embeddings.weight

    def unlike(self, config: Mapping[str, Any], /) -> str:
        """Return in what a checkpoint's ``config.json`` is not this network; empty if in nothing.

        Only what shapes do not tell is looked at.
        """
        ours = {
            "model_type": "bert",
            "hidden_act": "gelu",
            "layer_norm_eps": _EPS,
            "num_attention_heads": self.topology.heads,
            "position_embedding_type": "absolute",
            "pad_token_id": self.pad,
        }
        usual = {"position_embedding_type": "absolute", "pad_token_id": 0}
        theirs = usual | dict(config)
        return "; ".join(
            f"{name} is {theirs.get(name)!r}, here {value!r}"
            for name, value in ours.items()
            if theirs.get(name) != value
        )

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        visit = self.visit(stimulus, timesteps, taps)
        padding = self.absent(stimulus)
        places = _Places(padding, packed=self.packs or self.training)
        embedded = self.embeddings(stimulus).unsqueeze(0)  # [1, N, L, D]
        keep(visit, "embedding", embedded, padding)
        signal = places.tokens(embedded)
        blocks = cast("nn.ModuleList", self.encoder["layer"])
        for number, block in enumerate(blocks, start=1):
            signal = block(signal, places)
            keep(visit, f"stage{number}", places.sentences(signal), padding)
        feature = pooled(places.sentences(signal), padding)
        visit.keep("penultimate", feature)
        logits: Tensor = self.classifier(feature)
        return Output(logits=logits.expand(timesteps, *logits.shape[1:]), taps=visit.taken)
