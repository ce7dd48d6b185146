"""Teach a spiking network by a spiking network, in windows of time."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from harness import discovery
from harness.contracts.errors import UnsupportedError
from harness.contracts.inputs import Classes, Image
from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Model, Output
from harness.contracts.values import Fraction
from harness.training import Answer, Lesson, Student, descend, softened_kl
from harness.training.losses.windows import windowed

CARD = MethodCard(
    title="A spiking teacher's answer over time, window by window",
    citation=(
        "Kushawaha, Kumar, Banerjee, Velmurugan. Distilling spikes: knowledge distillation in "
        "spiking neural networks. ICPR 2020, arXiv 2005.00288"
    ),
    loss="reconstructed",
    reconstructed=(
        "all losses",
        "logits of every step in the place of output spikes, since the read-out has none",
        "the teacher: the suite's, with spiking neurons, trained again on the same lesson",
        "window, temperature and weights",
        "neuron, encoding and timesteps",
    ),
    signals=("logits of every step of a spiking teacher",),
    extras=(
        (
            "a spiking teacher, which begins with the weights of the suite's and is trained first "
            "on all of the lesson: a whole training more, of a network of its size; with "
            "`assistant` one more, of a spiking network of that topology"
        ),
    ),
    departures=(
        (
            "the paper's teacher is larger than its student; so it is in suites whose teacher is, "
            "as `digits_wide_teacher`, and elsewhere it is as large as the student"
        ),
        (
            "by default no intermediate network, as no suite names one; the abstract says that it "
            "improves the student"
        ),
    ),
    needs=("classes",),
)
_SOURCE = "source"  # among the taps: the logits of the network that teaches


@dataclass(frozen=True, kw_only=True)
class DistillingSpikes:
    """``(1 - share) CE + share D``, ``D`` between two answers over time.

    With ``W`` the means of all windows of ``window`` steps, each ``stride`` after the last,
    ``N`` the sum over time and logits for spikes, ``form`` says which ``D``:

    ================  ===========================================================
    ``tensor``        mean of ``(S - T)^2``, step by step: a window of 1
    ``window``        mean of ``(W S - W T)^2``
    ``counts``        mean of ``(N_S - N_T)^2 / T^2``: a window of all steps
    ``soft_counts``   ``temperature^2 KL(N_T || N_S)``, softened
    ``soft_window``   mean over windows of ``temperature^2 KL(w W T || w W S)``, softened
    ================  ===========================================================

    Fewer steps than a window are one window: below 5 steps the default is ``counts``.

    The teacher spikes. It is the suite's teacher with the student's neurons in its slots,
    its weights for a start, trained on the labels over the same lesson and then frozen.
    That, like every teacher's training, is not counted among the student's samples. It
    sees what the student sees.

    Attributes:
        form: Which ``D``.
        window: Steps in a window.
        stride: Steps from one window to the next.
        temperature: Softening of both distributions, in the two soft forms.
        share: Of ``D``; the labels get the rest.
        assistant: None, or a file under ``suites/models/``, of a size between teacher and
            student: the teacher first teaches that network, with the student's neurons, which
            then teaches the student. Its training is not counted either.
    """

    form: Literal["tensor", "window", "counts", "soft_counts", "soft_window"] = "window"
    window: PositiveInt = 5
    stride: PositiveInt = 1
    temperature: PositiveFloat = 4.0
    share: Fraction = 0.5
    assistant: str | None = None

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Train the teacher, then whom it teaches.

        Raises:
            UnsupportedError: If the teacher has no ReLU, or the assistant cannot be built for the
                student's images.
        """
        source = spiking_teacher(student, lesson)
        first = lesson.further("the spiking teacher")
        yield from _uncounted(descend(source, first, _from_labels))
        if self.assistant is not None:
            between = built(self.assistant, student)
            again = lesson.further("the assistant")
            yield from _uncounted(self._stage(source, between, again))
            source = between
        yield from self._stage(source, student, lesson)

    def _stage(self, source: Student, learner: Student, lesson: Lesson) -> Iterator[Progress]:
        """Freeze ``source`` and let it teach ``learner``."""
        source.network.eval().requires_grad_(requires_grad=False)

        def forward(stimulus: Tensor, taps: Sequence[str]) -> Output:
            with torch.no_grad():
                shown = source(stimulus).logits
            own = learner(stimulus, taps)
            return Output(logits=own.logits, taps={**own.taps, _SOURCE: shown})

        return descend(learner, lesson, self.loss, forward=forward)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the mixture of labels and of ``D``."""
        from_labels = answer.task.supervised(output.logits.mean(0), labels)
        from_source = self.difference(output.logits, output.taps[_SOURCE])
        return (1 - self.share) * from_labels + self.share * from_source

    def difference(
        self,
        learner: Tensor,  # [T, N, K]
        source: Tensor,  # [T, N, K]
    ) -> Tensor:
        """Return ``D``."""
        steps = len(learner)
        width, stride = {
            "tensor": (1, 1),
            "counts": (steps, 1),
            "soft_counts": (steps, 1),
        }.get(self.form, (self.window, self.stride))
        ours, theirs = (windowed(train, width=width, stride=stride) for train in (learner, source))
        if not self.form.startswith("soft"):
            return mse_loss(ours, theirs)
        count = min(width, steps)
        return softened_kl(
            count * ours.flatten(0, 1), count * theirs.flatten(0, 1), temperature=self.temperature
        )


def spiking_teacher(student: Student, lesson: Lesson) -> Student:
    """Return a copy of the teacher with the student's neurons for its ReLUs, to be trained.

    Raises:
        UnsupportedError: If it has none.
    """
    network = deepcopy(lesson.guide.network)
    relus = [name for name, module in network.named_modules() if type(module) is nn.ReLU]
    if not relus:
        raise UnsupportedError("the teacher has no ReLU that a spiking neuron could stand for")
    for name in relus:
        network.set_submodule(name, student.neuron(student.spec))
    network.to(lesson.device).requires_grad_(requires_grad=True)
    return replace(student, network=network)


def built(model: str, student: Student) -> Student:
    """Return ``model`` with fresh weights and the student's neurons, for the same images.

    Raises:
        UnsupportedError: If the student's topology does not say which images it takes.
        UnknownPluginError: If there is no such model.
    """
    socket = getattr(student.network, "socket", None)
    if socket is None:
        raise UnsupportedError("this topology does not say which images it takes (`socket.shape`)")
    topology = cast(Model, discovery.load("models", model))
    network: Any = topology.build(
        lambda: student.neuron(student.spec),
        input=Image(shape=socket.shape),
        output=Classes(student.classes),
    )
    device = next(student.parameters()).device
    return replace(student, network=network.to(device=device, memory_format=torch.channels_last))


def _from_labels(output: Output, answer: Answer, labels: Tensor) -> Tensor:
    """Return the cross-entropy of the mean logits, in nats."""
    return answer.task.supervised(output.logits.mean(0), labels)


def _uncounted(training: Iterator[Progress]) -> Iterator[Progress]:
    """Yield the progress of a network that is not the student."""
    return (replace(progress, samples=0) for progress in training)


METHOD: Method = DistillingSpikes()
