"""Which action begins in a second?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.contracts.task import MetricSpec, Score, Task
from harness.evaluation.detection import class_mean_recall
from harness.training.losses.frames import FrameLosses
from suites.tasks.online_action_detection import judged, shown

ONE_SECOND = 4  # frames


@dataclass(frozen=True)
class ActionAnticipation(FrameLosses):
    """Recall among the five likeliest actions, averaged over classes.

    A sample is an action of a video; judged is what is said of its first frame one second
    before. Intervals resample videos.
    """

    metric: ClassVar = MetricSpec(
        name="recall@5", title="class-mean recall among the top five, 1 s ahead"
    )
    gives: ClassVar = ("frames",)

    def decide(
        self,
        logits: NDArray[Any],  # [T, N, L, K]
        /,
    ) -> NDArray[Any]:
        """Return probabilities after every step, ``[T, N, K]``, of one second ahead."""
        return judged(logits, ahead=self.ahead)[:, :, ONE_SECOND]

    def score(
        self,
        decisions: NDArray[Any],  # [N, K]
        targets: NDArray[Any],  # int64 [N, L, M]
        groups: NDArray[Any] | None,
        /,
    ) -> Score:
        """Return the class-mean recall of the action that begins."""
        begun = targets[:, targets.shape[1] - 1 - self.ahead + ONE_SECOND]
        shows = shown(begun, classes=decisions.shape[1])
        videos = np.arange(len(decisions)) if groups is None else groups
        found = class_mean_recall(decisions, shows, videos)
        low, high = found.interval
        return Score(value=found.value, low=low, high=high, units=found.videos)

    def alike(
        self,
        ours: NDArray[Any],  # [N, K]
        theirs: NDArray[Any],  # [N, K]
        /,
    ) -> NDArray[Any]:
        """Return of which samples the likeliest action is the same."""
        same: NDArray[Any] = ours.argmax(-1) == theirs.argmax(-1)
        return same


TASK: Task = ActionAnticipation()
