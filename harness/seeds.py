"""One seed, named streams: no global generator anywhere.

Drawing more numbers from one stream leaves the others as they were, so a method that
needs extra noise changes neither the order of the data nor its augmentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.contracts.errors import SpecError

if TYPE_CHECKING:
    import torch

# One 32-bit word of entropy. A larger seed would spill into the words of the purpose:
# (5 + 97 * 2**32, "b") and (5, "ab") would be the same stream.
_SEEDS = 2**32


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the generator for one purpose, such as ``"weights"`` or ``"order/3"``.

    Raises:
        SpecError: If ``seed`` is not in [0, 2**32), or ``purpose`` is empty or holds a NUL.
    """
    if not 0 <= seed < _SEEDS:
        raise SpecError(f"a seed must be in [0, 2**32), got {seed!r}")
    if not purpose or "\0" in purpose:  # NumPy pads entropy with zeros: "a\0" would be "a"
        raise SpecError(f"a stream needs a name without NUL, got {purpose!r}")
    return np.random.default_rng([seed, *purpose.encode()])


def torch_seed(seed: int, purpose: str) -> int:
    """Return the seed of ``torch_stream``, in [0, 2**63)."""
    return int(stream(seed, purpose).integers(2**63))


def torch_stream(seed: int, purpose: str) -> torch.Generator:
    """Return torch's generator for one purpose."""
    import torch  # the command line lists and plans without it

    return torch.Generator().manual_seed(torch_seed(seed, purpose))
