"""Learn from oneself: from a longer simulation, and early stages from the answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend, softened_kl
from harness.training.classifier import WeakClassifier

CARD = MethodCard(
    title="Self-distillation from more timesteps and into an early classifier",
    citation=(
        "Zuo, Ding, Jing, Yang, Yu. Self-distillation learning based on temporal-spatial "
        "consistency for spiking neural networks. arXiv 2406.07862, 2024"
    ),
    loss="reconstructed",
    weight="alpha",
    track="self",
    reconstructed=(
        (
            "form of both divergences; that the answer guides the weak classifier step by step "
            "says a review of another paper, paperhub.cn/paper/ZvkyeUrpsA"
        ),
        "temperature",
        "weights",
        "how much longer the longer simulation is",
        "weak classifier on pooled rates of the stage before the last",
    ),
    claims=(
        Claim(
            accuracy=0.729,
            dataset="cifar10_dvs",
            architecture="VGG-9",
            timesteps=5,
            where="as quoted in table 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.8669,
            dataset="dvs_gesture",
            architecture="VGG-9",
            timesteps=5,
            where="as quoted in table 9 of Strong2Weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
    ),
    signals=("own logits",),
    uses_teacher=False,
    extras=("weak classifier at an early stage",),
    departures=("neuron and reset are the suite's, not a rectangle and a soft reset",),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Tssd:
    """``CE(z, y) + alpha D(longer || z) + beta mean_t D(z_t || weak_t)``.

    ``D`` is ``temperature^2 KL``, ``z_t`` what the student says in one of its own ``T`` steps
    and ``z`` their mean, ``longer`` the mean over ``stretch T`` steps of the same simulation,
    and ``weak_t`` what a linear classifier reads from an early stage's spikes of step ``t``.
    The left side of each divergence is a target, without a gradient. The network is causal:
    what it says in its first ``T`` steps does not depend on the others. But batch norms see
    all of them while it learns, so the statistics that stay are those of the longer
    simulation. At ``T = 1`` this costs: where potentials build up, the first step's currents
    are the weakest, and fewer neurons fire in it.

    Attributes:
        stretch: How many times longer the longer simulation is.
        temperature: Softening of all distributions.
        alpha: Weight of the longer simulation.
        beta: Weight of the weak classifier.
        by_step: Whether it is guided step by step, or by means over the steps.
    """

    stretch: PositiveInt = 2
    temperature: PositiveFloat = 2.0
    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 1.0
    by_step: bool = True

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the three terms, simulating longer than the student will be.

        Raises:
            UnsupportedError: If a stimulus has no more steps than the student's, or the
                network nothing between its first neurons and its last stage.
        """
        stage = early_stage(student)
        weak = WeakClassifier(student.tap_channels[stage], student.classes).to(lesson.device)
        longer = replace(student, timesteps=self.stretch * student.timesteps)

        def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
            if stimulus.dim() == 5:
                raise UnsupportedError(
                    f"learning from a longer simulation takes {longer.timesteps} steps, and "
                    f"this stimulus is a train of {len(stimulus)}"
                )
            return longer(stimulus, taps)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            early = answer.spread(output.taps[stage][: student.timesteps])
            said = weak(early.flatten(0, 1)).unflatten(0, early.shape[:2])
            return self.loss(output.logits, widened(said), labels)

        return descend(student, lesson, loss, also_train=[weak], taps=[stage], forward=forward)

    def loss(
        self,
        logits: Tensor,  # [stretch T, N, K]
        weak: Tensor,  # [T, N, K]
        labels: Tensor,  # [N]
    ) -> Tensor:
        """Return the weighted sum of the three terms, in nats."""
        steps = logits[: len(weak)]
        longer, own = logits.mean(0).detach(), steps.mean(0)
        # A mean of logits is a step like any other: the classifier is linear.
        guided, guiding = (
            (each if self.by_step else each.mean(0, keepdim=True)).flatten(0, 1)
            for each in (weak, steps.detach())
        )
        return (
            cross_entropy(own, labels)
            + self.alpha * softened_kl(own, longer, temperature=self.temperature)
            + self.beta * softened_kl(guided, guiding, temperature=self.temperature)
        )


def early_stage(student: Student) -> str:
    """Return the name of the tap before the last stage's.

    Raises:
        UnsupportedError: If there is none that neurons made.
    """
    maps = [name for name in student.tap_channels if name not in {"embedding", "penultimate"}]
    if len(maps) < 2:
        raise UnsupportedError(
            "a weak classifier needs a tap of spikes before the last stage: none here"
        )
    return maps[-2]


METHOD: Method = Tssd()
