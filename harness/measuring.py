"""What one trained student costs: operations, energy, wall clock."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.contracts.dataset import DatasetCard, Samples
from harness.contracts.ledger import CATEGORIES, Layer, Measurement
from harness.contracts.suite import Precision
from harness.energy import panel
from harness.meter import measure
from harness.training.feed import evaluation_batches
from harness.training.lesson import autocast, normalised
from harness.training.student import Student

_WARM_UP, _TIMED = 5, 30
_BATCHES = (64, 256)
_METERED_BATCH = 256
_HEADLINE = "horowitz_45nm_fp32"


def measured(
    student: Student,
    samples: Samples,
    card: DatasetCard,
    device: torch.device,
    precision: Precision,
) -> dict[str, Any]:
    """Return the columns about cost, from the whole of ``samples``."""
    student.network.eval()

    def answer(stimulus: Tensor) -> Tensor:
        with torch.no_grad(), autocast(device, precision):
            return student(stimulus).logits

    def stimuli(batch_size: int) -> Iterator[Tensor]:
        for images, _ in evaluation_batches(samples, batch_size, device):
            yield normalised(images, card.mean, card.std)

    counted = measure(student.network, stimuli(_METERED_BATCH), call=answer)
    return {
        "parameter_count": sum(weight.numel() for weight in student.parameters()),
        **operations(counted),
        **energies(counted),
        **_latency(answer, next(stimuli(1)), device),
        "throughput_sps": max(
            _throughput_sps(answer, next(stimuli(size)), device) for size in _BATCHES
        ),
    }


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


def energies(counted: Measurement, /) -> dict[str, Any]:
    """Return the columns about energy; None where a model cannot price the whole network.

    Assumptions are those of the models that headlines quote; ``docs/energy.md`` has all.
    """
    lines = panel(counted).lines
    return {
        "energy_pj": {name: line.bill.total_pj for name, line in lines.items()},
        "energy_ratio_ann": {name: line.ratio["dense"] for name, line in lines.items()},
        "energy_assumptions": tuple(
            f"{name}: {assumption}"
            for name, line in lines.items()
            if name.startswith(_HEADLINE)
            for assumption in line.bill.assumptions
        ),
    }


def _seconds(answer: Callable[[Tensor], Tensor], stimulus: Tensor, device: torch.device) -> float:
    begun = time.perf_counter()
    answer(stimulus)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def _latency(
    answer: Callable[[Tensor], Tensor], one: Tensor, device: torch.device
) -> dict[str, float]:
    """Return median and interquartile range of a batch of one, after a warm-up."""
    times = [_seconds(answer, one, device) for _ in range(_WARM_UP + _TIMED)][_WARM_UP:]
    low, median, high = np.percentile([1e3 * each for each in times], [25, 50, 75])
    return {"latency_ms_b1": float(median), "latency_ms_b1_iqr": float(high - low)}


def _throughput_sps(
    answer: Callable[[Tensor], Tensor], batch: Tensor, device: torch.device
) -> float:
    """Return samples a second, the median of three passes after one."""
    times = [_seconds(answer, batch, device) for _ in range(4)][1:]
    return len(batch) / float(np.median(times))
