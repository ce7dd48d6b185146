"""Tokens of frames as taps: a map of one column, so that what reads maps reads them too."""

from torch import Tensor


def as_map(
    tokens: Tensor,  # [T, N, L, E]
) -> Tensor:
    """Return ``[T, N, E, L, 1]``."""
    return tokens.transpose(2, 3).unsqueeze(-1)


def tokens_of(
    taps: Tensor,  # [T, N, E, L, 1]
) -> Tensor:
    """Return ``[T, N, L, E]``."""
    return taps.squeeze(-1).transpose(2, 3)
