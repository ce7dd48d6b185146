"""Labels as numbers."""

import torch
from torch import Tensor


def is_label(
    labels: Tensor,  # int64 [N]
    classes: int,
) -> Tensor:
    """Return whether a class is the label, bool ``[N, K]``.

    As torch's ``one_hot``, which looks at the values first: no CUDA graph holds that.
    """
    return labels.unsqueeze(1) == torch.arange(classes, device=labels.device)
