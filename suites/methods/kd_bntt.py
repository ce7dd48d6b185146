"""Learn from the teacher's logits, with a batch norm of its own in every step."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend, taught_share
from harness.training.bntt import BatchNormThroughTime, norm_through_time

CARD = MethodCard(
    title="Converted weights and softened logits, with batch norm through time",
    citation=(
        "CINE 2022, doi 10.1109/CINE56307.2022.10037455; its norm is Kim, Panda. Revisiting "
        "batch normalization for training low-latency deep spiking neural networks from scratch. "
        "Front. Neurosci. 2021"
    ),
    loss="reconstructed",
    track="inherited",
    reconstructed=(
        "temperature and mixing weight",
        "scales are copied to every step, shifts and statistics to none",
        "mean logits in the place of the accumulated voltage",
    ),
    claims=(
        Claim(
            accuracy=0.5567,
            dataset="tiny_imagenet",
            architecture="VGG-11",
            timesteps=5,
            where="abstract",
            url="https://doi.org/10.1109/CINE56307.2022.10037455",
        ),
        Claim(
            accuracy=0.7311,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=5,
            where="abstract",
            url="https://doi.org/10.1109/CINE56307.2022.10037455",
        ),
    ),
    signals=("logits", "weights"),
    departures=(
        (
            "the norm's authors show signed Poisson spikes, pool by averages and have no bias in "
            "the classifier; stimulus, neuron and topology are the suite's here"
        ),
    ),
    needs=("classes",),
)


@dataclass(frozen=True, kw_only=True)
class KdBntt:
    """``(1 - a) CE + a temperature^2 KL(teacher || student)`` of mean logits, norms by step.

    The norms are Kim & Panda's: statistics and scale of each step's own, no shift. Convolutions
    and classifier begin as the teacher's, and every step's scale as the teacher's one.

    Attributes:
        temperature: Softening of both distributions.
        teacher_share: ``a``.
    """

    temperature: PositiveFloat = 4.0
    teacher_share: Fraction = 0.7

    def realise(self, student: Student, /) -> None:
        """Give every norm one statistic a step."""
        norm_through_time(student)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy the teacher's weights and descend the mixture.

        Raises:
            UnsupportedError: If the teacher has another topology.
        """
        convert(lesson.guide.network, student.network)
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the mixture, in nats."""
        return taught_share(
            output.logits.mean(0),
            answer.logits,
            labels,
            temperature=self.temperature,
            share=self.teacher_share,
        )


def convert(teacher: nn.Module, student: nn.Module) -> None:
    """Copy weights, and each norm's scale to all steps.

    Statistics are not copied: those of ReLU are not those of spikes, and each step has its own.

    Raises:
        UnsupportedError: If the networks have not the same layers.
    """
    theirs, ours = _layers(teacher), _layers(student)
    unlike = [name for name in theirs | ours if _shape(theirs, name) != _shape(ours, name)]
    if unlike:
        raise UnsupportedError(
            f"the teacher has another topology than the student: {unlike[0]!r} does not fit"
        )
    for name, layer in theirs.items():
        own = ours[name]
        if isinstance(own, BatchNormThroughTime):
            for norm in own.steps:
                norm.load_state_dict({"weight": layer.weight}, strict=False)
        else:
            own.load_state_dict(layer.state_dict())


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return what has weights, and norms; one through time counts as one."""
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, BatchNormThroughTime)
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, kinds) and ".steps." not in name
    }


def _shape(layers: dict[str, nn.Module], name: str) -> torch.Size | None:
    layer = layers.get(name)
    if isinstance(layer, BatchNormThroughTime):
        return layer.scales[0].shape
    return None if layer is None else layer.get_parameter("weight").shape


METHOD: Method = KdBntt()
