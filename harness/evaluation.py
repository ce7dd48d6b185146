"""What a trained network answers on samples it has not seen, step by step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harness.contracts.dataset import DatasetCard, Samples
from harness.contracts.suite import Precision
from harness.training.feed import evaluation_batches
from harness.training.lesson import autocast, normalised
from harness.training.student import Student


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision after every step, from one pass.

    The decision at step t is the largest mean logit of steps 1..t; of equals, the first
    class. A network that stays silent therefore answers with its read-out's biases.

    Attributes:
        predictions: int64 ``[T, N]``.
        labels: int64 ``[N]``.
    """

    predictions: NDArray[np.int64]
    labels: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each sample is right after each step, ``[T, N]``."""
        right: NDArray[np.bool_] = self.predictions == self.labels
        return right

    @property
    def accuracy_by_step(self) -> list[float]:
        """Fraction right after each step."""
        return [float(step.sum()) / len(self.labels) for step in self.correct]

    @property
    def accuracy(self) -> float:
        """Fraction right after the last step."""
        return self.accuracy_by_step[-1]

    @property
    def mean_steps_to_decide(self) -> float:
        """Mean over samples of the first step after which the decision no longer changes."""
        unlike_last = self.predictions != self.predictions[-1]
        steps = np.arange(1, len(unlike_last) + 1)[:, None]
        return float(((unlike_last * steps).max(axis=0) + 1).mean())


def evaluate(
    student: Student,
    samples: Samples,
    card: DatasetCard,
    device: torch.device,
    precision: Precision,
    *,
    batch_size: int = 256,
    normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Verdict:
    """Return what ``student`` decides on ``samples``, each seen once, unaugmented.

    ``normalisation`` is ``(mean, std)`` where it is not the data set's own.
    """
    mean, std = normalisation or (card.mean, card.std)
    student.network.eval()
    predictions = []
    for images, _ in evaluation_batches(samples, batch_size, device):
        with torch.no_grad(), autocast(device, precision):
            logits = student(normalised(images, mean, std)).logits
        # Sums order like means, and adding steps one by one is exact to the last step.
        predictions.append(logits.cumsum(0).argmax(-1).cpu().numpy())
    return Verdict(predictions=np.concatenate(predictions, axis=1), labels=samples.labels)
