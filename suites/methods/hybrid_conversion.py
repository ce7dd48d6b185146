"""Convert the teacher, then train the spiking network on by the time since its last spikes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.neurons.own_gradient import OwnGradientNeuron
from harness.training import Answer, Lesson, Student, descend, put_in_slots
from harness.training.conversion import (
    INTEGRATOR,
    ScaledIntegrator,
    balance,
    fit_first_layer,
    taken,
)
from harness.training.transfer import copy_weights

CARD = MethodCard(
    title="Conversion by threshold balancing, then spike-timing-dependent back-propagation",
    citation=(
        "Rathi, Srinivasan, Panda, Roy. Enabling deep spiking neural networks with hybrid "
        "conversion and spike timing dependent backpropagation. ICLR 2020, arXiv 2005.01807; "
        "code: github.com/nitin-rathi/hybrid-snn-conversion"
    ),
    loss="reconstructed",
    weight="learning_rate",
    track="inherited",
    reconstructed=(
        "what becomes of biases and norms, which the authors' networks do not have",
        "mean logits in the place of a last membrane that only accumulates",
    ),
    claims=(
        Claim(
            accuracy=0.6519,
            dataset="imagenet",
            architecture="VGG-16",
            timesteps=250,
            where="abstract",
            url="https://arxiv.org/abs/2005.01807",
        ),
    ),
    signals=("weights",),
    departures=(
        (
            "norms keep the teacher's statistics, as if folded; a spike is as large as its "
            "threshold, which without shifts makes the same spikes"
        ),
        (
            "thresholds are found in as many steps as training has, on the first batches of the "
            "lesson; the authors' script takes 1000 steps, its function's default is 2500"
        ),
        (
            "max-pooling of the teacher stays, and takes the largest spike of each step, where the "
            "authors average"
        ),
        "a layer answers in the step it is given, theirs one step later",
        "neurons fire at their threshold, theirs above it",
        (
            "in the authors' single precision the derivative of a neuron that has not fired yet is "
            "0, as the time since then is set to 1000 steps; here it is 0"
        ),
        (
            "the optimiser is the authors' Adam at 1e-4, whatever the suite's is, without amsgrad "
            "and with decoupled decay: the derivative adds up over the steps, alpha T / 2 times "
            "too much a layer, which plain descent at the suites' rates does not survive"
        ),
        "epochs, batches and decay are the suite's, in the place of 300 epochs; no dropout",
        "images are a constant current or frames as the suite encodes them, not Poisson spikes",
        "their code's default is a surrogate of the membrane; the paper's is this one",
    ),
    needs=("maps",),
)


@dataclass(frozen=True, kw_only=True)
class HybridConversion:
    """Cross-entropy of the mean logits, from a converted network on.

    Weights are the teacher's. Thresholds are found as ``threshold_balancing`` finds them, then
    all are lowered by ``scaling``; they stay. A spike's derivative depends on its neuron's last
    spike alone:

        ds[t]/dv[t] = (1 / threshold) alpha exp(-beta (t - t_last))

    with ``t_last < t`` the step of its last spike, and 0 before the first (Rathi et al. 2020,
    eq. 10). The membrane has no leak and its reset no gradient.

    Attributes:
        alpha: The derivative's size.
        beta: Its decay, a step.
        scaling: Of the thresholds, as steps are few.
        samples: On which thresholds are found, whole batches of them.
        steps: A constant image is trained on in no more than these; the authors have 100.
            More steps at inference come closer to the rates that were trained.
        learning_rate: Of Adam, at the peak of the suite's schedule.
    """

    alpha: NonNegativeFloat = 0.3
    beta: NonNegativeFloat = 0.01
    scaling: PositiveFloat = 0.7
    samples: PositiveInt = 512
    steps: PositiveInt = 100
    learning_rate: PositiveFloat = 1e-4

    def realise(self, student: Student, /) -> None:
        """Put integrators with this derivative into the slots."""

        def made() -> nn.Module:
            neuron = student.neuron(INTEGRATOR)
            return ScaledIntegrator(TimedNeuron(neuron, alpha=self.alpha, beta=self.beta))

        put_in_slots(student, made)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy the teacher, balance the thresholds, and descend.

        Raises:
            UnsupportedError: If the teacher has another topology, or sees other images.
        """
        copy_weights(student, lesson.guide)
        return self._train(student, lesson)

    def _train(self, student: Student, lesson: Lesson) -> Iterator[Progress]:
        first = taken(iter(lesson.further("thresholds")), self.samples)
        for batch in first[:1]:
            fit_first_layer(student.network, batch, lesson.guide)
        short = replace(student, timesteps=min(student.timesteps, self.steps))
        student.network.eval()
        frames = any(batch.stimulus.dim() == 5 for batch in first)
        learner = student if frames else short  # frames bring their own steps
        with lesson.autocast():
            balance(learner, first, scaling=self.scaling)

        def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
            hold_norms(student.network)
            return learner(stimulus, taps)

        recipe = replace(lesson.recipe, optimiser="adam", learning_rate=self.learning_rate)
        yield from descend(student, replace(lesson, recipe=recipe), self.loss, forward=forward)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return answer.task.supervised(output.logits.mean(0), labels)


def hold_norms(network: nn.Module) -> None:
    """Let norms use the statistics they have, and no others."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


class TimedNeuron(OwnGradientNeuron):
    """A simulator's integrators whose spikes have the derivative of their last spike's age."""

    def __init__(self, neuron: nn.Module, *, alpha: float, beta: float) -> None:
        """Wrap ``neuron``, an integrator of threshold 1 that subtracts it."""
        super().__init__(neuron, INTEGRATOR)
        self.alpha = alpha
        self.beta = beta

    def by_current(
        self,
        gradient: Tensor,  # [T, N, ...], by the spikes
        spikes: Tensor,  # [T, N, ...]
    ) -> Tensor:
        """Return the gradient by the current, ``[T, N, ...]``."""
        by_membrane = gradient * derivative(spikes, alpha=self.alpha, beta=self.beta)
        # What a step charges stays in the membrane: it is felt in all steps from there on.
        return by_membrane.flip(0).cumsum(0).flip(0)


def derivative(
    spikes: Tensor,  # [T, N, ...]
    *,
    alpha: float,
    beta: float,
) -> Tensor:
    """Return ``alpha exp(-beta (t - t_last))``, ``[T, N, ...]``; 0 before the first spike."""
    kept = math.exp(-beta)
    since = torch.zeros_like(spikes[0])
    slopes = []
    for spike in spikes:
        slopes.append(alpha * since)
        since = kept * torch.where(spike > 0, 1.0, since)
    # ``since`` has decayed by one step already when the next step asks.
    return torch.stack(slopes)


METHOD: Method = HybridConversion()
