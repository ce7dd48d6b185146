"""Train an artificial network of quantised, clipped activations, and convert it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend, put_in_slots
from harness.training.checkpoint import Buffers
from harness.training.conversion import (
    QcfsActivation,
    QuantileRelu,
    integrator,
    pool_by_mean,
    twin_of,
)

CARD = MethodCard(
    title="Conversion of a network trained with quantised clip-floor-shift activations",
    citation=(
        "Bu, Fang, Ding, Dai, Yu, Huang. Optimal ANN-SNN conversion for high-accuracy and "
        "ultra-low-latency spiking neural networks. ICLR 2022"
    ),
    loss="exact",
    setting="authors",
    track="conversion",
    claims=(
        Claim(
            accuracy=0.9094,
            dataset="cifar10",
            architecture="VGG-16",
            timesteps=2,
            where="the authors' README",
            epochs=300,
            url="https://github.com/putshua/ANN_SNN_QCFS",
        ),
        Claim(
            accuracy=0.9401,
            dataset="cifar10",
            architecture="VGG-16",
            timesteps=4,
            where="the authors' README",
            epochs=300,
            url="https://github.com/putshua/ANN_SNN_QCFS",
        ),
        Claim(
            accuracy=0.9501,
            dataset="cifar10",
            architecture="VGG-16",
            timesteps=8,
            where="the authors' README",
            epochs=300,
            url="https://github.com/putshua/ANN_SNN_QCFS",
        ),
        Claim(
            accuracy=0.6489,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=2,
            where="the authors' README",
            epochs=300,
            url="https://github.com/putshua/ANN_SNN_QCFS",
        ),
        Claim(
            accuracy=0.7042,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=4,
            where="the authors' README",
            epochs=300,
            url="https://github.com/putshua/ANN_SNN_QCFS",
        ),
        Claim(
            accuracy=0.7463,
            dataset="cifar100",
            architecture="VGG-16",
            timesteps=8,
            where="the authors' README",
            epochs=300,
            url="https://github.com/putshua/ANN_SNN_QCFS",
        ),
    ),
    signals=(),
    uses_teacher=False,
    extras=("the artificial twin, which shares the student's weights",),
    departures=(
        "the neuron is the conversion's integrator, whatever the suite's is",
        (
            "event frames are averaged for the twin, as their mean current is what a conversion "
            "keeps; the paper has images alone"
        ),
        (
            "epochs, batches, learning rate and augmentation are the suite's, in the place of 300 "
            "epochs with AutoAugment and Cutout"
        ),
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class Qcfs:
    """Cross-entropy of a twin of activations ``h``, whose weights and thresholds are kept.

    ``h(z) = scale clip(floor(z levels / scale + 1/2) / levels, 0, 1)`` with a trained
    ``scale`` a slot. The student has integrators of threshold and spike size
    ``scale`` that subtract, and start from ``scale / 2``. For a constant current their mean
    over ``levels`` steps is ``h``; over another number it is so in expectation.
    Max-pooling becomes average pooling, as in the paper.

    With ``quantile`` it is the older conversion instead (Rueckauer et al., Front. Neurosci.
    2017, as SpikingJelly has it): the twin has ReLUs, ``scale`` is a moving average of that
    quantile of their answers, and the membranes start from 0.

    Attributes:
        levels: 4 is the authors' choice for CIFAR-10; their script's default is 8.
        start: ``scale`` before training.
        quantile: None, or a share of the ReLU's answers in (0, 1], usually 0.999.
    """

    levels: PositiveInt = 4
    start: PositiveFloat = 8.0
    quantile: Fraction | None = None

    def realise(self, student: Student, /) -> None:
        """Put integrators into the slots and averages into the place of maxima."""
        share = 0.5 if self.quantile is None else 0.0
        put_in_slots(student, lambda: integrator(student, scale=self.start, share=share))
        pool_by_mean(student.network)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend with the twin."""
        twin = twin_of(student, self._activation())
        pool_by_mean(twin)
        scales = [module.scale for module in twin.modules() if isinstance(module, QcfsActivation)]
        learner = replace(student, network=twin, timesteps=1)

        def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
            return learner(stimulus if stimulus.dim() == 4 else stimulus.mean(0), taps)

        def loss(output: Output, answer: Answer, labels: Tensor) -> Tensor:
            # The recipe's decay spares numbers without axes; the authors' does not.
            decay = lesson.recipe.weight_decay / 2 * sum(scale.square() for scale in scales)
            return answer.task.supervised(output.logits.mean(0), labels) + decay

        began = [module.began for module in twin.modules() if isinstance(module, QuantileRelu)]
        kept = [Buffers(*began)] if began else []
        return descend(learner, lesson, loss, forward=forward, also_train=kept)

    def _activation(self) -> Callable[[], nn.Module]:
        if (quantile := self.quantile) is None:
            return lambda: QcfsActivation(levels=self.levels, scale=self.start)
        return lambda: QuantileRelu(quantile=quantile)


METHOD: Method = Qcfs()
