"""Learn from the labels alone, with currents normalised to the threshold."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from harness.contracts.method import Claim, Method, MethodCard, Progress
from harness.contracts.model import Output
from harness.training import Answer, Lesson, Student, descend
from harness.training.tdbn import norm_by_threshold

CARD = MethodCard(
    title="Direct training with threshold-dependent batch norm; no teacher",
    citation=(
        "Zheng, Wu, Deng, Hu, Li. Going deeper with directly-trained larger spiking neural "
        "networks. AAAI 2021, arXiv 2011.05280"
    ),
    loss="reconstructed",
    setting="ours",
    reconstructed=(
        (
            "that shortcuts which are identities get a norm too: the abstract speaks of an "
            "elaborated shortcut and the body could not be read here; a re-implementation "
            "(github.com/nguyenhongson1902/direct-training-snn) gives one to projections alone, as "
            "every_shortcut=False does"
        ),
    ),
    claims=(
        Claim(
            accuracy=0.9315,
            dataset="cifar10",
            architecture="a deep residual network",
            timesteps=None,
            where="abstract",
            url="https://arxiv.org/abs/2011.05280",
        ),
        Claim(
            accuracy=0.678,
            dataset="cifar10_dvs",
            architecture="a deep residual network",
            timesteps=None,
            where="abstract",
            url="https://arxiv.org/abs/2011.05280",
        ),
        Claim(
            accuracy=0.6705,
            dataset="imagenet",
            architecture="a deep residual network",
            timesteps=None,
            where="abstract",
            url="https://arxiv.org/abs/2011.05280",
        ),
    ),
    signals=(),
    uses_teacher=False,
    departures=(
        (
            "the neuron is the suite's. Theirs keeps a quarter or a half of its membrane a step, "
            "fires above its threshold and resets to zero, with a rectangle for a surrogate"
        ),
        (
            "where one norm stands before every neuron and the threshold is 1 there is nothing to "
            "change: in a network without residual sums this is `direct`, to the last bit"
        ),
        (
            "alpha v_threshold is where a norm's weight starts, not a factor beside it: the same "
            "function, but the weights of residual sums learn twice as fast at a threshold of 1"
        ),
        "a norm of a shortcut's spikes folds into no weights, and its products are charged",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Tdbn:
    """Cross-entropy of the mean logits; every neuron's current starts as large as its threshold.

    Attributes:
        every_shortcut: Whether shortcuts that are identities get a norm too.
    """

    every_shortcut: bool = True

    def realise(self, student: Student, /) -> None:
        """Start the norms anew.

        Raises:
            UnsupportedError: If there is no norm, or neurons see sums that no norm has made.
        """
        norm_by_threshold(student, every_shortcut=self.every_shortcut)

    def fit(self, student: Student, lesson: Lesson, /) -> Iterator[Progress]:
        """Descend the cross-entropy."""
        return descend(student, lesson, self.loss)

    def loss(self, output: Output, answer: Answer, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the mean logits, in nats."""
        return answer.task.supervised(output.logits.mean(0), labels)


METHOD: Method = Tdbn()
