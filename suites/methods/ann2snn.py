"""Convert the teacher as SpikingJelly's converter does: thresholds from its activations."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from pydantic import PositiveFloat

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.values import Fraction
from harness.training import Lesson, Student, put_in_slots
from harness.training.checkpoint import Buffers
from harness.training.conversion import QuantileRelu, fit_first_layer, integrator, twin_of
from harness.training.descent import finite
from harness.training.transfer import copy_weights

CARD = MethodCard(
    title="Conversion of the teacher by the size of its activations, as SpikingJelly converts",
    citation=(
        "Rueckauer, Lungu, Hu, Pfeiffer, Liu. Conversion of continuous-valued deep networks to "
        "efficient event-driven networks for image classification. Front. Neurosci. 11:682, 2017; "
        "as in spikingjelly.activation_based.ann2snn (Fang et al., Science Advances 2023)"
    ),
    loss="exact",
    setting="authors",
    track="conversion",
    signals=("weights", "activations"),
    extras=("the artificial twin, which shares the student's weights",),
    departures=(
        (
            "its default mode is the maximum; the quantile here is the one its documentation "
            "calls robust"
        ),
        "a quantile of more than a million answers is taken of every n-th of them",
        "norms are not folded into weights but act as they do at inference, which is the same",
        (
            "event frames are averaged for the twin; the converter knows images alone. An imported "
            "teacher's normalisation is folded into the first layer"
        ),
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class Ann2Snn:
    """``scale_l = fraction * quantile of the answers of ReLU l``, as the batches go by.

    The scale is that of the first batch, then ``0.9 scale + 0.1`` of each batch's; weights
    are the teacher's. In its place comes an integrator of threshold and spike size ``scale``
    that subtracts and starts from 0. Nothing is trained. Max-pooling stays, as the converter
    leaves it, and takes the largest spike of each step.

    Attributes:
        quantile: 0.999 is the converter's mode ``"99.9%"``, 1 its mode ``"Max"``.
        fraction: Of the quantile; with ``quantile=1`` it is the converter's mode of a number.
    """

    quantile: Fraction = 0.999
    fraction: PositiveFloat = 1.0

    def realise(self, student: Student, /) -> None:
        """Put integrators into the slots."""
        put_in_slots(student, lambda: integrator(student))

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy the teacher, then look at its activations.

        Raises:
            UnsupportedError: If the teacher has another topology, or sees other images.
        """
        copy_weights(student, lesson.guide)
        return self._look(student, lesson)

    def _look(self, student: Student, lesson: Lesson) -> Iterator[Progress]:
        looker = self._looker(student)
        relus = [part for part in looker.network.modules() if isinstance(part, QuantileRelu)]
        began = Buffers(*(relu.began for relu in relus))
        for batch in lesson.resumable(looker.network, began):
            if lesson.step == 1:
                fit_first_layer(student.network, batch, lesson.guide)
            stimulus = batch.stimulus if batch.stimulus.dim() == 4 else batch.stimulus.mean(0)
            with torch.no_grad(), lesson.autocast():
                loss = lesson.task.supervised(looker(stimulus).logits[0], batch.labels).item()
            loss = finite(loss, samples=lesson.samples)
            yield Progress(samples=lesson.samples, budget=lesson.budget_samples, loss=loss)

    def _looker(self, student: Student) -> Student:
        """Return the twin, in evaluation mode but for the ReLUs, which take notes."""

        def relu() -> QuantileRelu:
            return QuantileRelu(quantile=self.quantile, fraction=self.fraction)

        twin = twin_of(student, relu).eval()
        for module in twin.modules():
            if isinstance(module, QuantileRelu):
                module.train()
        return replace(student, network=twin, timesteps=1)


METHOD: Method = Ann2Snn()
