"""Losses of every step by itself: means over steps, not losses of a mean."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.training.losses.divergence import softened_kl


def stepwise_cross_entropy(
    logits: Tensor,  # [T, N, K]
    labels: Tensor,  # [N]
) -> Tensor:
    """Return the mean over steps of the cross-entropy of each."""
    return cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)))


def stepwise_kl(
    logits: Tensor,  # [T, N, K]
    target: Tensor,  # [N, K]
    *,
    temperature: float,
) -> Tensor:
    """Return the mean over steps of the softened divergence from ``target`` to each."""
    repeated = target.repeat(len(logits), 1)
    return softened_kl(logits.flatten(0, 1), repeated, temperature=temperature)
