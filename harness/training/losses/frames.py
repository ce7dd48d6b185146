"""What teaches answers for several frames: each has the classes it shows, or none that counts."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import log_softmax

from harness.contracts.errors import SpecError
from harness.training.losses.divergence import softened_kl


@dataclass(frozen=True)
class FrameLosses:
    """Multi-label cross-entropy over the frames that are known, and softened divergence.

    Attributes:
        ahead: How many of the last frames are yet to come,
        ahead_weight: and what their loss weighs beside that of the frames that are seen.
    """

    ahead: int = 8
    ahead_weight: float = 0.5

    def supervised(
        self,
        decided: Tensor,  # [N, L, K]
        target: Tensor,  # int64 [N, L, M]: classes, -1 for none
        /,
    ) -> Tensor:
        """Return ``MCE(seen) + ahead_weight MCE(ahead)``, in nats.

        ``MCE = mean over known frames of -sum_c y_c log softmax(z)_c`` (MAT, ICCV 2023); a
        frame is known if it has a class. Of no known frame it is 0.

        Raises:
            SpecError: If other frames are answered than are labelled.
        """
        if (answered := decided.shape[1]) != (labelled := target.shape[1]):
            raise SpecError(
                f"the network answers {answered} frames of a window, and the data set labels "
                f"{labelled}; take a network of the same work memory and as many frames ahead"
            )
        seen = decided.shape[1] - self.ahead
        loss = known_entropy(decided[:, :seen], target[:, :seen])
        if not self.ahead:
            return loss
        return loss + self.ahead_weight * known_entropy(decided[:, seen:], target[:, seen:])

    def divergence(
        self,
        decided: Tensor,  # [N, L, K]
        answer: Tensor,  # [N, L, K]
        /,
        *,
        temperature: float,
    ) -> Tensor:
        """Return ``softened_kl``, averaged over all frames: a teacher answers unknown ones, too."""
        return softened_kl(decided.flatten(0, 1), answer.flatten(0, 1), temperature=temperature)


def known_entropy(
    decided: Tensor,  # [N, L, K]
    target: Tensor,  # int64 [N, L, M]: classes, -1 for none
    /,
) -> Tensor:
    """Return the multi-label cross-entropy, averaged over frames that have a class."""
    shown = target >= 0
    told = log_softmax(decided, dim=-1).gather(-1, target.clamp(min=0))
    # As sums and not by a mask: what is chosen by values has no shape that a graph can keep.
    known = shown.any(-1).sum().clamp(min=1)
    return -(told * shown).sum() / known
