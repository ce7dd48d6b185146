"""What a trained network answers on samples it has not seen, step by step."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples, Source
from harness.contracts.recipe import Precision
from harness.contracts.task import Driven, Score, Task
from harness.data.encoding import Presentation
from harness.data.streaming import unaugmented
from harness.evaluation.decisions import OverTime, over_time
from harness.training.lesson import autocast
from harness.training.student import Student


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a network answered, from one pass, and the decisions that follow.

    Attributes:
        task: What it was asked.
        logits: float32 ``[T, N, ...]``, of each step by itself; of a task that is ``Driven``,
            the decisions.
        labels: The task's targets, ``[N, ...]``.
        groups: The independent unit of each sample, ``[N]``; None if each is its own.
    """

    task: Task
    logits: NDArray[Any]
    labels: NDArray[Any]
    groups: NDArray[np.int64] | None = None

    @cached_property
    def predictions(self) -> NDArray[Any]:
        """The decision after each step, ``[T, N, ...]``."""
        return self.logits if isinstance(self.task, Driven) else self.task.decide(self.logits)

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """How right the decisions after each step are, ``[T]``."""
        return tuple(self.task.score(now, self.labels, self.groups) for now in self.predictions)

    @property
    def score(self) -> Score:
        """Of the decisions after the last step."""
        return self.scores[-1]

    @cached_property
    def over_time(self) -> OverTime:
        """How decisions for a class develop."""
        return over_time(self.predictions, self.labels)

    @property
    def projections(self) -> tuple[float, ...]:
        """Of the logits of each step, ``[T]``."""
        return tuple(projected(step) for step in self.logits)


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
    task: Task,
    batch_size: int = 256,
) -> Verdict:
    """Return what ``student`` answers on ``samples``, each seen once, unaugmented."""
    asking = Asking(
        task=task,
        samples=samples,
        timesteps=student.timesteps,
        presentation=presentation,
        device=device,
        precision=precision,
    )
    student.network.eval()
    for stimulus in asking.stimuli(batch_size):
        with torch.no_grad(), autocast(device, precision):
            asking.take(student(stimulus).logits)
    return asking.verdict()


@dataclass(kw_only=True)
class Asking:
    """All that a task asks of a network, stimulus by stimulus, and what it answered.

    Every stimulus is answered, by ``take``, before the next is asked for.

    Attributes:
        task: Asks.
        samples: What about.
        timesteps: Of the network.
        presentation: How samples are shown.
        device: Where stimuli shall be.
        precision: Of stimuli.
    """

    task: Task
    samples: Samples | Source
    timesteps: int
    presentation: Presentation
    device: torch.device
    precision: Precision
    _answers: list[Tensor] = field(default_factory=list)
    _decisions: NDArray[Any] | None = None

    def stimuli(self, batch_size: int) -> Iterator[Tensor]:
        """Yield them as the network sees them."""
        stimulus_of = self.presentation.begin("evaluation")
        if isinstance(self.task, Driven):
            yield from map(stimulus_of, self._driven(self.task))
            return
        for images, _ in unaugmented(self.samples, batch_size, self.device, self.precision):
            yield stimulus_of(images)

    def _driven(self, task: Driven) -> Iterator[Tensor]:
        asked = task.drive(self.samples, self.timesteps)
        try:
            stimulus = next(asked)
            while True:
                yield stimulus.to(self.device)
                stimulus = asked.send(self._answers.pop())
        except StopIteration as done:
            self._decisions = done.value

    def take(
        self,
        answer: Tensor,  # [T, n, ...]
        /,
    ) -> None:
        """Note the answer to the last stimulus."""
        self._answers.append(answer.cpu())

    def verdict(self) -> Verdict:
        """Return what follows from all answers."""
        logits = self._decisions
        if logits is None:
            logits = np.concatenate([each.numpy(force=True) for each in self._answers], axis=1)
        groups = self.samples.groups if isinstance(self.samples, Samples) else None
        return Verdict(task=self.task, logits=logits, labels=self.samples.labels, groups=groups)
