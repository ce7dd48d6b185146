"""Follow a polygon through a sequence, being started again after each failure: VOT's measures."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples, Source
from harness.contracts.task import MetricSpec, Score, Task
from harness.evaluation import tracking as measures
from harness.evaluation.tracking import FAILED, SKIPPED, STARTED, TRACKED, Run
from harness.training.losses.boxes import BoxLosses
from suites.tasks._siamese import Follower
from suites.tasks.tracking import ALIKE, frames_of, places_of, sequences


@dataclass(frozen=True)
class TrackingResets(BoxLosses):
    """Where its box shares nothing with the truth, a tracker failed; five frames on it is shown it.

    Decisions are boxes and a state of ``harness.evaluation.tracking``, ``[T, N, 5]``; labels
    are polygons ``[N, 8]``. States are those of the whole answers, by which a tracker is led.
    """

    metric: ClassVar = MetricSpec(
        name="EAO", title="expected average overlap over 100 to 356 frames"
    )
    gives: ClassVar = ("boxes",)

    def drive(
        self, samples: Samples | Source, timesteps: int, /
    ) -> Generator[Tensor, Tensor, NDArray[Any]]:
        """Yield pairs ``[1, 6, S, S]`` in [0, 1]; return boxes and states after every step."""
        frames = frames_of(samples)
        decided = np.zeros((timesteps, len(frames), 5))
        for places in sequences(samples):
            follower, wait = None, 0
            for place in places:
                if wait:
                    decided[:, place, 4], wait = SKIPPED, wait - 1
                    continue
                frame, truth = frames[place], samples.labels[place]
                if follower is None:
                    box = measures.box_of(truth)
                    decided[:, place] = [*box, STARTED]
                    follower = Follower.started(frames, frame, box)
                    continue
                answer = yield follower.looks_at(frame)
                boxes = follower.follow(answer[:, 0].numpy(force=True), frame)
                lost = measures.polygon_overlaps(boxes[-1:], truth[None])[0] <= 0
                decided[:, place, :4] = boxes
                decided[:, place, 4] = FAILED if lost else TRACKED
                if lost:
                    follower, wait = None, measures.SKIPPED_FRAMES - 1
        return decided

    def decide(
        self,
        logits: NDArray[Any],  # [T, N, 5]
        /,
    ) -> NDArray[Any]:
        """Return boxes and states as they are: they were decided while driving."""
        return logits

    def score(
        self,
        decisions: NDArray[Any],  # [N, 5]
        targets: NDArray[Any],  # [N, 8]
        groups: NDArray[Any] | None,  # [N]
        /,
    ) -> Score:
        """Return the expected average overlap; further, accuracy and failures a frame.

        Where no stretch of the sequences is known at any of its lengths, it is 0.
        """
        found = measures.polygon_overlaps(decisions[:, :4], targets)
        states = decisions[:, 4].astype(np.int64)
        runs = [
            Run(overlaps=found[unit], states=states[unit])
            for unit in places_of(len(targets), groups)
        ]
        expected = measures.expected(runs)
        low, high = measures.over_sequences(expected.value, len(runs))
        further = {
            "accuracy": measures.accuracy(runs),
            "failures_per_frame": measures.failures_per_frame(runs),
        }
        return Score(
            value=_known(expected.value()),
            low=_known(low),
            high=_known(high),
            units=len(runs),
            further={name: value for name, value in further.items() if np.isfinite(value)},
        )

    def alike(
        self,
        ours: NDArray[Any],  # [N, 5]
        theirs: NDArray[Any],  # [N, 5]
        /,
    ) -> NDArray[Any]:
        """Return of which frames state and box are the same, boxes where they were tracked."""
        overlapping = measures.overlaps(ours[:, :4], theirs[:, :4]) >= ALIKE
        untracked = ours[:, 4] == SKIPPED
        same: NDArray[Any] = (ours[:, 4] == theirs[:, 4]) & (overlapping | untracked)
        return same


def _known(value: float) -> float:
    return value if np.isfinite(value) else 0.0


TASK: Task = TrackingResets()
