"""Classifiers that a network gets for as long as it learns."""

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class WeakClassifier(nn.Linear):
    """Reads averaged maps."""

    def forward(
        self,
        maps: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Return logits ``[N, K]``."""
        # avg_pool2d: the gradients of a mean and of the adaptive pool are slow or vary on a GPU.
        averages = avg_pool2d(maps, list(maps.shape[-2:])).flatten(1)
        return super().forward(averages)
