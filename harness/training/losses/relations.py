"""How the samples of a batch stand to each other: similarities, distances, angles.

All of it is float32 at least, inside autocast too: features that are never negative
have cosines close to 1, which bfloat16 does not tell apart.
"""

import torch
from torch import Tensor

from harness.neurons.precision import widened

SILENCE = 1e-6  # a length below this is rounding: a rate that is not 0 is at least 1 / (T H W)


def directions(
    vectors: Tensor,  # [..., D]
) -> Tensor:
    """Return the vectors at length 1; a silent one becomes 0 and gets no gradient."""
    vectors = widened(vectors)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    # By infinity, not by a small number: that would make the gradient of silence huge.
    return vectors / length.where(length > SILENCE, torch.inf)


def centred(
    vectors: Tensor,  # [N, D]
) -> Tensor:
    """Return the vectors as seen from their mean."""
    vectors = widened(vectors)
    return vectors - vectors.mean(0)


def inner_products(
    vectors: Tensor,  # [N, D] or [J, N, D]
) -> Tensor:
    """Return those of all pairs, ``[N, N]`` or ``[J, N, N]``."""
    vectors = widened(vectors)
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors @ vectors.mT


def similarities(
    vectors: Tensor,  # [N, D]
) -> Tensor:
    """Return the cosines of all pairs, ``[N, N]``."""
    return inner_products(directions(vectors))


def relative_distances(
    vectors: Tensor,  # [N, D]
) -> Tensor:
    """Return the distances of all pairs over the mean of those that are not 0, ``[N, N]``.

    The potential ``psi_D`` of Park et al., CVPR 2019, eq. 6 and 7.
    """
    vectors = widened(vectors)
    with torch.autocast(vectors.device.type, enabled=False):
        # Without matrix products: by those a vector is not at 0 from itself.
        apart = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    mean = apart.sum() / (apart > 0).sum().clamp(min=1)
    return apart / mean.where(mean > SILENCE, torch.inf)


def angles(
    vectors: Tensor,  # [N, D]
) -> Tensor:
    """Return the cosine at ``j`` between ``i`` and ``k``, ``[N_j, N_i, N_k]``.

    The potential ``psi_A`` of Park et al., CVPR 2019, eq. 10. Where two of the three
    coincide it is 0.
    """
    vectors = widened(vectors)
    return inner_products(directions(vectors.unsqueeze(0) - vectors.unsqueeze(1)))
