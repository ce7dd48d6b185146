"""One spike a neuron at most, whose time is what the teacher's ReLU says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from harness.contracts.errors import UnsupportedError
from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output, style_of
from harness.training import Answer, Lesson, Student, descend, put_in_slots
from harness.training.checkpoint import Buffers
from harness.training.first_spike import (
    FROM_SCRATCH,
    FirstSpike,
    first_spike_layers,
    largest,
    set_windows,
    windows,
)

CARD = MethodCard(
    title="Exact mapping of the teacher to first-spike times, fine-tuned as spikes",
    citation=(
        "Stanojevic, Wozniak, Bellec, Cherubini, Pantazi, Gerstner. High-performance deep "
        "spiking neural networks with 0.3 spikes per neuron. Nat. Commun. 15:6793, 2024, doi "
        "10.1038/s41467-024-51110-5; code: github.com/IBM/equivalent-training-ReLUnetwork-SNN"
    ),
    loss="exact",
    track="continuous",
    signals=("weights",),
    departures=(
        "first-spike neurons are our own module, on no simulator: all backends run the same",
        "stimuli are currents and not spike times: by linearity the same, and charged products",
        "norms learn, then stand as the affine map that the authors fuse first: the same keys",
        "the suite's optimiser and budget, where the authors fine-tune at a rate of 1e-6",
        (
            "windows begin with the largest activation of the first batch, the authors' with that "
            "of all training images; like all that windows do it changes no answer"
        ),
        "after the last epoch windows are closed to (1 + zeta) X: their rule leaves them 10 X",
        (
            "nothing rewards silence: the authors reach less than 0.3 spikes a neuron from ReLU "
            "networks that were trained with an L1 penalty on activity, which our teachers are "
            "not, so more of these neurons spike than theirs"
        ),
        (
            "times are continuous, and the answer is there after all windows: that it stands "
            "beside T = 1 in the tables says nothing of its latency"
        ),
        "shortcuts delay spikes by the windows between: the authors' networks have none",
        "the authors' released convolution does not run; ours is their formula",
    ),
)

_HANDS_CURRENTS_ON = (
    "hands currents on from block to block, and only spikes travel between these neurons"
)
_ADDS_OTHER_THINGS = {
    "sew": "adds up what two layers say, and the sum of two spikes' times is no spike's time",
    "ms": _HANDS_CURRENTS_ON,
    "preactivation": _HANDS_CURRENTS_ON,
}


@dataclass(frozen=True, kw_only=True)
class Ttfs:
    """Cross-entropy of a network of ``FirstSpike`` neurons, which starts as its teacher.

    The B1 model with the identity mapping (section 5.2 there: ``t = t_max - (J x + D)``)
    is ReLU exactly, gradient included, so that descent takes the path ReLU's would. A
    teacher of another topology is no start, and the student keeps its own.

    Windows are ``(1 + zeta) X`` long, ``X`` the largest activation of a layer: of the
    first batch at first, then ``max(window, gamma x)`` after each batch whose largest is
    ``x``, and of the last epoch at the end. None of that changes what the network says.

    There are no timesteps: it is asked for with T = 1, where a frame of events is an
    image like any other.

    Attributes:
        zeta: What a window is longer than the largest activation, relatively.
        gamma: How many times the largest activation a window is at least while it learns.
    """

    zeta: NonNegativeFloat = 0.5
    gamma: NonNegativeFloat = 10.0

    def realise(self, student: Student, /) -> None:
        """Put first-spike neurons into every slot.

        Raises:
            UnsupportedError: If there are timesteps, or shortcuts that carry no spikes.
        """
        if student.timesteps != 1:
            raise UnsupportedError(
                "first-spike times are continuous and there are no timesteps to repeat; "
                f"ask for T = 1, not {student.timesteps}"
            )
        style = style_of(student.network)
        if style in _ADDS_OTHER_THINGS:
            raise UnsupportedError(f"the network's style {style!r} {_ADDS_OTHER_THINGS[style]}")
        put_in_slots(student, FirstSpike)
        layers = first_spike_layers(student.network)
        unknown = torch.full_like(windows(layers), FROM_SCRATCH)
        set_windows(layers, (1 + self.zeta) * unknown)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy the teacher if it fits, then descend; windows follow the activations."""
        ours, theirs = student.network.state_dict(), lesson.guide.network.state_dict()
        if _fits(ours, theirs):
            # Windows are the only thing that a teacher cannot have.
            student.network.load_state_dict(theirs, strict=False)
        return self._descend(student, lesson)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the membranes of the last layer, in nats."""
        return answer.task.supervised(output.logits.mean(0), labels)

    def _descend(self, student: Student, lesson: Lesson) -> Iterator[Progress]:
        layers = first_spike_layers(student.network)
        last_epoch = lesson.steps - lesson.steps // max(1, lesson.recipe.epochs)
        found = torch.zeros_like(windows(layers))
        for progress in descend(
            student,
            lesson,
            self.loss,
            eager="windows move by what each step has seen",
            also_train=[Buffers(found)],
        ):
            seen = largest(layers)
            if lesson.step > last_epoch:
                torch.maximum(found, seen, out=found)
            if lesson.step == lesson.steps:
                set_windows(layers, (1 + self.zeta) * found)
            elif lesson.step == 1:
                set_windows(layers, (1 + self.zeta) * seen)
            else:
                set_windows(layers, torch.maximum(windows(layers), self.gamma * seen))
            yield progress


def _fits(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return all(name in ours and ours[name].shape == value.shape for name, value in theirs.items())


METHOD: Method = Ttfs()
