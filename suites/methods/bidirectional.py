"""Let the teacher learn from the student while it teaches answers and decoded spikes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid, mse_loss
from torch.optim.lr_scheduler import LambdaLR

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.values import Fraction
from harness.neurons.precision import widened
from harness.training import Lesson, Student, softened_kl
from harness.training.descent import finite, optimiser_of
from harness.training.losses.projection import same_size, stages_in_common

CARD = MethodCard(
    title="Logits and decoded features one way, logits the other way",
    citation=(
        "Liu, Yi. Knowledge distillation between DNN and SNN for intelligent sensing systems on "
        "Loihi chip. ISQED 2023"
    ),
    loss="reconstructed",
    weight="feature_weight",
    reconstructed=(
        "decoder: a leaky mean of spikes and a 1x1 convolution",
        "output spikes are decoded as the network answers: by the mean over time",
        "the middle one of the stages in common",
        "temperature",
        "all weights",
        "rise of the reverse path's weight",
        "the teacher's learning rate",
        "neuron",
    ),
    signals=("logits", "features"),
    teacher_learns=True,
    extras=("decoder of a stage's spikes",),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Bidirectional:
    """Two networks that learn from each other, the artificial one first in every batch.

    With ``D = temperature^2 KL`` and targets without a gradient::

        teacher:  CE(z_A, y) + reverse_weight rise D(z_S || z_A)
        student:  CE(z_S, y) + logit_weight D(z_A || z_S) + feature_weight |decode(s) - h|^2

    ``z_A`` and ``h`` in the student's loss are what the teacher says after its step. The
    square is a mean over elements. ``rise`` goes linearly from 0 to 1.

    Attributes:
        temperature: Softening of both distributions.
        logit_weight: Of the path between output layers.
        feature_weight: Of the path between intermediate layers.
        reverse_weight: Of the path from student to teacher, once it has risen.
        rise: The fraction of the lesson in which it does.
        teacher_pace: The teacher's learning rate, in units of the student's.
    """

    temperature: PositiveFloat = 4.0
    logit_weight: NonNegativeFloat = 1.0
    feature_weight: NonNegativeFloat = 1.0
    reverse_weight: NonNegativeFloat = 0.3
    rise: Fraction = 0.1
    teacher_pace: NonNegativeFloat = 0.1

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both losses; the teacher is left changed, and frozen again."""
        stages = stages_in_common(student, lesson.guide)
        stage = stages[(len(stages) - 1) // 2]
        ours, theirs = student.tap_channels[stage], lesson.guide.tap_channels[stage]
        decoder = Decoder(ours, theirs).to(lesson.device)
        return self._teach_and_learn(student, lesson, decoder, stage)

    def _teach_and_learn(
        self, student: Student, lesson: Lesson, decoder: nn.Module, stage: str
    ) -> Iterator[Progress]:
        guide, recipe = lesson.guide, lesson.recipe
        slower = replace(recipe, learning_rate=self.teacher_pace * recipe.learning_rate)
        ours = optimiser_of(recipe, (student.network, decoder), steps=lesson.steps)
        theirs = optimiser_of(slower, (guide.network,), steps=lesson.steps)
        kept = (student.network, decoder, guide.network, *ours, *theirs)
        with learning(guide.network):
            for batch in lesson.resumable(*kept):
                for module in (student.network, decoder, guide.network):
                    module.train()
                with lesson.autocast():
                    output = student(batch.stimulus, (stage,))
                    own = output.logits.mean(0)
                    risen = min(1.0, lesson.step / max(1.0, self.rise * lesson.steps))
                    theirs_now = widened(guide.network(guide.stimulus(batch.images)).logits[0])
                    reverse = self.teacher_loss(theirs_now, own, batch.labels, risen=risen)
                descend_once(theirs, reverse)
                guide.network.eval()
                with lesson.autocast():
                    now = lesson.answer(batch, (stage,))
                    decoded = decoder(output.taps[stage])
                    hint = feature_error(now.places(decoded), now.places(now.taps[stage]))
                    error = self.student_loss(own, now.logits, hint, batch.labels)
                descend_once(ours, error)
                loss = finite(error.item(), samples=lesson.samples)
                yield Progress(samples=lesson.samples, budget=lesson.budget_samples, loss=loss)

    def teacher_loss(
        self,
        teacher: Tensor,  # [N, K]
        student: Tensor,  # [N, K]
        labels: Tensor,  # [N]
        *,
        risen: float,
    ) -> Tensor:
        """Return the teacher's loss, in nats, with the reverse path's weight so far risen."""
        reverse = softened_kl(teacher, student.detach(), temperature=self.temperature)
        return cross_entropy(teacher, labels) + self.reverse_weight * risen * reverse

    def student_loss(
        self,
        student: Tensor,  # [N, K]
        teacher: Tensor,  # [N, K]
        hint: Tensor,  # []
        labels: Tensor,  # [N]
    ) -> Tensor:
        """Return the student's loss, in nats and units of ``hint``."""
        from_answer = softened_kl(student, teacher, temperature=self.temperature)
        return (
            cross_entropy(student, labels)
            + self.logit_weight * from_answer
            + self.feature_weight * hint
        )


class Decoder(nn.Module):
    """Spikes to real numbers: a leaky mean over time, then a 1x1 convolution with a bias.

    ``u[t] = k u[t - 1] + s[t]``, read at the end as ``u[T] (1 - k) / (1 - k^T)``: a mean
    whose weights fall by ``k`` a step into the past. ``k = sigmoid(leak)`` is learnt, from
    0.9 on; 1 would be the firing rate.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """Start between ``inputs`` channels of spikes and ``outputs`` of the teacher's."""
        super().__init__()
        self.leak = nn.Parameter(torch.logit(torch.tensor(0.9)))
        self.affine = nn.Conv2d(inputs, outputs, 1)

    def forward(
        self,
        spikes: Tensor,  # [T, N, C, H, W]
    ) -> Tensor:
        """Return the decoded feature, ``[N, C', H, W]``."""
        shape = (-1, *[1] * (spikes.dim() - 1))
        decoded: Tensor = self.affine((self.weights(len(spikes)).view(shape) * spikes).sum(0))
        return decoded

    def weights(self, timesteps: int) -> Tensor:
        """Return what each step counts for, ``[T]``; they add up to 1."""
        age = torch.arange(timesteps - 1, -1, -1, device=self.leak.device)
        # The softmax of age ln k is k^age (1 - k) / (1 - k^T), without its 0 / 0 at k = 1.
        return (age * logsigmoid(self.leak)).softmax(0)


def feature_error(
    decoded: Tensor,  # [N, C, H, W]
    feature: Tensor,  # [N, C, H', W']
) -> Tensor:
    """Return the mean squared error at the coarser of both resolutions."""
    decoded, feature = same_size(decoded, feature)
    return mse_loss(widened(decoded), widened(feature))


@contextmanager
def learning(network: nn.Module) -> Iterator[None]:
    """Let a frozen ``network`` be trained; leave it frozen, however this ends."""
    network.requires_grad_(requires_grad=True)
    try:
        yield
    finally:
        network.zero_grad()
        network.eval().requires_grad_(requires_grad=False)


def descend_once(descent: tuple[torch.optim.Optimizer, LambdaLR], error: Tensor) -> None:
    """Take one step against ``error``."""
    optimiser, schedule = descent
    optimiser.zero_grad()
    error.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    optimiser.step()
    schedule.step()


METHOD: Method = Bidirectional()
