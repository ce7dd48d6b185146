"""Move the student's features onto the teacher's by the cheapest transport."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import as_tokens, stages_in_common, summed, token_projectors
from harness.training.losses.transport import rising, squared_distances, transport_cost

CARD = MethodCard(
    title="Image form of an action-detection method: optimal transport beside the logits",
    citation=(
        "KDSNN for online action detection and anticipation. IEEE Transactions on Industrial "
        "Informatics, 2025, doi 10.1109/TII.2025.3641291"
    ),
    loss="reconstructed",
    weight="transport_weight",
    reconstructed=(
        "all but the two ideas of the abstract: transport of features, and logits",
        "ground cost, regularisation and iterations of the transport",
        "taps and projectors",
        "weights, temperature and ramp",
    ),
    signals=("features", "logits"),
    extras=("a linear layer and a norm a stage",),
    departures=(
        (
            "the paper detects and anticipates actions in video, from features of frames, with a "
            "memory-and-anticipation transformer for a teacher and a spiking convolution and "
            "transformer for a student; here images are classified by the suite's networks, and "
            "fields of a map stand in the place of frames. Nothing that it reports compares; "
            "`ot_kd_oad` is its form for videos"
        ),
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class OtKd:
    """``CE + alpha temperature^2 KL(teacher || student) + beta sum_stages W_eps``.

    The abstract has feature distillation by the Wasserstein distance between the teacher's
    continuous and the student's discrete features, and logit distillation. Here a map's
    fields are a cloud of points, ``x_i`` the student's rates through a linear layer and a
    norm, ``y_j`` the teacher's features of width ``d``, all of the same mass:

    ``W_eps = <P, C>``, ``C_ij = |x_i - y_j|^2 / d + rho |p_i - p_j|^2``

    with ``P`` the plan that Sinkhorn's iteration finds at ``eps = smoothing * mean(C)``, and
    ``p`` a field's place as a fraction of the map. Without ``rho`` it does not matter where
    in the map a feature is.

    Attributes:
        temperature: Softening of both distributions.
        logit_weight: ``alpha``.
        transport_weight: ``beta``, at the end of its ramp.
        ramp: The fraction of the training over which ``beta`` rises from 0.
        smoothing: Of the plan, in units of the mean cost.
        iterations: Of Sinkhorn.
        place_weight: ``rho``.
        side: A larger map is averaged down to at most ``side x side`` fields.
    """

    temperature: PositiveFloat = 4.0
    logit_weight: NonNegativeFloat = 1.0
    transport_weight: NonNegativeFloat = 0.1
    ramp: Fraction = 0.2  # 5 of 25 epochs
    smoothing: PositiveFloat = 0.05
    iterations: PositiveInt = 50
    place_weight: NonNegativeFloat = 0.0
    side: PositiveInt = 8

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, with one projector a stage: the last two that both networks have.

        Raises:
            UnsupportedError: If they have none in common.
        """
        stages = stages_in_common(student, lesson.guide)[-2:]
        ours, theirs = student.tap_channels, lesson.guide.tap_channels
        pairs = dict(zip(stages, stages, strict=True))
        projectors = token_projectors(ours, theirs, pairs).to(lesson.device)
        weights = torch.tensor([*self.transport_weights(lesson.steps)], device=lesson.device)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            costs = [
                self.transport(
                    projectors[name], widened(output.taps[name]).mean(0), answer.taps[name]
                )
                for name in stages
            ]
            from_features = answer.now(weights) * summed(costs)
            mean = output.logits.mean(0)
            from_logits = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
            return (
                answer.task.supervised(mean, labels)
                + self.logit_weight * from_logits
                + from_features
            )

        return descend(
            student, lesson, loss, also_train=[projectors], taps=stages, teacher_taps=stages
        )

    def transport_weights(self, steps: int) -> Iterator[float]:
        """Return ``beta`` for each step."""
        return rising(self.transport_weight, ramp=self.ramp, steps=steps)

    def transport(
        self,
        projector: nn.Module,
        rate: Tensor,  # [N, C, H, W]
        feature: Tensor,  # [N, C', H', W']
    ) -> Tensor:
        """Return ``W_eps``, averaged over samples."""
        rate, feature = fields(rate, side=self.side), fields(feature, side=self.side)
        costs = squared_distances(projector(as_tokens(rate)), as_tokens(feature))
        if self.place_weight:
            apart = squared_distances(_places(rate), _places(feature)) * 2  # undo the mean
            costs = costs + self.place_weight * apart
        return transport_cost(costs, smoothing=self.smoothing, iterations=self.iterations).mean()


def fields(
    maps: Tensor,  # [N, C, H, W]
    *,
    side: int,
) -> Tensor:
    """Return averages over equal fields, as few to a side as to make at most ``side``."""
    return avg_pool2d(maps, [-(-size // side) for size in maps.shape[-2:]], ceil_mode=True)


def _places(maps: Tensor) -> Tensor:
    """Return the centres of the fields of ``maps``, as fractions, ``[1, H W, 2]``."""
    axes = [(torch.arange(n, device=maps.device) + 0.5) / n for n in maps.shape[-2:]]
    return torch.cartesian_prod(*axes).unsqueeze(0)


METHOD: Method = OtKd()
