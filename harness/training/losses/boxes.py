"""What teaches a tracker: scores and boxes at the points of a grid (Xu et al., AAAI 2020).

An answer is ``[N, P, 6]``: at each of ``P`` points the logit that it shows the target, the
logit of how central it is, and four offsets. The points are a square grid, ``STRIDE_PX`` apart,
around the centre of the search crop, row by row. An offset is the logarithm of the distance to
the left, top, right and bottom edge, in strides. Labels are the target's left, top, right and
bottom, from that centre, in pixels of the crop, ``[N, 4]``; all 0 where there is no target.
"""

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softplus

STRIDE_PX = 8
_ALPHA, _GAMMA = 0.25, 2.0  # of the focal loss (Lin et al., ICCV 2017)
_BOX_WEIGHT = 3.0
_LEAST = 1e-6  # no logarithm of less
_FURTHEST = 20.0  # of an offset: a random network has more, and its boxes no area in float32


def points_px(points: int, like: Tensor) -> Tensor:
    """Return where ``points`` points are, ``x, y`` from the centre, ``[P, 2]``."""
    side = isqrt(points)
    steps = torch.arange(side, device=like.device, dtype=like.dtype)
    along = STRIDE_PX * (steps - (side - 1) / 2)
    return torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1).flatten(0, 1)


def boxes_px(
    answer: Tensor,  # [N, P, 6]
) -> Tensor:
    """Return left, top, right and bottom at every point, ``[N, P, 4]``."""
    where = points_px(answer.shape[1], answer)  # [P, 2]
    distances = STRIDE_PX * answer[..., 2:].clamp(max=_FURTHEST).exp()
    return torch.cat([where - distances[..., :2], where + distances[..., 2:]], dim=-1)


def overlap(
    ours: Tensor,  # [..., 4]: left, top, right, bottom
    theirs: Tensor,  # [..., 4]
) -> Tensor:
    """Return the intersection over union, ``[...]``, in (0, 1]."""
    low = torch.maximum(ours[..., :2], theirs[..., :2])
    high = torch.minimum(ours[..., 2:], theirs[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    whole = _area(ours) + _area(theirs) - shared
    share: Tensor = (shared / whole.clamp(min=_LEAST)).clamp(min=_LEAST)
    return share


def _area(boxes: Tensor) -> Tensor:
    area: Tensor = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return area


def distances_px(
    labels: Tensor,  # [N, 4]
    points: int,
) -> Tensor:
    """Return how far the target's edges are from every point, ``[N, P, 4]``; inside all > 0."""
    where = points_px(points, labels)
    boxes = labels[:, None]
    return torch.cat([where - boxes[..., :2], boxes[..., 2:] - where], dim=-1)


def centreness(distances: Tensor) -> Tensor:
    """Return 1 in the middle of a box and 0 on its edge, ``[..., 4]`` to ``[...]``."""
    across, down = distances[..., 0::2], distances[..., 1::2]
    shares = (
        each.min(-1).values.clamp(min=0) / each.max(-1).values.clamp(min=_LEAST)
        for each in (across, down)
    )
    first, second = shares
    central: Tensor = (first * second).clamp(min=0).sqrt()
    return central


def focal(
    logits: Tensor,  # [N, P]
    positive: Tensor,  # [N, P], 0 or 1
) -> Tensor:
    """Return ``sum alpha_t (1 - p_t)^gamma (-ln p_t)``, a scalar, in nats."""
    probability = logits.sigmoid()
    hit = _ALPHA * positive * (1 - probability) ** _GAMMA * softplus(-logits)
    miss = (1 - _ALPHA) * (1 - positive) * probability**_GAMMA * softplus(logits)
    total: Tensor = (hit + miss).sum()
    return total


def soft_binary(
    logits: Tensor,
    target: Tensor,  # in [0, 1]
) -> Tensor:
    """Return the binary divergence from ``target`` to ``logits``, 0 where they agree."""
    entropy: Tensor = torch.special.entr(target) + torch.special.entr(1 - target)
    crossed: Tensor = binary_cross_entropy_with_logits(logits, target, reduction="none")
    return crossed - entropy


def task_loss(
    answer: Tensor,  # [N, P, 6]
    labels: Tensor,  # [N, 4]
) -> Tensor:
    """Return SiamFC++'s loss, each term a positive point.

    ``focal + BCE(centre-ness) - its entropy + 3 (-ln IoU)``; points inside the box are
    positive, and the last two terms are of them alone.
    """
    labels = labels.to(answer.dtype)
    distances = distances_px(labels, answer.shape[1])
    positive = (distances.min(-1).values > 0).to(answer.dtype)  # [N, P]
    central = positive * soft_binary(answer[..., 1], centreness(distances))
    apart = -positive * overlap(boxes_px(answer), labels[:, None]).log()
    total = focal(answer[..., 0], positive) + central.sum() + _BOX_WEIGHT * apart.sum()
    return total / positive.sum().clamp(min=1)


def response_divergence(
    answer: Tensor,  # [N, P, 6]
    teacher: Tensor,  # [N, P, 6]
    *,
    temperature: float,
) -> Tensor:
    """Return ``t^2`` times the binary divergence of both scores from the teacher's, in nats."""
    target = (teacher[..., :2] / temperature).sigmoid()
    return temperature**2 * soft_binary(answer[..., :2] / temperature, target).sum(-1).mean()


def box_divergence(
    answer: Tensor,  # [N, P, 6]
    teacher: Tensor,  # [N, P, 6]
) -> Tensor:
    """Return ``-ln IoU`` with the teacher's boxes, weighted by how sure it is of each."""
    sure = logsigmoid(teacher[..., :2]).sum(-1).exp()  # [N, P]
    apart = -overlap(boxes_px(answer), boxes_px(teacher)).log()
    return (sure * apart).sum() / sure.sum().clamp(min=_LEAST)


@dataclass(frozen=True)
class BoxLosses:
    """SiamFC++'s loss, and the divergence of scores and boxes from a teacher's."""

    def supervised(
        self,
        decided: Tensor,  # [N, P, 6]
        target: Tensor,  # [N, 4]
        /,
    ) -> Tensor:
        """Return ``task_loss``."""
        return task_loss(decided, target)

    def divergence(
        self,
        decided: Tensor,  # [N, P, 6]
        answer: Tensor,  # [N, P, 6]
        /,
        *,
        temperature: float,
    ) -> Tensor:
        """Return the divergence of scores at ``temperature`` and that of boxes."""
        of_scores = response_divergence(decided, answer, temperature=temperature)
        return of_scores + box_divergence(decided, answer)
