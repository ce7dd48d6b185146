"""What one trained student costs: operations, energy, wall clock."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from harness.contracts.dataset import Samples, Source
from harness.contracts.ledger import CATEGORIES, Layer, Measurement
from harness.contracts.suite import Precision
from harness.data.encoding import Presentation
from harness.data.streaming import unaugmented
from harness.energy import panel
from harness.evaluation.anytime import (
    ExitPoint,
    Rule,
    apply,
    first_spikes,
    fit_thresholds,
    model_energy_by_step,
    output_spikes,
)
from harness.evaluation.evaluate import Verdict
from harness.meter import measure
from harness.training.lesson import autocast
from harness.training.student import Student

_WARM_UP, _TIMED, _TIMED_BATCHES = 5, 30, 3
_BATCHES = (64, 256)
_METERED_BATCH = 256
_HEADLINE = "horowitz_45nm_fp32"
_EXIT_PRICES = f"{_HEADLINE}:cached"


@dataclass(frozen=True)
class Running:
    """A trained student on the samples that its cost is measured on.

    Attributes:
        student: In evaluation mode from here on.
        samples: All of them are metered.
        presentation: How they are shown.
        device: Where the student is.
        precision: Of its forward passes.
    """

    student: Student
    samples: Samples | Source
    presentation: Presentation
    device: torch.device
    precision: Precision

    def answer(self, stimulus: Tensor) -> Tensor:
        """Return the logits ``[T, N, K]``."""
        self.student.network.eval()
        with torch.no_grad(), autocast(self.device, self.precision):
            return self.student(stimulus).logits

    def stimuli(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all samples as the student sees them, the same at every call."""
        stimulus_of = self.presentation.begin("evaluation")
        for images, _ in unaugmented(self.samples, batch_size, self.device, self.precision):
            yield stimulus_of(images)

    def counted(self) -> Measurement:
        """Return what the meter counts on all samples."""
        self.student.network.eval()
        events = isinstance(self.samples, Samples) and self.samples.are_frames
        frames = events or self.presentation.encoder is not None
        return measure(
            self.student.network,
            self.stimuli(_METERED_BATCH),
            batch_axis=1 if frames else 0,
            time_axis=0 if frames else None,
            call=self.answer,
        )

    def speed(self) -> dict[str, Any]:
        """Return the columns about wall clock and size; batch of one and best batch apart."""
        times = self._times(next(self.stimuli(1)), _TIMED)
        low, median, high = np.percentile([1e3 * each for each in times], [25, 50, 75])
        best = max(
            size / float(np.median(self._times(next(self.stimuli(size)), _TIMED_BATCHES)))
            for size in _BATCHES
            if size <= len(self.samples)
        )
        return {
            "parameter_count": sum(weight.numel() for weight in self.student.parameters()),
            "latency_ms_b1": float(median),
            "latency_ms_b1_iqr": float(high - low),
            "throughput_sps": best,
        }

    def _times(self, stimulus: Tensor, count: int) -> list[float]:
        """Return the seconds of ``count`` passes, after a warm-up."""
        return [self._seconds(stimulus) for _ in range(_WARM_UP + count)][_WARM_UP:]

    def _seconds(self, stimulus: Tensor) -> float:
        begun = time.perf_counter()
        self.answer(stimulus)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begun


def operations(counted: Measurement, /) -> dict[str, Any]:
    """Return the columns about spikes and operations, of one sample, as they ran."""
    total = counted.total
    places = sum(layer.neurons * layer.steps for layer in counted.layers.values())
    dense = [layer.dense_valid // layer.steps for layer in counted.layers.values()]
    return {
        "spikes_per_sample": total.spikes / counted.samples,
        "firing_rate": total.spikes / (places * counted.samples) if places else None,
        "macs_per_sample": total.mac / counted.samples,
        "acs_per_sample": total.ac / counted.samples,
        "dense_macs": sum(dense) // counted.samples,
        "coverage": counted.coverage,
        "layers": {name: _layer(layer, counted.samples) for name, layer in counted.layers.items()},
    }


def _layer(layer: Layer, samples: int) -> dict[str, Any]:
    """Return what a layer is and did, a sample; what it did not do is left out."""
    did: dict[str, float] = {
        name: getattr(layer, name) / samples for name in CATEGORIES if getattr(layer, name)
    }
    rate = {"firing_rate": layer.rate()} if layer.neurons else {}
    return {"kind": layer.kind, "operand": layer.operand, "steps": layer.steps, **rate, **did}


def ledger_summary(counted: Measurement, /) -> dict[str, Any]:
    """Return the plain integers of a measurement, as ``harness.energy`` takes them."""
    return {
        "samples": counted.samples,
        "timesteps": counted.steps,
        "layers": {
            name: {
                "steps": layer.steps,
                "operand": layer.operand,
                **{category: getattr(layer, category) for category in CATEGORIES},
            }
            for name, layer in counted.layers.items()
        },
    }


def energies(counted: Measurement, artificial: Mapping[str, Any] | None, /) -> dict[str, Any]:
    """Return the columns about energy; None where a model cannot price the whole network.

    ``artificial`` is the ``ledger_summary`` of the same topology with ReLU, if known.
    Assumptions are those of the model that headlines quote.
    """
    lines = panel(counted, artificial=artificial).lines
    return {
        "energy_pj": {name: line.bill.total_pj for name, line in lines.items()},
        "energy_ratio_ann": {name: line.ratio["dense"] for name, line in lines.items()},
        "energy_ratio_effective": {name: line.ratio["effective"] for name, line in lines.items()},
        "energy_ratio_twin": {name: line.ratio["twin"] for name, line in lines.items()},
        "energy_assumptions": tuple(
            f"{name}: {assumption}"
            for name, line in lines.items()
            if name.startswith(_HEADLINE)
            for assumption in line.bill.assumptions
        ),
    }


def early_exits(validation: Verdict, test: Verdict, counted: Measurement, /) -> dict[str, Any]:
    """Return the columns about leaving early and about the first spike.

    Thresholds are fitted on ``validation`` alone, one for each loss of accuracy that is
    allowed there, in percentage points; what they bring is read off ``test``.
    """
    first = first_spikes(output_spikes(counted))
    costs = model_energy_by_step(counted, _EXIT_PRICES).cumsum(axis=1)
    exits: dict[str, dict[str, Any]] = {}
    for rule in get_args(Rule) if len(test.logits) > 1 else ():
        fitted = fit_thresholds(validation.logits, validation.labels, rule=rule)
        exits[rule] = {
            f"{drop:g}": _exit(
                apply(rule, point.threshold, test.logits, test.labels, cumulative_costs=costs).point
            )
            for drop, point in fitted.chosen.items()
        }
    return {
        "first_spike_steps": first.mean_steps,
        "silent_samples": first.silent,
        "early_exit": exits,
    }


def _exit(point: ExitPoint) -> dict[str, float | None]:
    low, high = point.accuracy.interval
    return {
        "threshold": point.threshold,
        "accuracy": point.accuracy.value,
        "accuracy_low": low,
        "accuracy_high": high,
        "mean_steps": point.mean_steps,
        "mean_energy_pj": point.mean_cost,
    }
