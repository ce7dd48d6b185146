"""Mix the labels with what the teacher says, of the images and of their rotations."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from harness.contracts.errors import PlaceError, UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import (
    Answer,
    Batch,
    Lesson,
    Student,
    descend,
    put_in_slots,
    taught_share,
)
from harness.training.descent import Loss
from harness.training.diet import diet_neuron, find_thresholds
from harness.training.rate import slowed
from harness.training.readout import ReadOut, read_out
from harness.training.transfer import copy_network, copy_weights

CARD = MethodCard(
    title="Kullback-Leibler distillation, of rotated images too, of a converted network",
    citation=(
        "Sugahara, Zhang, Nakashima. Training low-latency spiking neural network through "
        "knowledge distillation. COOL CHIPS 2021, doi 10.1109/COOLCHIPS52128.2021.9410323; code, "
        "by all signs an author's: github.com/taku2365/SNN_distillation; neuron: Rathi, Roy. "
        "DIET-SNN. IEEE TNNLS 34(6), 2023, arXiv 2008.03658"
    ),
    loss="reconstructed",
    weight="views_weight",
    setting="ours",
    track="inherited",
    reconstructed=(
        (
            "that the run of that code which reports 74.63 % is the paper's method: of the paper "
            "only the abstract could be read, and it names the divergence alone"
        ),
    ),
    claims=(
        Claim(
            accuracy=0.7442,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=5,
            where="abstract",
            url="https://doi.org/10.1109/COOLCHIPS52128.2021.9410323",
        ),
        Claim(
            accuracy=0.7463,
            dataset="cifar100",
            architecture="VGG-16, teacher WRN-40-2",
            timesteps=5,
            where="comment in the code, snn_skd.py",
            url="https://github.com/taku2365/SNN_distillation",
        ),
    ),
    signals=("logits", "weights"),
    extras=(
        (
            "an artificial network of the student's topology, trained first on all of the lesson: "
            "where the teacher has another topology, and with start='distilled'"
        ),
    ),
    departures=(
        (
            "in that run the artificial network that the student starts as had itself learned from "
            "the teacher by this loss; here it is the teacher wherever that has the topology, "
            "which spares a training, or one that learned the labels. start='distilled' does as "
            "they did, for which a rate of 0.1 is too large: theirs is 5e-4"
        ),
        (
            "topology and norms are the suite's, and the norms see the rotated images in the same "
            "batch; theirs is a VGG-16 without norms and biases, with average pooling, two hidden "
            "layers of 4096 and dropout of 0.1 by one mask for all steps"
        ),
        (
            "currents whose quantile is a threshold are those of the first batch in the student's "
            "own number of steps"
        ),
        "a neuron fires at its threshold, theirs above it",
        (
            "optimiser and budget are the suite's; theirs are Adam at 5e-4 for 70 epochs of 64 "
            "images and their rotations"
        ),
        (
            "the gradient of accumulated logits is divided by T, and that of leaks and thresholds "
            "by the root of how many neurons and steps share them. Adam is blind to both; under "
            "SGD at 0.1 the digits were left at chance at T = 4 without"
        ),
    ),
    needs=("classes", "maps"),
)


@dataclass(frozen=True, kw_only=True)
class KlLowLatency:
    """``(1 - a) CE + a K + views_weight K_turned``, ``K = temperature^2 KL(teacher || student)``.

    ``K_turned`` is ``K`` of the batch rotated by 90, 180 and 270 degrees, which teacher and
    student see beside it: four images for each that counts. The student's logits are what its
    last layer has accumulated after all steps.

    The student is a converted network: weights of an artificial one, and neurons whose leak and
    threshold are trained with them (``harness/training/diet.py``; as in the authors' code the
    reset is leaked). Leaks start at 1, thresholds at ``threshold_share`` of the
    ``threshold_quantile`` of the currents.

    Only the loss, on the suite's own student from random weights, is
    ``start="random", neuron="suite", logits="mean"``.

    Attributes:
        temperature: Softening of all distributions.
        teacher_share: ``a``.
        views_weight: Of the rotated images' divergence; 0 does without them.
        start: Whose weights the student starts with: the ``teacher``'s, or where that has
            another topology those of an artificial network that learned the labels first;
            those of one which this loss taught first, ``distilled``; or its own ``random`` ones.
        neuron: ``diet``, or the ``suite``'s.
        logits: Whether losses see the ``accumulated`` logits or their ``mean``.
        threshold_quantile: Of a layer's currents in a step.
        threshold_share: Of that, what a threshold is at the start.
    """

    temperature: PositiveFloat = 4.0
    teacher_share: Fraction = 0.9
    views_weight: NonNegativeFloat = 2.7
    start: Literal["teacher", "distilled", "random"] = "teacher"
    neuron: Literal["diet", "suite"] = "diet"
    logits: ReadOut = "accumulated"
    threshold_quantile: Fraction = 0.997
    threshold_share: PositiveFloat = 0.6

    def realise(self, student: Student, /) -> None:
        """Put neurons of trained leak and threshold into the slots."""
        if self.neuron == "diet":
            put_in_slots(student, lambda: diet_neuron(student))

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Make the start, then descend the three terms.

        Raises:
            UnsupportedError: If images are to be rotated that are not square.
            PlaceError: If that is on several devices.
        """
        shown = lesson
        if self.views_weight:
            if lesson.team.size > 1:
                raise PlaceError(
                    "rotated copies stand behind the batch, and several devices would gather them "
                    "among the others' upright images; run it on one"
                )
            shown = replace(lesson, epochs=_Turned(lesson.epochs))
        if self.start == "teacher":
            yield from _inherit(student, lesson)
        elif self.start == "distilled":
            yield from _convert(student, shown, self.loss)
        if self.neuron == "diet":
            self._find_thresholds(student, shown)
        yield from descend(student, shown, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms, in nats; ``labels`` are of the upright."""
        error = self._error(output, answer, labels)
        accumulates = self.logits == "accumulated"
        return slowed(error, timesteps=len(output.logits)) if accumulates else error

    def _error(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the loss with its own gradient."""
        upright = len(labels)
        ours, theirs = read_out(output.logits, self.logits), answer.logits
        error = taught_share(
            ours[:upright],
            theirs[:upright],
            labels,
            temperature=self.temperature,
            share=self.teacher_share,
        )
        if not self.views_weight:
            return error
        turned = answer.task.divergence(
            ours[upright:], theirs[upright:], temperature=self.temperature
        )
        return error + self.views_weight * turned

    def _find_thresholds(self, student: Student, lesson: Lesson) -> None:
        first = next(iter(lesson.further("the thresholds of the first batch")), None)
        if first is None:  # a recipe of no epochs
            return
        with lesson.autocast():
            find_thresholds(
                student,
                first.stimulus,
                quantile=self.threshold_quantile,
                share=self.threshold_share,
            )


def _inherit(student: Student, lesson: Lesson) -> Iterator[Progress]:
    """Copy the teacher, or where it does not fit a network that has learned the labels."""
    try:
        copy_weights(student, lesson.guide)
    except UnsupportedError:
        yield from _convert(student, lesson, _from_labels)


def _convert(student: Student, lesson: Lesson, loss: Loss) -> Iterator[Progress]:
    """Train the student's topology without spikes and copy it; its samples are not counted."""
    artificial = student.twin(nn.ReLU).to(lesson.device)
    learner = replace(student, network=artificial, timesteps=1)

    def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
        return learner(stimulus if stimulus.dim() == 4 else stimulus.mean(0), taps)

    first = lesson.further("the artificial network that the student starts as")
    for progress in descend(learner, first, loss, forward=forward):
        yield replace(progress, samples=0)
    copy_network(student, artificial)


def _from_labels(output: Output, answer: Answer, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the one step there is, in nats."""
    return answer.task.supervised(output.logits[0], labels)


@dataclass(frozen=True)
class _Turned:
    """Epochs of batches with their rotated copies; like those it is made of, again and again."""

    epochs: Iterable[Iterable[Batch]]

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        return (map(with_views, epoch) for epoch in self.epochs)


def with_views(batch: Batch) -> Batch:
    """Return ``batch`` with three rotated copies of it behind, which have no labels."""
    return replace(
        batch,
        stimulus=turned_about(batch.stimulus),
        images=turned_about(batch.images),
    )


def turned_about(
    maps: Tensor,  # [..., N, C, H, W]
) -> Tensor:
    """Return ``maps`` as they are and after 1, 2 and 3 quarter turns, ``[..., 4 N, C, H, W]``.

    Raises:
        UnsupportedError: If they are not square.
    """
    height, width = maps.shape[-2:]
    if height != width:
        raise UnsupportedError(f"images that are rotated must be square, not {height}x{width}")
    views = torch.cat([maps] * 4, -4)  # a copy of rotated maps would not lie as these in memory
    for turns, view in enumerate(views.chunk(4, -4)):
        view.copy_(maps.rot90(turns, (-2, -1)))
    return views


METHOD: Method = KlLowLatency()
