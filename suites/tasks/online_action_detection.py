"""Which action is each frame of a video part of, told as it comes, and which comes next?"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from harness.contracts.task import MetricSpec, Score, Task
from harness.evaluation.detection import mean_average_precision
from harness.training.losses.frames import FrameLosses

RATE_HZ = 4.0


@dataclass(frozen=True)
class OnlineActionDetection(FrameLosses):
    """Mean average precision of the newest frame, over all frames of all videos.

    A network answers the newest frames of a window and ``ahead`` to come; judged are the
    newest and those to come. Class 0 is background and left out; frames without a class, the
    ambiguous ones, are dropped. Intervals resample videos. Further: calibrated precision, and
    precision of what was said each quarter of a second before, alone and on average.
    """

    metric: ClassVar = MetricSpec(name="mAP", title="mean average precision of frames, by class")
    gives: ClassVar = ("frames",)

    def decide(
        self,
        logits: NDArray[Any],  # [T, N, L, K]
        /,
    ) -> NDArray[Any]:
        """Return probabilities after every step, ``[T, N, 1 + ahead, K]``, of the mean logits."""
        return judged(logits, ahead=self.ahead)

    def score(
        self,
        decisions: NDArray[Any],  # [N, 1 + ahead, K]
        targets: NDArray[Any],  # int64 [N, L, M]
        groups: NDArray[Any] | None,
        /,
    ) -> Score:
        """Return the precision of the newest frame."""
        shows = shown(targets[:, -(1 + self.ahead) :], classes=decisions.shape[2])
        videos = np.arange(len(decisions)) if groups is None else groups
        actions = range(1, decisions.shape[2])
        found = mean_average_precision(decisions[:, 0], shows[:, 0], videos, classes=actions)
        calibrated = mean_average_precision(
            decisions[:, 0], shows[:, 0], videos, classes=actions, calibrated=True, resamples=0
        )
        further = {"mcAP": calibrated.value}
        before = self._anticipated(decisions, shows, videos)
        if before:
            further |= before | {"anticipation mAP": sum(before.values()) / len(before)}
        low, high = found.interval
        return Score(value=found.value, low=low, high=high, units=found.videos, further=further)

    def alike(
        self,
        ours: NDArray[Any],  # [N, 1 + ahead, K]
        theirs: NDArray[Any],  # [N, 1 + ahead, K]
        /,
    ) -> NDArray[Any]:
        """Return of which newest frames the likeliest class is the same."""
        same: NDArray[Any] = ours[:, 0].argmax(-1) == theirs[:, 0].argmax(-1)
        return same

    def _anticipated(
        self, decisions: NDArray[Any], shows: NDArray[np.bool_], videos: NDArray[Any]
    ) -> dict[str, float]:
        """Return the precision of what was said so long before, where any such frame is known."""
        actions = range(1, decisions.shape[2])
        return {
            f"mAP {frames / RATE_HZ:.2f} s ahead": mean_average_precision(
                decisions[:, frames], shows[:, frames], videos, classes=actions, resamples=0
            ).value
            for frames in range(1, 1 + self.ahead)
            if shows[:, frames, 1:].any()
        }


def judged(
    logits: NDArray[Any],  # [T, N, L, K]
    /,
    *,
    ahead: int,
) -> NDArray[Any]:
    """Return ``softmax(mean of the logits so far)`` of the newest frame and those ahead."""
    asked = logits[:, :, -(1 + ahead) :]
    steps = np.arange(1, len(asked) + 1).reshape(-1, 1, 1, 1)
    probabilities: NDArray[Any] = softmax(np.cumsum(asked, axis=0) / steps, axis=-1)
    return probabilities


def shown(
    targets: NDArray[np.int64],  # [..., M]: classes, -1 for none
    /,
    *,
    classes: int,
) -> NDArray[np.bool_]:
    """Return whether a frame shows a class, ``[..., K]``."""
    shows = np.zeros((*targets.shape[:-1], classes + 1), dtype=np.bool_)
    np.put_along_axis(shows, targets, values=True, axis=-1)  # -1 is the last, which is no class
    return shows[..., :-1]


TASK: Task = OnlineActionDetection()
