"""Where in an image a layer looks, whatever its width."""

from torch import Tensor
from torch.nn.functional import normalize

from harness.neurons.precision import widened


def attention_map(
    maps: Tensor,  # [..., C, H, W]
) -> Tensor:
    """Return the sum of squares over channels, flattened and of length 1: ``[..., H W]``.

    Activation-based attention (Zagoruyko & Komodakis, ICLR 2017, section 3.1, p = 2). A
    positive factor on ``maps`` leaves it as it is; maps of zeros have an attention of zeros.
    """
    return normalize(widened(maps).square().sum(-3).flatten(-2), dim=-1)
