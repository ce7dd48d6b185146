"""Let the most confident step of a batch teach the least confident; no other teacher."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="The most confident timestep teaches the least confident",
    citation=(
        "Ding, Zuo, Jing, Yang, He, Xie. Synergy between the strong and the weak: Spiking neural "
        "networks are inherently self-distillers. NeurIPS 2025, arXiv 2510.07924"
    ),
    loss="reconstructed",
    weight="weight",
    reconstructed=("that the step which teaches gets no gradient: there is no code to ask",),
    track="self",
    signals=("own logits",),
    uses_teacher=False,
    claims=(
        Claim(
            accuracy=0.9662,
            dataset="cifar10",
            architecture="ResNet-19",
            timesteps=4,
            epochs=100,
            where="tables 7 to 9, strong to weak; weak to strong 96.66",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.8183,
            dataset="cifar100",
            architecture="ResNet-19",
            timesteps=4,
            epochs=100,
            where="tables 7 to 9, strong to weak; weak to strong 82.02",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.7825,
            dataset="cifar100",
            architecture="MS-ResNet-18",
            timesteps=4,
            epochs=100,
            where="strong to weak; the plain network has 76.33",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.7053,
            dataset="imagenet",
            architecture="SEW-ResNet-34",
            timesteps=4,
            where="tables 7 to 9, strong to weak",
            url="https://arxiv.org/abs/2510.07924",
        ),
        Claim(
            accuracy=0.7893,
            dataset="cifar10_dvs",
            architecture="VGG-9",
            timesteps=5,
            where="strong to weak, by a third party's notes; weak to strong 79.33, plain 73.97",
            url="https://arxiv.org/abs/2510.07924",
        ),
    ),
    departures=(
        "the ensemble, simultaneous and cascade forms that the paper tries too are not here",
        "setting: the neuron is the suite's; theirs has tau 2 and a rectangular surrogate",
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class Strong2Weak:
    """``CE(mean_t z_t, y) + weight temperature^2 KL(z_strong || z_weak)``, both softened.

    How confident a step is, is the mean over the batch of its largest probability; labels have
    no say in it. ``z_strong`` is the most and ``z_weak`` the least confident step. With one
    step there is nothing to distil.

    Attributes:
        temperature: Softening of both steps.
        weight: Of the divergence; 1 in the paper, 0.01 for its QKFormer.
        taught: Which of the two learns; the other is held. ``strong`` is the paper's
            Weak2Strong.
    """

    temperature: PositiveFloat = 2.0
    weight: NonNegativeFloat = 1.0
    taught: Literal["weak", "strong"] = "weak"

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend both terms.

        Raises:
            UnsupportedError: If there is one step only.
        """
        if student.timesteps == 1:
            raise UnsupportedError(
                "one step is its own strongest and its own weakest, so that nothing is distilled; "
                "at T = 1 this is `direct`"
            )
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of both terms, in nats."""
        logits = output.logits
        confident = confidence(logits)
        # Not logits[confident.argmax()], which waits for a GPU to know the place.
        strong, weak = (
            logits.index_select(0, place.view(1))[0]
            for place in (confident.argmax(), confident.argmin())
        )
        pupil, guide = (weak, strong) if self.taught == "weak" else (strong, weak)
        divergence = answer.task.divergence(pupil, guide.detach(), temperature=self.temperature)
        return answer.task.supervised(logits.mean(0), labels) + self.weight * divergence


def confidence(
    logits: Tensor,  # [T, N, K]
) -> Tensor:
    """Return the mean over samples of the largest probability, without a gradient, ``[T]``."""
    return logits.detach().softmax(-1).amax(-1).mean(-1)


METHOD: Method = Strong2Weak()
