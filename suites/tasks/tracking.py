"""Follow a box through a sequence, in one pass: OTB's success."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples, Source
from harness.contracts.errors import SpecError
from harness.contracts.task import MetricSpec, Score, Task
from harness.data.frames import Frames
from harness.evaluation import tracking as measures
from harness.training.losses.boxes import BoxLosses
from suites.tasks._siamese import Follower

ALIKE = 0.9  # of two boxes' overlap, from which on they say the same


@dataclass(frozen=True)
class Tracking(BoxLosses):
    """A network is asked about one frame after the other, in a search around its last box.

    It is shown a sequence's first box. Decisions are boxes, left, top, width and height in
    pixels of the frame, ``[T, N, 4]``; labels likewise, ``[N, 4]``.
    """

    metric: ClassVar = MetricSpec(name="success", title="area under the success curve, in one pass")
    gives: ClassVar = ("boxes",)

    def drive(
        self, samples: Samples | Source, timesteps: int, /
    ) -> Generator[Tensor, Tensor, NDArray[Any]]:
        """Yield pairs ``[1, 6, S, S]`` in [0, 1]; return the boxes after every step."""
        frames = frames_of(samples)
        decided = np.zeros((timesteps, len(frames), 4))
        for places in sequences(samples):
            follower = None
            for place in places:
                frame = frames[place]
                if follower is None:
                    decided[:, place] = samples.labels[place]
                    follower = Follower.started(frames, frame, samples.labels[place])
                    continue
                answer = yield follower.looks_at(frame)
                decided[:, place] = follower.follow(answer[:, 0].numpy(force=True), frame)
        return decided

    def decide(
        self,
        logits: NDArray[Any],  # [T, N, 4]
        /,
    ) -> NDArray[Any]:
        """Return the boxes as they are: they were decided while the sequence was driven."""
        return logits

    def score(
        self,
        decisions: NDArray[Any],  # [N, 4]
        targets: NDArray[Any],  # [N, 4]
        groups: NDArray[Any] | None,  # [N]
        /,
    ) -> Score:
        """Return the success, averaged over sequences; further, the precision at 20 pixels."""
        found = measures.overlaps(decisions, targets)
        errors = measures.centre_errors_px(decisions, targets)
        units = places_of(len(targets), groups)
        success = np.array([measures.success(found[unit]) for unit in units])
        precision = np.array([measures.precision(errors[unit]) for unit in units])
        low, high = measures.over_sequences(_mean_of(success), len(units))
        return Score(
            value=float(success.mean()),
            low=low,
            high=high,
            units=len(units),
            further={
                "precision_20px": float(precision.mean()),
                "overlap": float(np.mean([found[unit].mean() for unit in units])),
            },
        )

    def alike(
        self,
        ours: NDArray[Any],  # [N, 4]
        theirs: NDArray[Any],  # [N, 4]
        /,
    ) -> NDArray[Any]:
        """Return of which frames two boxes overlap by ``ALIKE`` or more."""
        same: NDArray[Any] = measures.overlaps(ours, theirs) >= ALIKE
        return same


def frames_of(samples: Samples | Source, /) -> Frames:
    """Return the frames of sequences.

    Raises:
        SpecError: If these samples are none.
    """
    if not isinstance(samples, Samples) or not isinstance(samples.inputs, Frames):
        raise SpecError(
            "a tracker is driven through the frames of sequences, and got other samples"
        )
    return samples.inputs


def sequences(samples: Samples | Source, /) -> list[NDArray[np.int64]]:
    """Return where the frames of each sequence are."""
    groups = samples.groups if isinstance(samples, Samples) else None
    return places_of(len(samples), groups)


def places_of(samples: int, groups: NDArray[Any] | None, /) -> list[NDArray[np.int64]]:
    """Return the places of each unit, one unit if nobody tells them apart."""
    if groups is None:
        return [np.arange(samples)]
    return [np.flatnonzero(groups == unit) for unit in np.unique(groups)]


def _mean_of(values: NDArray[np.float64]) -> Callable[[NDArray[np.int64]], float]:
    return lambda places: float(values[places].mean())


TASK: Task = Tracking()
