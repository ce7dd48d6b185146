"""Where a network looks: saliency maps, how alike two are, how far predictions rest on them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Respond = Callable[[Tensor], Tensor]


def input_saliency(
    respond: Respond,
    stimulus: Tensor,  # [N, C, H, W] or [T, N, C, H, W]
    classes: Tensor,  # int64 [N]
) -> Tensor:
    """Return ``|d logit / d stimulus|``, summed over channels and frames, ``[N, H, W]``.

    Args:
        respond: Answers a stimulus with logits ``[N, K]``, each sample by itself: a network
            in evaluation mode. A spiking one answers with its surrogate's gradient.
        stimulus: What it is shown.
        classes: Whose logit.
    """
    with torch.enable_grad():
        shown = stimulus.detach().requires_grad_()
        chosen = respond(shown).gather(-1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, shown)
    return gradient.abs().sum(1 if stimulus.dim() == 4 else (0, 2))


def saliency_agreement(
    first: Tensor,  # [N, H, W]
    second: Tensor,  # [N, H, W]
) -> Tensor:
    """Return Spearman's rank correlation of two saliency maps, ``[N]`` in [-1, 1].

    It ignores the scale of either map. A constant map has no ranks: NaN.
    """
    ranks = [_centred_ranks(saliency.flatten(1)) for saliency in (first, second)]
    lengths = [each.square().sum(-1) for each in ranks]
    return (ranks[0] * ranks[1]).sum(-1) / (lengths[0] * lengths[1]).sqrt()


def saliency_consistency(
    respond: Respond,
    stimulus: Tensor,  # [N, C, H, W] or [T, N, C, H, W]
    saliency: Tensor,  # [N, H, W]
    *,
    fractions: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
) -> Tensor:
    """Return how much of its confidence the network loses with the salient pixels, ``[N]``.

    For each fraction the most salient pixels are set to 0, the mean of a normalised image,
    in all channels and frames; the result is the drop of the probability of the class that
    was predicted with them, averaged over ``fractions``. Larger: the prediction rests on
    what the map shows. (The deletion metric of Petsiuk et al., BMVC 2018, as a drop.)
    """
    with torch.no_grad():
        confidence, predicted = respond(stimulus).softmax(-1).max(-1)
        order = saliency.flatten(1).argsort(dim=-1, descending=True, stable=True)
        place = order.argsort(dim=-1).view(saliency.shape)  # 0 is the most salient
        left = [
            respond(stimulus * _kept(place, fraction)).softmax(-1).gather(-1, predicted[:, None])
            for fraction in fractions
        ]
    return confidence - torch.cat(left, -1).mean(-1)


def _kept(
    place: Tensor,  # [N, H, W]
    fraction: float,
) -> Tensor:
    """Return ``[N, 1, H, W]``: 0 at the pixels that are removed, 1 elsewhere."""
    pixels = place[0].numel()
    return (place >= round(fraction * pixels)).unsqueeze(1)


def _centred_ranks(
    values: Tensor,  # [N, P]
) -> Tensor:
    """Return ranks less their mean; equal values share the mean of their ranks."""
    ordered = values.sort(dim=-1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to).double() / 2 - values.shape[-1] / 2
