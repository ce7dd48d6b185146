"""Take the teacher's weights, and set each threshold by the spikes that arrive there."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import PositiveFloat, PositiveInt

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.training import Lesson, Student, put_in_slots
from harness.training.conversion import balance, fit_first_layer, integrator, taken
from harness.training.descent import finite
from harness.training.transfer import copy_weights

CARD = MethodCard(
    title="Conversion of the teacher by spike-norm, layer by layer",
    citation=(
        "Srinivasan, Lee, Sengupta, Panda, Sarwar, Roy. Training deep spiking neural networks "
        "for energy-efficient neuromorphic computing. ICASSP 2020; algorithm: Sengupta, Ye, "
        "Wang, Liu, Roy. Going deeper in spiking neural networks. Front. Neurosci. 2019"
    ),
    loss="reconstructed",
    track="conversion",
    reconstructed=("what becomes of biases and norms, which the paper's networks do not have",),
    claims=(
        Claim(
            accuracy=0.6996,
            dataset="imagenet",
            architecture="VGG-16",
            timesteps=None,
            where="abstract",
            url="https://doi.org/10.1109/ICASSP40776.2020.9053914",
        ),
    ),
    signals=("weights",),
    departures=(
        (
            "the paper's networks have neither biases nor norms. A norm is here what it is at "
            "inference, a fixed scale and shift of the current of each step, as if folded into the "
            "weights; so that shifts keep their proportion, a spike is as large as its threshold, "
            "which without shifts makes the same spikes"
        ),
        (
            "max-pooling of the teacher stays, and takes the largest spike of each step, where the "
            "paper averages"
        ),
        "images are a constant current or frames as the suite encodes them, not Poisson spikes",
        (
            "thresholds are found in as many steps as the student has. The paper has 2500 for "
            "both; the suite `digits_conversion` goes up to 512, and at a handful of steps the "
            "method is outside its domain"
        ),
        "the neuron, the conversion's integrator, fires at its threshold, theirs above it",
        "setting: how many steps the claim takes is not said; the group's code simulates 2500",
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class ThresholdBalancing:
    """``scale_l = scaling * max over t, samples and neurons of the current of layer l``.

    The current is what the spikes of the layers before, with their thresholds found
    already, cause there in the student's own number of steps: spike-norm (Sengupta et al.
    2019), not a maximum of the teacher's activations.

    Nothing is trained, and the lesson ends once there are samples enough. Thresholds of the
    largest current need hundreds of steps.

    Attributes:
        scaling: 1 for full latency; 0.7 where steps are cut to about 100 (Rathi et al.,
            ICLR 2020).
        samples: On which thresholds are found, whole batches of them; the group's code has
            one batch of 512.
    """

    scaling: PositiveFloat = 1.0
    samples: PositiveInt = 512

    def realise(self, student: Student, /) -> None:
        """Put integrators into the slots."""
        put_in_slots(student, lambda: integrator(student))

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy the teacher, balance the thresholds, then say what came of it.

        Raises:
            UnsupportedError: If the teacher has another topology, or sees other images.
        """
        copy_weights(student, lesson.guide)
        return self._balance(student, lesson)

    def _balance(self, student: Student, lesson: Lesson) -> Iterator[Progress]:
        seen = taken(iter(lesson), self.samples)
        student.network.eval()
        for batch in seen[:1]:
            fit_first_layer(student.network, batch, lesson.guide)
        with lesson.autocast():
            balance(student, seen, scaling=self.scaling)
        samples = 0
        for batch in seen:
            with torch.no_grad(), lesson.autocast():
                logits = student(batch.stimulus).logits.mean(0)
            samples += len(batch.labels)
            loss = finite(lesson.task.supervised(logits, batch.labels).item(), samples=samples)
            yield Progress(samples=samples, budget=lesson.budget_samples, loss=loss)


METHOD: Method = ThresholdBalancing()
