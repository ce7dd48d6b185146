"""What networks of tokens share: which places hold one, and signals ``[T, N, L, D]``.

A stimulus is int64 ``[N, L]``, padded. A tap of places is zero where there is no token, so
that whoever compares taps sees what to leave out.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnsupportedError
from suites.models._signal import Socket, Visit, hold

_STD = 0.02  # of BERT's weights at the start


class TokenNetwork(nn.Module):
    """A network that reads tokens: its taps, its table of embeddings, its classifier.

    Attributes:
        tap_channels: ``D`` of every tap: ``embedding``, ``stage1`` for the first block to the
            last, each ``[T, N, D, L, 1]``, and ``penultimate``, ``[T, N, D]``.
        pad: The token that is none.
    """

    classifier: nn.Linear

    def __init__(self, *, width: int, blocks: int, pad: int) -> None:
        """Name the taps."""
        super().__init__()
        names = ("embedding", *(f"stage{number}" for number in range(1, blocks + 1)), "penultimate")
        self.tap_channels: Mapping[str, int] = dict.fromkeys(names, width)
        self.pad = pad

    def redraw(self) -> None:
        """Draw the linear layers anew, as BERT does: normal, without bias."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def embedding_table(self) -> Tensor:
        """The vectors of all tokens, ``[V, D]``."""
        raise NotImplementedError

    def visit(self, tokens: Tensor, timesteps: int, taps: Sequence[str]) -> Visit:
        """Begin a forward pass.

        Raises:
            SpecError: If there is no such tap, or ``tokens`` are none.
        """
        if tokens.dim() != 2 or tokens.is_floating_point():
            raise SpecError(
                f"the stimulus is {tokens.dtype} {list(tokens.shape)}; this network reads tokens, "
                "int64 [N, L]"
            )
        socket = Socket(
            shape=(1, 1, tokens.shape[1]), channels=self.tap_channels, membranes=frozenset()
        )
        return socket.visit(timesteps, taps)

    def tail(self, name: str, signal: Tensor, /) -> Tensor:
        """Return the logits ``[T, N, K]`` that follow from ``signal`` as the tap ``name``.

        Raises:
            UnsupportedError: If ``name`` is another tap: it does not tell what is padding.
        """
        if name != "penultimate":
            raise UnsupportedError(
                f"no way on from {name!r} of a text, which does not tell where padding is; there "
                "is one from: penultimate"
            )
        logits: Tensor = self.classifier(signal)
        return logits

    def absent(self, tokens: Tensor) -> Tensor:
        """Return where ``tokens`` ``[N, L]`` are padding, ``[N, L, 1]``."""
        return (tokens == self.pad).unsqueeze(-1)


def pooled(
    signal: Tensor,  # [T, N, L, D]
    padding: Tensor,  # [N, L, 1]
) -> Tensor:
    """Return the mean over the tokens that are there, ``[T, N, D]``."""
    there = (~padding).sum(1).clamp(min=1)  # [N, 1]
    return signal.masked_fill(padding, 0).sum(2) / there.to(signal.dtype)


def fire(visit: Visit, neurons: nn.Module, current: Tensor) -> Tensor:
    """Return the answer of ``neurons`` to ``current`` ``[1 or T, N, L, D]``, ``[T, N, L, D]``."""
    # Flat, since a signal of four dimensions would be taken for images.
    spikes = visit.fire(neurons, current.flatten(2))
    return spikes.view(*spikes.shape[:2], *current.shape[2:])


def keep(visit: Visit, name: str, signal: Tensor, padding: Tensor) -> None:
    """Keep ``signal`` ``[1 or T, N, L, D]`` as ``[T, N, D, L, 1]``, if it was asked for."""
    if name in visit.wanted:
        held = hold(signal.masked_fill(padding, 0).flatten(2), visit.timesteps)
        places = held.view(*held.shape[:2], *signal.shape[2:])
        visit.taken[name] = places.transpose(2, 3).unsqueeze(-1)


def no_spikes(activation: nn.Module, name: str) -> None:
    """Refuse to build ``name`` of neurons.

    Raises:
        UnsupportedError: If ``activation`` is not ReLU.
    """
    if not isinstance(activation, nn.ReLU):
        raise UnsupportedError(
            f"{name} teaches and is not simulated: its softmax and GELU have no spikes; students "
            "of tokens are spikformer_text and spikformer_text_tiny"
        )


def split_heads(
    signal: Tensor,  # [T, N, L, D]
    heads: int,
) -> Tensor:
    """Return ``[T, N, heads, L, D / heads]``."""
    *outer, width = signal.shape
    return signal.view(*outer, heads, width // heads).transpose(2, 3)


def join_heads(signal: Tensor) -> Tensor:
    """Undo ``split_heads``."""
    return signal.transpose(2, 3).flatten(3)


def far_below(scores: Tensor) -> float:
    """Return what a softmax makes zero of, and is finite."""
    return torch.finfo(scores.dtype).min
