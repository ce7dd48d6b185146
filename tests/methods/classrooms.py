"""What methods are held to their laws with: of each task a student, a teacher and a lesson, tiny.

A classroom stands for all data sets of its task and kind of sample; ``tests/methods/test_all.py``
fails for a data set that has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import torch
from torch import Generator, Tensor, nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.inputs import Classes, Features, Image, Pair, Tokens
from harness.contracts.method import Method, Realises
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.task import Task
from harness.data.encoding import normalised
from harness.engine.meaning import unmeant
from harness.training import Batch, Lesson, Student, Teacher
from suites.models._bert import Bert
from suites.models._convnet import ConvNet
from suites.models._oad_transformer import OadTransformer
from suites.models._resnet import ResNet
from suites.models._siamese import SiamFCpp
from suites.models._spikformer_text import SpikformerText
from suites.models._spiking_oad import SpikingOad
from suites.models._vgg import VGG
from suites.tasks.classification import TASK as CLASSIFICATION
from suites.tasks.online_action_detection import OnlineActionDetection
from suites.tasks.tracking import TASK as TRACKING

Kind = Literal["convnet", "vgg", "resnet"]
SPEC = NeuronSpec(scale_input=False)


@dataclass(frozen=True, kw_only=True)
class Classroom:
    """A task, networks for it as small as the methods allow, and samples of noise.

    Attributes:
        name: Of the task, in a word.
        dataset: One of those it stands for.
        task: What is asked.
        ours: The student's topology.
        theirs: The teacher's.
        input: What a sample is.
        output: What is answered.
        draw: Makes samples ``[N, ...]``, images among them in [0, 1], and their labels.
        channels: Of images, which both networks see around 0; of anything else 0.
        steps: Batches in which every weight of every method can move.
        refused_by: Methods that its task has all for, and that do not mean these networks.
    """

    name: str
    dataset: str
    task: Task
    ours: Model
    theirs: Model
    input: Image | Tokens | Features | Pair
    output: Classes
    draw: Callable[[Generator], tuple[Tensor, Tensor]]
    channels: int = 0
    steps: int = 4
    refused_by: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    @property
    def methods(self) -> list[str]:
        """The methods that mean the task by their cards, those that refuse the networks too."""
        return [
            name
            for name in discovery.names("methods")
            if discovery.method_card(name) and not unmeant(name, self.dataset)
        ]

    def student(
        self,
        *,
        method: Method | None = None,
        backend: str = "reference",
        timesteps: int = 2,
        seed: int = 0,
        spec: NeuronSpec = SPEC,
    ) -> Student:
        """Return a student as a cell gives it to ``method``: realised, weights from ``seed``."""
        simulator = cast(Backend, discovery.load("backends", backend))

        def twin(activation: Callable[[], nn.Module]) -> nn.Module:
            return self.ours.build(activation, input=self.input, output=self.output)

        network = _seeded(seed, lambda: twin(lambda: simulator.neuron(spec)))
        learner = Student(
            network=network, timesteps=timesteps, twin=twin, spec=spec, neuron=simulator.neuron
        )
        if isinstance(method, Realises):
            method.realise(learner)
        return learner

    def teacher(self, *, seed: int = 1) -> Teacher:
        """Return a teacher that was never trained, and is frozen all the same."""
        network = _seeded(
            seed, lambda: self.theirs.build(nn.ReLU, input=self.input, output=self.output)
        )
        return Teacher(
            network=network.eval().requires_grad_(requires_grad=False),
            mean=(0.5,) * self.channels,
            std=(0.5,) * self.channels,
        )

    def lesson(
        self, of: Teacher | None, *, steps: int | None = None, learning_rate: float = 0.05
    ) -> Lesson:
        """Return so many batches, always the same."""
        generator = Generator().manual_seed(0)
        batches = [self._batch(generator) for _ in range(self.steps if steps is None else steps)]
        samples = len(batches[0].labels)
        return Lesson(
            recipe=Recipe(epochs=1, batch_size=samples, learning_rate=learning_rate),
            epochs=[batches],
            steps=len(batches),
            budget_samples=samples * len(batches),
            teacher=of,
            device=torch.device("cpu"),
            task=self.task,
            pad=self.input.pad if isinstance(self.input, Tokens) else None,
        )

    def _batch(self, generator: Generator) -> Batch:
        images, labels = self.draw(generator)
        return Batch(
            stimulus=normalised(images, (0.5,) * self.channels, (0.5,) * self.channels),
            labels=labels,
            indices=torch.arange(len(labels)),
            images=images,
            drawn=images,
        )


def _seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


TOPOLOGIES: dict[Kind, Model] = {
    "convnet": ConvNet(widths=(4, 6)),
    "vgg": VGG(widths=((4,), (6, 8))),
    "resnet": ResNet(blocks=(1, 1), widths=(4, 8)),
}
CLASSES, SAMPLES, SIDE = 3, 8, 8  # 8: SASTC attends in samples // 4 dimensions
STATIC, EVENTS = (1, SIDE, SIDE), (2, SIDE, SIDE)


@cache
def images(
    kind: Kind = "convnet", *, shape: tuple[int, int, int] = STATIC, timesteps: int = 2
) -> Classroom:
    """Return a classroom of images with a class each; of frames, if ``shape`` is that of events."""
    frames = (timesteps,) if shape == EVENTS else ()

    def draw(generator: Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.rand(*frames, SAMPLES, *shape, generator=generator)
        return drawn, torch.arange(SAMPLES) % CLASSES

    return Classroom(
        name="images",
        dataset="digits",
        task=CLASSIFICATION,
        ours=TOPOLOGIES[kind],
        theirs=TOPOLOGIES[kind],
        input=Image(shape=shape),
        output=Classes(CLASSES),
        draw=draw,
        channels=shape[0],
        steps=8,  # stdp has half of them for its layers, one after the other
    )


def _sentences(generator: Generator) -> tuple[Tensor, Tensor]:
    """Return eight sentences of at least 2 of 12 words, as long as the longest, and two classes."""
    longest = int(torch.randint(4, 8, (), generator=generator))
    tokens = torch.randint(1, 12, (8, longest), generator=generator)
    for number, sentence in enumerate(tokens):
        sentence[max(2, longest - number) :] = 0
    return tokens, torch.arange(8) % 2


def _windows(generator: Generator) -> tuple[Tensor, Tensor]:
    """Return windows of features, and of the last 6 frames, 2 of them to come, the class or -1."""
    windows = torch.randn(4, 16, 5, generator=generator)
    return windows, torch.randint(-1, 3, (4, 6, 1), generator=generator)


def _pairs(generator: Generator) -> tuple[Tensor, Tensor]:
    """Return pairs of crops, and the boxes around the centre of the search."""
    pairs = torch.rand(2, 6, 95, 95, generator=generator)
    return pairs, torch.tensor([[-9.0, -9, 9, 9], [-2, -9, 16, 9]])


IMAGES = images()
SENTENCES = Classroom(
    name="sentences",
    dataset="sst2",
    task=CLASSIFICATION,
    ours=SpikformerText(blocks=1, width=8, heads=2, hidden=8),
    theirs=Bert(blocks=1, width=8, heads=2, hidden=8),
    input=Tokens(vocabulary=12, length=9),
    output=Classes(2),
    draw=_sentences,
    # No batch norm, twice; another topology; no convolution; no ReLU; one block; sums of spikes.
    refused_by=frozenset(
        {"kd_bntt", "tdbn", "weight_transfer", "idsnn", "distilling_spikes", "tssd", "ttfs"}
    ),
)
FRAMES = Classroom(
    name="frames",
    dataset="thumos14_simulated",
    task=OnlineActionDetection(ahead=2),
    ours=SpikingOad(
        width=8, heads=2, ratio=2, dilations=(1, 2), blocks=1,
        near=3, far=1, stride=2, work=4, ahead=2,
    ),
    theirs=OadTransformer(
        width=6, heads=2, inner=8, groups=2, queries=2, stride=2, work=4, ahead=2
    ),
    input=Features(width=5, length=16, rate_hz=4),
    output=Classes(3),
    draw=_windows,
    # Another topology; no such convolution; currents from block to block, twice.
    refused_by=frozenset({"weight_transfer", "idsnn", "tdbn", "ttfs"}),
)  # fmt: skip
_SIAMESE = SiamFCpp(widths=(3, 4, 4), kernels=(7, 3, 3), head=1)
PAIRS = Classroom(
    name="pairs",
    dataset="tracking_quick",
    task=TRACKING,
    ours=_SIAMESE,
    theirs=_SIAMESE,
    input=Pair(template=(3, 63, 63), search=(3, 95, 95)),
    output=Classes(1),
    draw=_pairs,
    channels=6,
    # A tracker's features are a template's and a search's; none is before the answer alone.
    refused_by=frozenset({"affine_projector", "feature_mse", "kdsnn", "supersnn"}),
)
TASKS = (SENTENCES, FRAMES, PAIRS)
