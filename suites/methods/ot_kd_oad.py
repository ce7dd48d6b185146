"""Move what a student makes of frames onto what the teacher does, by the cheapest transport."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.losses.projection import as_tokens, stages_in_common, summed, token_projectors
from harness.training.losses.transport import rising, squared_distances, transport_cost

CARD = MethodCard(
    title="Optimal transport between tokens of frames, beside the logits: action detection",
    citation=(
        "KDSNN for online action detection and anticipation. IEEE Transactions on Industrial "
        "Informatics, 2025, doi 10.1109/TII.2025.3641291"
    ),
    loss="reconstructed",
    weight="transport_weight",
    reconstructed=(
        "all but the two ideas of the abstract: transport of features, and logits",
        "ground cost, its time term, regularisation and iterations of the transport",
        "taps and projectors",
        "weights, temperature and ramp",
    ),
    signals=("features", "logits"),
    extras=("a linear layer and a norm a stage",),
    needs=("frames",),
)


@dataclass(frozen=True, kw_only=True)
class OtKdOad:
    """``L_task + alpha temperature^2 KL(teacher || student) + beta sum_stages W_eps``.

    Tokens are clouds of points, ``x_i`` the student's rates through a linear layer and a norm,
    ``y_j`` the teacher's features of width ``d``, all of the same mass:

    ``W_eps = <P, C>``, ``C_ij = |x_i - y_j|^2 / d + rho (t_i - t_j)^2``

    with ``P`` the plan that Sinkhorn's iteration finds at ``eps = smoothing * mean(C)``. The
    time term, ``t`` in seconds, is of stages where both have a token a frame: alone the
    transport does not know in which order tokens come. Where they have not, as of a long memory
    that is read in groups, there is none.

    Attributes:
        temperature: Softening of both distributions.
        logit_weight: ``alpha``.
        transport_weight: ``beta``, at the end of its ramp.
        ramp: The fraction of the training over which ``beta`` rises from 0.
        smoothing: Of the plan, in units of the mean cost.
        iterations: Of Sinkhorn.
        time_weight: ``rho``, by square second.
        rate_hz: Tokens a second.
    """

    temperature: PositiveFloat = 4.0
    logit_weight: NonNegativeFloat = 1.0
    transport_weight: NonNegativeFloat = 0.1
    ramp: Fraction = 0.2  # 5 of 25 epochs
    smoothing: PositiveFloat = 0.05
    iterations: PositiveInt = 50
    time_weight: NonNegativeFloat = 0.01
    rate_hz: PositiveFloat = 4.0

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
            from_features = summed(self._costs(projectors, output, answer, stages))
            mean = output.logits.mean(0)
            from_logits = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
            return (
                answer.task.supervised(mean, labels)
                + self.logit_weight * from_logits
                + answer.now(weights) * from_features
            )

        return descend(
            student, lesson, loss, also_train=[projectors], taps=stages, teacher_taps=stages
        )

    def transport_weights(self, steps: int) -> Iterator[float]:
        """Return ``beta`` for each step."""
        return rising(self.transport_weight, ramp=self.ramp, steps=steps)

    def transport(
        self,
        tokens: Tensor,  # [N, n, d]: the student's, projected
        features: Tensor,  # [N, m, d]
    ) -> Tensor:
        """Return ``W_eps``, averaged over samples."""
        costs = squared_distances(tokens, features)
        if tokens.shape[1] == features.shape[1]:
            seconds = torch.arange(tokens.shape[1], device=tokens.device) / self.rate_hz
            apart = (seconds[:, None] - seconds).square()  # [n, n]
            costs = costs + self.time_weight * apart
        return transport_cost(costs, smoothing=self.smoothing, iterations=self.iterations).mean()

    def _costs(
        self, projectors: nn.ModuleDict, output: Output, answer: Answer, stages: Sequence[str]
    ) -> list[Tensor]:
        return [
            self.transport(
                projectors[name](as_tokens(widened(output.taps[name]).mean(0))),
                as_tokens(answer.taps[name]),
            )
            for name in stages
        ]


METHOD: Method = OtKdOad()
