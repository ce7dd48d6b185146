"""Copy the weights of an artificial network of the same topology, then go on training."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend
from harness.training.transfer import copy_weights

CARD = MethodCard(
    title="The teacher's weights as the starting point",
    citation=(
        "AL-Fayyadh, Ali, Abood. Modelling an adaptive learning system using artificial "
        "intelligence. Webology 19(1), 2022, www.webology.org/abstract.php?id=761"
    ),
    loss="reconstructed",
    track="inherited",
    reconstructed=(
        (
            "all but the idea that parameters optimised without spikes go into a network with "
            "them: only the abstract could be read"
        ),
        "weights and running statistics are copied unscaled",
        "training goes on with spikes, on the labels",
    ),
    departures=(
        (
            "code that fits the abstract (github.com/volr/volrpynn) shifts all weights until none "
            "is negative, scales them by 0.065 over the inputs, runs conductance-based neurons and "
            "maps spike counts back by a fitted line; none of that is here: signs would be lost, "
            "and no such neuron is"
        ),
        "the abstract says that learning with spikes could not be shown; here it goes on so",
    ),
    signals=("weights",),
)


@dataclass(frozen=True, kw_only=True)
class WeightTransfer:
    """Transfer of optimised non-spiking parameters into the spiking realisation."""

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Copy, then descend the cross-entropy.

        Raises:
            UnsupportedError: If the teacher has another topology.
        """
        copy_weights(student, lesson.guide)
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return answer.task.supervised(output.logits.mean(0), labels)


METHOD: Method = WeightTransfer()
