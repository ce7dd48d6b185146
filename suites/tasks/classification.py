"""One class a sample: images, event recordings, texts."""

from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from harness.contracts.task import MetricSpec, Score, Task
from harness.evaluation.decisions import accuracy_of, decide
from harness.training.losses.classification import ClassLosses


@dataclass(frozen=True)
class Classification(ClassLosses):
    """The class with the largest mean logit; the score is the fraction of right ones."""

    metric: ClassVar = MetricSpec(name="accuracy", title="fraction of samples classed right")
    gives: ClassVar = frozenset({"classes"})

    def decide(
        self,
        logits: NDArray[Any],  # [T, N, K]
        /,
    ) -> NDArray[Any]:
        """Return the class after every step, ``[T, N]``."""
        return decide(logits)

    def score(
        self,
        decisions: NDArray[Any],  # [N]
        targets: NDArray[Any],  # [N]
        _groups: NDArray[Any] | None,
        /,
    ) -> Score:
        """Return the accuracy with Wilson's interval."""
        found = accuracy_of(decisions == targets)
        low, high = found.interval
        return Score(value=found.value, low=low, high=high, units=found.samples)

    def alike(
        self,
        ours: NDArray[Any],  # [N]
        theirs: NDArray[Any],  # [N]
        /,
    ) -> NDArray[Any]:
        """Return of which samples the class is the same."""
        same: NDArray[Any] = ours == theirs
        return same


TASK: Task = Classification()
