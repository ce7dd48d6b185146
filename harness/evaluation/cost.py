"""What one trained student costs: operations, wall clock, early exits."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.contracts.dataset import Samples, Source
from harness.contracts.ledger import Ledger
from harness.contracts.recipe import Precision
from harness.contracts.row import EarlyExit
from harness.contracts.task import Driven, Task
from harness.data.encoding import Presentation
from harness.data.windows import Windows
from harness.evaluation.decisions import first_spikes
from harness.evaluation.early_exit import ALLOWED_DROPS, Exits, Rule, apply, fit_thresholds, spent
from harness.evaluation.evaluate import Asking, Verdict
from harness.evaluation.online import Streaming, Watched, video, watch
from harness.meter import measure
from harness.training.lesson import autocast, computing
from harness.training.student import AT_ONCE, Student

_BATCHES = (64, 256)
_METERED_BATCH = 256
_FRAMES_WATCHED = 64


@dataclass(frozen=True)
class Running:
    """A trained student on the samples that its cost is measured on.

    Attributes:
        student: In evaluation mode from here on.
        samples: All of them are metered.
        presentation: How they are shown.
        device: Where the student is.
        precision: Of its forward passes.
        task: What it is asked about them.
    """

    student: Student
    samples: Samples | Source
    presentation: Presentation
    device: torch.device
    precision: Precision
    task: Task

    def answer(self, stimulus: Tensor) -> Tensor:
        """Return the logits ``[T, N, K]``."""
        self.student.network.eval()
        with torch.no_grad(), autocast(self.device, self.precision):
            return self.student(stimulus).logits

    def _asking(self) -> Asking:
        return Asking(
            task=self.task,
            samples=self.samples,
            timesteps=self.student.timesteps,
            presentation=self.presentation,
            device=self.device,
            precision=self.precision,
        )

    def judged(self) -> tuple[Verdict, Ledger]:
        """Return what the student answers on all samples and what the meter counts meanwhile.

        The meter changes no answer, so that one pass gives both.
        """
        self.student.network.eval()
        events = isinstance(self.samples, Samples) and self.samples.are_frames
        frames = events or self.presentation.encoder is not None
        asking = self._asking()

        def answer(stimulus: Tensor) -> Tensor:
            answered = self.answer(stimulus)
            asking.take(answered)
            return answered

        ledger = measure(
            self.student.network,
            # Whole in time, as the meter wants it, and yet in bounded memory.
            asking.stimuli(max(1, min(_METERED_BATCH, AT_ONCE // self.student.timesteps))),
            batch_axis=1 if frames else 0,
            time_axis=0 if frames else None,
            call=answer,
        )
        return asking.verdict(), ledger

    @cached_property
    def watched(self) -> Watched | None:
        """A test video, frame by frame, if the student can be shown one so."""
        samples, network = self.samples, self.student.network
        if not (isinstance(samples, Samples) and isinstance(samples.inputs, Windows)):
            return None
        if not isinstance(network, Streaming):
            return None
        frames, _ = video(samples, 0)
        with computing(self.precision), autocast(self.device, self.precision):
            return watch(self.student, frames[:_FRAMES_WATCHED], chunk=1)

    def speed(self) -> dict[str, Any]:
        """Return the columns about wall clock and size; batch of one and best batch apart."""
        times = self._times(self._first(1))
        low, median, high = np.percentile([1e3 * each for each in times], [25, 50, 75])
        fitting = [size for size in _BATCHES if size <= len(self.samples)]
        # A task that waits for the last answer has no larger batch.
        sizes = [1] if isinstance(self.task, Driven) else fitting or [1]
        best = max(size / float(np.median(self._times(self._first(size)))) for size in sizes)
        online = {} if self.watched is None else _by_frame(self.watched.latency_ms)
        return {
            **online,
            "parameter_count": sum(weight.numel() for weight in self.student.parameters()),
            "latency_ms_b1": float(median),
            "latency_ms_b1_iqr": float(high - low),
            "throughput_sps": best,
        }

    def _first(self, batch_size: int) -> Tensor:
        """Return the first stimulus of so many samples."""
        return next(self._asking().stimuli(batch_size))

    def _times(self, stimulus: Tensor) -> list[float]:
        """Return the seconds of as many passes as are worth their time, after a warm-up."""
        self._seconds(stimulus)
        times: list[float] = []
        while is_worth_one_more(times):
            times.append(self._seconds(stimulus))
        return times

    def _seconds(self, stimulus: Tensor) -> float:
        begun = time.perf_counter()
        self.answer(stimulus)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begun


def _by_frame(latency_ms: NDArray[np.float64]) -> dict[str, float]:
    low, median, high = np.percentile(latency_ms, [25, 50, 75])
    return {"latency_ms_frame": float(median), "latency_ms_frame_iqr": float(high - low)}


def is_worth_one_more(times: Sequence[float], /) -> bool:
    """Return whether another pass says more, after passes of so many seconds.

    Short ones are repeated for 0.02 s, 30 times at most; three are taken in any case, but of
    such as take a second together with those before, no other.
    """
    spent_s = sum(times)
    return spent_s < (1.0 if len(times) < 3 else 0.02) and len(times) < 30


def early_exits(validation: Verdict, test: Verdict, ledger: Ledger, /) -> dict[str, Any]:
    """Return the columns about leaving early and about the first spike.

    Thresholds are fitted on ``validation`` alone, one for each loss of accuracy that is
    allowed there, in percentage points; what they bring is read off ``test``, whose ledger
    this is. ``early_exit`` has one by rule and allowed loss.
    """
    first = first_spikes(ledger)
    exits: dict[str, dict[str, EarlyExit]] = {}
    for rule in get_args(Rule) if len(test.logits) > 1 else ():
        fitted = fit_thresholds(validation.logits, validation.labels, rule=rule)
        exits[rule] = {
            f"{drop:g}": _exit(
                apply(rule, fitted.cheapest(drop).threshold, test.logits, test.labels), ledger
            )
            for drop in ALLOWED_DROPS
        }
    return {
        "first_spike_steps": first.mean_steps,
        "silent_samples": first.silent,
        "early_exit": exits,
    }


def _exit(exits: Exits, ledger: Ledger) -> EarlyExit:
    return EarlyExit(
        threshold=exits.threshold,
        correct=exits.accuracy.correct,
        samples=exits.accuracy.samples,
        steps=int(exits.steps.sum()),
        spent={str(encode): counts for encode, counts in spent(ledger, exits.steps).items()},
    )
