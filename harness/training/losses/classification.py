"""What teaches one class a sample: the losses that methods ask of their lesson."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.training.losses.divergence import softened_kl


@dataclass(frozen=True)
class ClassLosses:
    """Cross-entropy with the label and the softened divergence from a teacher, in nats."""

    def supervised(
        self,
        decided: Tensor,  # [N, K]
        target: Tensor,  # int64 [N]
        /,
    ) -> Tensor:
        """Return the cross-entropy, averaged over samples."""
        return cross_entropy(decided, target)

    def divergence(
        self,
        decided: Tensor,  # [N, K]
        answer: Tensor,  # [N, K]
        /,
        *,
        temperature: float,
    ) -> Tensor:
        """Return ``softened_kl``."""
        return softened_kl(decided, answer, temperature=temperature)
