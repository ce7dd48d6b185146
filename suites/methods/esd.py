"""Let the network teach itself through branches of ReLU that read its rates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend
from harness.training.classifier import WeakClassifier
from harness.training.losses.divergence import softened_kl_by_sample
from harness.training.rate import by_rate, slowed

CARD = MethodCard(
    title="Branches at the stages and the network itself learn from those of them that are right",
    citation=(
        "Zhao, Yu, Yu, Liu, Wang. Enhanced self-distillation framework for efficient SNN "
        "training. NeurIPS 2025, arXiv 2510.06254; code: github.com/Intelli-Chip-Lab/"
        "enhanced-self-distillation-framework-for-snn"
    ),
    loss="exact",
    weight="weight",
    track="self",
    claims=(
        Claim(
            accuracy=0.802,
            dataset="cifar100",
            architecture="ResNet-18",
            timesteps=6,
            where="authors' log, best epoch",
            epochs=300,
            url=(
                "https://github.com/Intelli-Chip-Lab/enhanced-self-distillation-framework-for"
                "-snn/blob/main/experiment/cifar/cifar100.log"
            ),
        ),
        Claim(
            accuracy=0.70704,
            dataset="imagenet",
            architecture="PreAct-ResNet-34",
            timesteps=4,
            where="authors' log, best epoch; the log's own arguments say preact_resnet18",
            epochs=100,
            url=(
                "https://github.com/Intelli-Chip-Lab/enhanced-self-distillation-framework-for"
                "-snn/blob/main/experiment/imagenet/T4_34_deep100.log"
            ),
        ),
    ),
    signals=("own logits",),
    uses_teacher=False,
    extras=("a branch of separable convolutions and a classifier at every stage but the last",),
    departures=(
        "the neuron is the suite's; theirs keeps 0.2 a step, subtracts 1, sigmoid of sharpness 4",
        (
            "the authors have branches for ResNet-18 and ResNet-19; here every topology has them, "
            "as wide as its own later stages, and one of a single stage has its branch there"
        ),
        "a batch that nobody gets right has no divergence, where the authors' code divides by 0",
    ),
    needs=("classes", "maps"),
)


@dataclass(frozen=True, kw_only=True)
class Esd:
    """``CE(o) + sum_i branch_weight CE(o_i) + weight * sum_j temperature^2 KL(q || o_j)``.

    ``o`` are the network's own logits, ``o_i`` those of branch ``i`` and ``o_j`` any of them.
    ``q`` is the mean of those that are right about the sample; a sample that none is right
    about has no divergence (read in the authors' code). All is trained by rates.

    Attributes:
        temperature: Softening of both distributions.
        weight: Of the divergences.
        branch_weight: Of the branches' cross-entropies; 0.7 for ImageNet.
        divide_by_timesteps: Whether the gradient is, as in the authors' code, which has 300
            epochs for it. In a few, False learns more: it is a learning rate T times as high.
    """

    temperature: PositiveFloat = 3.0
    weight: NonNegativeFloat = 0.3
    branch_weight: NonNegativeFloat = 1.0
    divide_by_timesteps: bool = True

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend, with one branch a stage but the last."""
        branches = branches_of(student).to(lesson.device)

        def loss(output: Output, _answer: Answer, labels: Tensor) -> Tensor:
            said = [widened(branch(output.taps[name].mean(0))) for name, branch in branches.items()]
            total = self.loss(output.logits.mean(0), said, labels)
            return slowed(total, timesteps=student.timesteps if self.divide_by_timesteps else 1)

        return descend(
            student,
            lesson,
            loss,
            also_train=[branches],
            taps=tuple(branches),
            forward=by_rate(student),
        )

    def loss(
        self,
        own: Tensor,  # [N, K]
        branches: Sequence[Tensor],  # each [N, K]
        labels: Tensor,  # [N]
    ) -> Tensor:
        """Return the sum of all terms, in nats."""
        outputs = torch.stack([own, *branches])
        target, known = consensus(outputs.detach(), labels)
        share = known / known.sum().clamp_min(1)  # of each sample in the mean over those known
        total = cross_entropy(own, labels)
        for logits in branches:
            total = total + self.branch_weight * cross_entropy(logits, labels)
        for logits in outputs:
            apart = softened_kl_by_sample(logits, target, temperature=self.temperature)
            total = total + self.weight * (share * apart).sum()
        return total


def consensus(
    outputs: Tensor,  # [J, N, K]
    labels: Tensor,  # [N]
) -> tuple[Tensor, Tensor]:
    """Return the mean ``[N, K]`` of the outputs that are right, and who has one ``[N]``."""
    right = outputs.argmax(-1) == labels  # [J, N]
    count = right.sum(0)  # [N]
    mean = (outputs * right.unsqueeze(-1)).sum(0) / count.clamp_min(1).unsqueeze(-1)
    return mean, count > 0


def branches_of(student: Student) -> nn.ModuleDict:
    """Return a branch for every stage but the last; of a single stage, for that one.

    Raises:
        UnsupportedError: If there is no stage.
    """
    channels = student.tap_channels
    stages = [name for name in channels if name.startswith("stage")]
    if not stages:
        raise UnsupportedError("the student has no stage where a branch could begin")
    return nn.ModuleDict(
        {
            name: branch([channels[stage] for stage in stages[index:]], known=student.classes)
            for index, name in enumerate(stages[:-1] or stages)
        }
    )


def branch(widths: Sequence[int], *, known: int) -> nn.Sequential:
    """Return blocks from each width to the next, their mean and a classifier."""
    blocks = [Separable(inputs, outputs) for inputs, outputs in pairwise(widths)]
    return nn.Sequential(*blocks, WeakClassifier(widths[-1], known))


class Separable(nn.Module):
    """Two separable convolutions, the first with stride 2, and a 1x1 convolution around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Draw the weights; ``outputs`` is the width after the block."""
        super().__init__()
        self.through = nn.Sequential(
            *_separable(inputs, inputs, stride=2), *_separable(inputs, outputs, stride=1)
        )
        self.around = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.BatchNorm2d(outputs)
        )

    def forward(
        self,
        value: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Return ``[N, C', H/2, W/2]``, halves rounded up."""
        summed: Tensor = self.through(value) + self.around(value)
        return summed.relu()


def _separable(inputs: int, outputs: int, *, stride: int) -> Sequence[nn.Module]:
    return (
        nn.Conv2d(inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


METHOD: Method = Esd()
