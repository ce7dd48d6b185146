"""Propagate errors through spikes by the derivative of a leaky neuron's total activity."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.contracts.neuron import NeuronSpec
from harness.neurons.own_gradient import OwnGradientNeuron
from harness.neurons.precision import widened
from harness.training import Answer, Lesson, Student, descend, put_in_slots
from harness.training.losses.labels import is_label

CARD = MethodCard(
    title="Back-propagation with the leak-corrected derivative of the output trace",
    citation=(
        "Srinivasan, Lee, Sengupta, Panda, Sarwar, Roy. Training deep spiking neural networks "
        "for energy-efficient neuromorphic computing. ICASSP 2020; algorithm: Lee, Sarwar, "
        "Panda, Srinivasan, Roy. Enabling spike-based backpropagation for training deep neural "
        "network architectures. Front. Neurosci. 14:119, 2020; code: "
        "github.com/chan8972/Enabling_Spikebased_Backpropagation"
    ),
    loss="reconstructed",
    reconstructed=(
        "the gain of scaled inputs",
        "the path past a reset that subtracts",
    ),
    signals=(),
    uses_teacher=False,
    departures=(
        (
            "leak, threshold, reset and read-out are the suite's; the derivative uses the suite's "
            "leak. In `digits_long` they are the authors', 0.99 a step, 1 and zero; their read-out "
            "leaks too"
        ),
        "pooling is the topology's, not averages that fire at 0.75",
        "norms stand before the neurons, which the authors' networks do not have",
        "images are encoded as the suite says, not as signed Poisson spikes",
        (
            "as many steps as the suite asks for, where the authors simulate 100: a neuron that is "
            "silent has no gradient, and in few steps most are. `digits_long` has 25 to 100"
        ),
        (
            "the squared error is a mean over samples, and descended by the suite's rate and "
            "momentum; the authors sum it over a batch of 16 and descend it at 0.0033 without "
            "momentum, as a rate of 0.005 with a momentum of 0.9 does"
        ),
        "no dropout, which the authors' networks have",
    ),
    needs=("classes",),
)
SILENT = 1e-3  # the authors': a trace below it counts as that of a neuron that never fired


@dataclass(frozen=True, kw_only=True)
class SpikeBackprop:
    """The squared error of the mean logits, through spikes that have a derivative of their own.

    ``sum_k (o_k - y_k)^2``, and for the spikes of one neuron (Lee et al. 2020)

        ds/dv = (1 / threshold) (1 + ln(l) f[T] / N)

    at the steps that fired, 0 elsewhere: ``f[t] = l f[t-1] + s[t]`` is the trace of its
    spikes under its own leak ``l = 1 - 1/tau``, ``N`` their number. The membrane's decay is
    left out of the gradient and its reset stops it, as in the authors' code. Neurons that
    are silent learn nothing, which is most of them in the first of few steps.

    Attributes:
        weight: Of the squared error, a mean over samples.
    """

    weight: NonNegativeFloat = 1.0

    def realise(self, student: Student, /) -> None:
        """Put the suite's neurons into the slots again, each with this derivative.

        Raises:
            UnsupportedError: If the neuron's leak has no such derivative.
        """
        spec = student.spec
        put_in_slots(student, lambda: TracedNeuron(student.neuron(spec), spec))

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the squared error."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, _answer: Answer, labels: Tensor) -> Tensor:
        """Return the weighted squared error from the one-hot labels, a mean over samples."""
        answer = output.logits.mean(0)
        target = is_label(labels, answer.shape[1]).to(answer.dtype)
        return self.weight * (answer - target).square().sum(1).mean()


def leak_of(spec: NeuronSpec) -> float:
    """Return what a step leaves of the membrane.

    Raises:
        UnsupportedError: If it is trained, or so little that the derivative turns negative.
    """
    if spec.kind == "plif":
        raise UnsupportedError("this derivative knows no gradient of a leak that is trained")
    leak = 1.0 if spec.kind == "if" else 1 - 1 / spec.tau
    # A single spike at the last step has f = N = 1, and no neuron has f > N.
    if leak <= math.exp(-1):
        raise UnsupportedError(
            f"tau {spec.tau} leaves {leak:.2f} of the membrane a step; the derivative "
            "1 + ln(leak) is positive only above 0.37"
        )
    return leak


class TracedNeuron(OwnGradientNeuron):
    """A simulator's neurons: its spikes, and our derivative."""

    def __init__(self, neuron: nn.Module, spec: NeuronSpec) -> None:
        """Wrap ``neuron``, which means ``spec``."""
        super().__init__(neuron, spec)
        self.leak = leak_of(spec)

    def by_current(
        self,
        gradient: Tensor,  # [T, N, ...], by the spikes
        spikes: Tensor,  # [T, N, ...]
    ) -> Tensor:
        """Return the gradient by the current, ``[T, N, ...]``."""
        spec, correction = self.spec, derivative(spikes, leak=self.leak)
        gain = 1 / spec.tau if spec.kind == "lif" and spec.scale_input else 1.0
        by_current = torch.empty_like(gradient)
        by_membrane = torch.zeros_like(correction)
        for step in reversed(range(len(spikes))):
            spike = spikes[step].to(correction.dtype)
            past_reset = by_membrane * (1 - spike) if spec.reset == "zero" else by_membrane
            error = gradient[step].to(correction.dtype)
            by_membrane = error * correction * spike / spec.v_threshold + past_reset
            by_current[step] = gain * by_membrane
        return by_current


def derivative(
    spikes: Tensor,  # [T, N, ...]
    *,
    leak: float,
) -> Tensor:
    """Return ``1 + ln(leak) f(T) / N``, ``[N, ...]``; 0 for neurons of no recent spike."""
    exact = widened(spikes)
    trace = torch.zeros_like(exact[0])
    for spike in exact:
        trace = leak * trace + spike
    fired = (trace > SILENT).to(trace.dtype)
    return fired + math.log(leak) * trace / exact.sum(0).clamp_min(1)


METHOD: Method = SpikeBackprop()
