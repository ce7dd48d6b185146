"""Take the teacher's weights, and set each threshold by the spikes that arrive there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.data.encoding import normalised
from harness.training import Batch, Lesson, Student, Teacher, put_in_slots
from harness.training.conversion import ScaledIntegrator, integrator, integrators
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
    reconstructed=("what becomes of biases and norms, which the paper's networks do not have",),
    claims=(
        Claim(
            accuracy=0.6996,
            dataset="imagenet",
            architecture="VGG-16",
            timesteps=None,
            where="abstract, doi 10.1109/ICASSP40776.2020.9053914",
        ),
    ),
    signals=("weights",),
    departures=(
        (
            "the paper's networks have neither biases nor norms; ours shift currents, so a spike "
            "is as large as its threshold, which without shifts makes the same spikes"
        ),
        (
            "max-pooling of the teacher stays, and takes the largest spike of each step, where the "
            "paper averages"
        ),
        "images are a constant current or frames as the suite encodes them, not Poisson spikes",
        (
            "thresholds are scaled by 0.7, the group's value where steps are cut to about 100 "
            "(Rathi et al., ICLR 2020), as here they are cut to fewer still; spike-norm takes 1"
        ),
        (
            "thresholds are found at the student's own number of steps on all batches of the "
            "lesson, not in 2500 steps on one batch of 512"
        ),
        "the neuron, the conversion's integrator, fires at its threshold, theirs above it",
        "setting: how many steps the claim takes is not said; the group's code simulates 2500",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ThresholdBalancing:
    """``scale_l = scaling * max over t, samples and neurons of the current of layer l``.

    The current is what the spikes of the layers before, with their thresholds found
    already, cause there: spike-norm (Sengupta et al. 2019), not a maximum of
    the teacher's activations. Layers share the lesson's batches in equal parts.

    Nothing is trained. Thresholds of the largest current need hundreds of steps.

    Attributes:
        scaling: 1 for full latency; 0.7 where steps are cut to about 100 (Rathi et al.,
            ICLR 2020).
    """

    scaling: float = 0.7

    def realise(self, student: Student, /) -> None:
        """Put integrators into the slots."""
        put_in_slots(student, lambda: integrator(student))

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy the teacher, then balance the thresholds batch by batch.

        Raises:
            UnsupportedError: If the teacher has another topology, or sees other images.
        """
        guide = lesson.guide
        copy_weights(student, guide)
        return self._balance(student, lesson, guide)

    def _balance(self, student: Student, lesson: Lesson, guide: Teacher) -> Iterator[Progress]:
        slots = integrators(student.network)
        largest = [0.0] * len(slots)
        samples = 0
        for step, batch in enumerate(lesson):
            if not step:
                _fit_first_layer(student.network, batch, guide)
            student.network.eval()
            for layer in layers_of(step, steps=lesson.steps, layers=len(slots)):
                with lesson.autocast():
                    current, loss = _shown(student, slots[layer], batch)
                largest[layer] = max(largest[layer], current)
                if largest[layer] > 0:  # a layer that nothing excites fires at no threshold
                    slots[layer].scale.fill_(self.scaling * largest[layer])
            samples += len(batch.labels)
            yield Progress(
                samples=samples, budget=lesson.budget_samples, loss=finite(loss, samples=samples)
            )


def layers_of(step: int, *, steps: int, layers: int) -> Sequence[int]:
    """Return the layers whose turn it is, first to last over ``steps`` batches, at least one."""
    if layers >= steps:
        return range(step * layers // steps, (step + 1) * layers // steps)
    return range(step * layers // steps, step * layers // steps + 1)


@torch.no_grad()
def _shown(student: Student, slot: ScaledIntegrator, batch: Batch) -> tuple[float, float]:
    """Return the largest current of ``slot`` and the cross-entropy of the answer."""
    seen: list[float] = []

    def look(_: nn.Module, currents: tuple[Tensor, ...]) -> None:
        seen.append(currents[0].amax().item())

    with slot.register_forward_pre_hook(look):
        logits = student(batch.stimulus).logits.mean(0)
    return max(seen), cross_entropy(logits, batch.labels).item()


@torch.no_grad()
def _fit_first_layer(network: nn.Module, batch: Batch, guide: Teacher) -> None:
    """Make the first layer's mean current what it is in the teacher.

    An imported teacher may have been trained under another normalisation, ``a x + b`` of
    ours, channel by channel; and of frames it saw the sum, ``T`` times their mean. Then
    ``T W (a x + b)`` is ``W' x + shift`` with ``W' = T a W``, and the norm after it takes the
    shift. At the borders, where the teacher padded, that is a little too much.

    Raises:
        UnsupportedError: If the student's images are no such map of the teacher's.
    """
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    ours = _by_channel(batch.stimulus)
    theirs = _by_channel(normalised(batch.images, guide.mean, guide.std))
    if ours.shape != theirs.shape:
        raise UnsupportedError("the student is shown spikes where the teacher was shown images")
    around = ours - ours.mean(1, keepdim=True)
    spread = around.square().sum(1)
    gain = torch.where(spread > 0, (around * theirs).sum(1) / spread, 1.0)
    offset = theirs.mean(1) - gain * ours.mean(1)
    # Streamed images are bfloat16, and rounded again once they are normalised.
    unlike = (gain[:, None] * ours + offset[:, None] - theirs).abs().amax()
    if unlike > 0.02 * (1 + theirs.abs().amax()):
        raise UnsupportedError("the student is shown an encoding the teacher was not trained on")
    frames = len(batch.stimulus) if batch.stimulus.dim() == 5 else 1
    shift = (convolution.weight.sum((2, 3)) * offset.to(convolution.weight.dtype)).sum(1)
    convolution.weight.mul_((frames * gain).view(1, -1, 1, 1).to(convolution.weight.dtype))
    norm.get_buffer("running_mean").sub_(frames * shift)


def _by_channel(
    stimulus: Tensor,  # [..., C, H, W]
) -> Tensor:
    """Return ``[C, values]`` in float64."""
    return stimulus.double().movedim(-3, 0).flatten(1)


METHOD: Method = ThresholdBalancing()
