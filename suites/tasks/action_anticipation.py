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
        shows = begun(targets, ahead=self.ahead, classes=decisions.shape[1])
        videos = np.arange(len(decisions)) if groups is None else groups
        return self.of_actions(decisions, shows, videos)

    def of_actions(
        self,
        decisions: NDArray[Any],  # [N, K]
        shows: NDArray[np.bool_],  # [N, K]
        videos: NDArray[Any],  # [N]
    ) -> Score:
        """Return the class-mean recall of what ``shows`` says."""
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


def begun(
    targets: NDArray[np.int64],  # [N, L, M]: classes, -1 for none
    /,
    *,
    ahead: int,
    classes: int,
) -> NDArray[np.bool_]:
    """Return which actions begin one second after the newest frame, ``[N, K]``."""
    return shown(targets[:, targets.shape[1] - 1 - ahead + ONE_SECOND], classes=classes)


TASK: Task = ActionAnticipation()
