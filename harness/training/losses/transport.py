"""Entropic optimal transport between the clouds of points of two batches.

Not POT's ``ot.batch``: of it only the loop of ``plan`` would serve, which is six lines
here. It asks after every iteration whether it has converged, so a GPU waits; its
distances are taken in bfloat16 under autocast; and it has to be compiled.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.neurons.precision import widened


def squared_distances(
    ours: Tensor,  # [N, n, D]
    theirs: Tensor,  # [N, m, D]
) -> Tensor:
    """Return ``|x_i - y_j|^2 / D``, ``[N, n, m]``, at least float32 inside autocast too."""
    ours, theirs = widened(ours), widened(theirs)
    with torch.autocast(ours.device.type, enabled=False):
        inner = ours @ theirs.mT
    squares = ours.square().sum(-1).unsqueeze(2) + theirs.square().sum(-1).unsqueeze(1)
    return (squares - 2 * inner).clamp(min=0) / ours.shape[-1]


def plan(
    costs: Tensor,  # [N, n, m]
    *,
    smoothing: float,
    iterations: int,
) -> Tensor:
    """Return how much mass goes from where to where, ``[N, n, m]``, without a gradient.

    Sinkhorn's iteration (Cuturi, NeurIPS 2013) on logarithms, so that no mass underflows:
    ``argmin_P <P, C> - eps H(P)`` where rows sum to ``1/n`` and columns to ``1/m``, with
    ``eps = smoothing * mean(C)`` for each cloud by itself.
    """
    costs = costs.detach()
    _, rows, columns = costs.shape
    kernel = -costs / (smoothing * costs.mean((1, 2), keepdim=True)).clamp(min=1e-12)
    to_column = costs.new_zeros(()).expand(len(costs), 1, columns)
    for _ in range(iterations):
        of_row = -math.log(rows) - torch.logsumexp(kernel + to_column, 2, keepdim=True)
        to_column = -math.log(columns) - torch.logsumexp(kernel + of_row, 1, keepdim=True)
    return (kernel + of_row + to_column).exp()


def transport_cost(
    costs: Tensor,  # [N, n, m]
    *,
    smoothing: float,
    iterations: int,
) -> Tensor:
    """Return ``<P, C>`` of each cloud, ``[N]``; the plan counts as constant in the gradient."""
    return (plan(costs, smoothing=smoothing, iterations=iterations) * costs).sum((1, 2))


def rising(weight: float, *, ramp: float, steps: int) -> Iterator[float]:
    """Yield ``weight`` for each step, after a linear rise over the share ``ramp`` of them."""
    whole = max(1, round(ramp * steps))
    for step in range(steps):
        yield weight * min(1.0, (step + 1) / whole)
