"""Begin with the teacher's convolutions and norms, then learn from its logits."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend

CARD = MethodCard(
    title="Initialisation from a deeper or wider teacher, and softened logits",
    citation=(
        "Fan, Zhang, Zhang. IDSNN: Towards high-performance and low-latency SNN training via "
        "initialization and distillation. Biomimetics 8(4):375, 2023, doi "
        "10.3390/biomimetics8040375; code: github.com/fei015/IDSNN"
    ),
    loss="exact",
    weight="weight",
    track="inherited",
    claims=(
        Claim(
            accuracy=0.9422,
            dataset="cifar10",
            architecture="ResNet-18",
            timesteps=None,
            where="abstract",
            url="https://doi.org/10.3390/biomimetics8040375",
        ),
        Claim(
            accuracy=0.7541,
            dataset="cifar100",
            architecture="ResNet-18",
            timesteps=None,
            where="abstract",
            url="https://doi.org/10.3390/biomimetics8040375",
        ),
    ),
    signals=("logits", "weights"),
    departures=(
        "topologies that are no ResNets start layer by layer: the authors have none",
        (
            "the neuron is the suite's. Theirs decays to 0.25, fires above 0.5, resets to zero and "
            "has a rectangle of width 1 for a surrogate; copied weights meet another threshold here"
        ),
        (
            "norms that are not copied, those of shortcuts, start from a scale of 1; theirs (tdBN) "
            "from the threshold, 0.5: a norm slot is missing here"
        ),
        "setting: ResNet-34 teaches ResNet-18 for 200 epochs, SGD at 0.05",
        (
            "the authors' stem pads a 3x3 kernel by 3, so that its maps are larger than the "
            "teacher's; ours pads by 1"
        ),
        "the authors take the number of steps for the temperature; ours is 4 for any number",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Idsnn:
    """``CE + weight * temperature^2 KL(teacher || student)``, after ``initialise``.

    Attributes:
        temperature: Softening of both distributions.
        weight: Of the divergence. The authors take 0.5 where nothing was initialised.
    """

    temperature: PositiveFloat = 4.0
    weight: NonNegativeFloat = 0.3

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Initialise and descend both terms.

        Raises:
            UnsupportedError: If the teacher is of another family of topologies.
        """
        initialise(student.network, lesson.guide.network)
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of both terms, in nats."""
        mean = output.logits.mean(0)
        from_teacher = answer.task.divergence(mean, answer.logits, temperature=self.temperature)
        return answer.task.supervised(mean, labels) + self.weight * from_teacher


def initialise(student: nn.Module, teacher: nn.Module) -> None:
    """Copy convolutions and their norms, statistics included, from the same place.

    Block ``j`` of a stage takes the teacher's block ``min(j, depth of its stage)``. Shortcuts
    and all that follows the last convolution keep their own start. Nothing is rescaled.

    Raises:
        UnsupportedError: If the student has no convolution, or the teacher no such place, or
            another kernel there.
    """
    theirs = dict(teacher.named_modules())
    own_places = {
        name: module
        for name, module in student.named_modules()
        if "downsample" not in name and isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    }
    if not own_places:
        raise UnsupportedError("the student has no convolution that could begin as the teacher's")
    for name, module in own_places.items():
        source = theirs.get(_place(name, theirs))
        if source is None or not _fits(module, source):
            raise UnsupportedError(
                f"the teacher is of another family than the student: it has nothing for {name!r}"
            )
        values = source.state_dict()
        for key, own in module.state_dict().items():
            own.copy_(tiled(values[key], own.shape[:2]))


def _place(name: str, theirs: Mapping[str, nn.Module]) -> str:
    """Return where the teacher has what the student has at ``name``."""
    found = re.fullmatch(r"(layer\d+)\.(\d+)\.(.+)", name)
    if found is None:
        return name
    stage, block, rest = found.groups()
    depth = len(list(theirs[stage].children())) if stage in theirs else 1
    return f"{stage}.{min(int(block), depth - 1)}.{rest}"


def _fits(own: nn.Module, source: nn.Module) -> bool:
    if isinstance(own, nn.Conv2d) and isinstance(source, nn.Conv2d):
        return own.kernel_size == source.kernel_size
    return type(own) is type(source)


def tiled(
    value: Tensor,  # [O], [O, I, ...] or []
    shape: Sequence[int],  # of the first two axes
) -> Tensor:
    """Return ``value[o mod O, i mod I]`` for every ``o, i`` of ``shape``: cut, or repeated."""
    for axis, size in enumerate(shape):
        places = torch.arange(size, device=value.device) % value.shape[axis]
        value = value.index_select(axis, places)
    return value


METHOD: Method = Idsnn()
