"""Copy the weights of an artificial network of the same topology, then go on training."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from harness.contracts.method import Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend
from harness.training.transfer import copy_weights

CARD = MethodCard(
    title="The teacher's weights as the starting point",
    citation="Pedersen et al. A domain-specific language for neural topologies. Webology 2021",
    fidelity="reconstructed",
    reconstructed=("weights are copied unscaled", "training goes on with spikes, on the labels"),
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

    def loss(self, output: Output, _answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return cross_entropy(output.logits.mean(0), labels)


METHOD: Method = WeightTransfer()
