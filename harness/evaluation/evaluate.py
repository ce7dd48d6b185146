"""What a trained network answers on samples it has not seen, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples, Source
from harness.contracts.recipe import Precision
from harness.data.encoding import Presentation
from harness.data.streaming import unaugmented
from harness.evaluation.decisions import Accuracy, OverTime, decide, over_time
from harness.training.lesson import autocast
from harness.training.student import Student


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a network answered, from one pass, and the decisions that follow.

    Attributes:
        logits: float32 ``[T, N, K]``, of each step by itself.
        labels: int64 ``[N]``.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """The decision after each step, int64 ``[T, N]``."""
        return decide(self.logits)

    @cached_property
    def over_time(self) -> OverTime:
        """How the decisions develop."""
        return over_time(self.predictions, self.labels)

    @property
    def projections(self) -> tuple[float, ...]:
        """Of the logits of each step, ``[T]``."""
        return tuple(projected(step) for step in self.logits)

    @property
    def accuracy(self) -> Accuracy:
        """Of the decisions after the last step."""
        return self.over_time.accuracy[-1]


def projected(values: NDArray[Any], /) -> float:
    """Return one number that tells ``values`` from others: their product with a wave."""
    flat = values.ravel().astype(np.float64)
    return float(flat @ np.cos(np.arange(len(flat), dtype=np.float64)))


def evaluate(
    student: Student,
    samples: Samples | Source,
    presentation: Presentation,
    device: torch.device,
    precision: Precision,
    *,
    batch_size: int = 256,
) -> Verdict:
    """Return what ``student`` answers on ``samples``, each seen once, unaugmented."""
    stimulus_of = presentation.begin("evaluation")
    student.network.eval()
    answers = []
    for images, _ in unaugmented(samples, batch_size, device, precision):
        with torch.no_grad(), autocast(device, precision):
            logits = student(stimulus_of(images)).logits
        answers.append(logits.cpu())
    return verdict_of(answers, samples)


def verdict_of(answers: Sequence[Tensor], samples: Samples | Source, /) -> Verdict:
    """Return the verdict that follows from the logits ``[T, n, K]`` of all batches, in order."""
    logits = np.concatenate([each.numpy(force=True) for each in answers], axis=1)
    return Verdict(logits=logits, labels=samples.labels)
