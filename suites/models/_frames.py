"""What networks of frames share: their windows, and tokens as taps.

A tap is a map of one column, so that what reads maps reads it too.
"""

from torch import Tensor

from harness.contracts.errors import SpecError
from harness.contracts.inputs import Features


def check_windows(stimulus: Tensor, features: Features) -> None:
    """Refuse what is not ``[N, L, D]`` of the length and width that a network was built for.

    Raises:
        SpecError: Says both shapes.
    """
    expected = (features.length, features.width)
    if stimulus.dim() != 3 or tuple(stimulus.shape[1:]) != expected:
        raise SpecError(
            f"the stimulus is {list(stimulus.shape)}; this network was built for "
            f"[N, {expected[0]}, {expected[1]}]"
        )


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
