"""Rows held to the predictions beside them. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError, StoreError
from harness.contracts.row import Row
from harness.engine.packed import Arrays, from_npz
from harness.evaluation.decisions import over_time
from harness.store import read_bytes

_MOST_BYTES = 2**28
_HEAD_BYTES = 2**12  # of an archive and its arrays, far more than NumPy writes
_BYTES_A_DECISION = 64  # eight numbers, which no task of ours needs
# Sums of these many terms in another order; a version of NumPy may choose one.
_ROUNDING = 1e-12


def arrays_in(path: Path, row: Row, /) -> dict[str, NDArray[Any]] | None:
    """Return what the file of predictions beside ``row`` holds; None if there is none.

    Raises:
        StoreError: If it holds no predictions, or more than the row is about.
    """
    try:
        return from_npz(read_bytes(path, most_bytes(row)), most=most_bytes(row))
    except FileNotFoundError:
        return None
    except SpecError as error:
        raise StoreError(
            f"{path} holds no predictions: {error}; run cell {row.cell_id} again"
        ) from error


def most_bytes(row: Row, /) -> int:
    """Return how many bytes the predictions of ``row`` can have, packed or not."""
    samples = row.metrics.n_test if row.metrics else 0
    decisions = samples * (row.cell.timesteps + 2)
    return min(_MOST_BYTES, _HEAD_BYTES + _BYTES_A_DECISION * decisions)


def contradiction(row: Row, arrays: Arrays, /) -> str | None:
    """Return how predictions contradict the metrics of ``row``, in words; None if they do not.

    Args:
        row: With metrics.
        arrays: ``predictions`` int64 ``[T, N]`` after each step, and ``labels`` int64 ``[N]``.
    """
    try:
        wrong = list(_wrong(row, *_decided(arrays)))
    except SpecError as error:
        return str(error)
    return "; ".join(wrong) or None


def disagreement(row: Row, arrays: Arrays, teacher: Row, reference: Arrays, /) -> str | None:
    """Return how ``row`` is wrong about its teacher, by the predictions of both; or None."""
    metrics = row.metrics
    assert metrics is not None
    if teacher.metrics is None:
        return None
    try:
        ours, theirs = _decided(arrays)[0][-1], _decided(reference)[0][-1]
    except SpecError as error:
        return str(error)
    if ours.shape != theirs.shape:
        return f"it decides {ours.size} samples, and its teacher {theirs.size}"
    figures = {
        "teacher_accuracy": teacher.metrics.test_accuracy,
        "agreement": float((ours == theirs).mean()),
    }
    return ", ".join(_unlike(metrics, figures)) or None


def _decided(arrays: Arrays) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    missing = {"predictions", "labels"} - arrays.keys()
    if missing:
        raise SpecError(f"there are no {' and no '.join(sorted(missing))} beside it")
    predictions, labels = arrays["predictions"], arrays["labels"]
    whole = all(each.dtype.kind in "iu" for each in (predictions, labels))
    if not whole or predictions.ndim != 2 or predictions.shape[1:] != labels.shape:
        raise SpecError(
            "predictions must be whole numbers [T, N] with labels [N], got "
            f"{predictions.dtype} {list(predictions.shape)} and {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return predictions, labels


def _wrong(row: Row, predictions: NDArray[np.int64], labels: NDArray[np.int64]) -> Iterator[str]:
    """Yield which figures are not those of the predictions."""
    metrics = row.metrics
    assert metrics is not None
    found = over_time(predictions, labels)
    scored = found.accuracy[-1]
    if metrics.n_test != scored.samples:
        yield f"n_test {metrics.n_test}, but there are predictions of {scored.samples} samples"
        return
    steps = tuple(step.value for step in found.accuracy)
    by_step = metrics.accuracy_by_step or (metrics.test_accuracy,)
    if by_step != steps[-len(by_step) :]:
        yield (
            f"accuracy {metrics.test_accuracy!r} of {metrics.n_test} samples, but the predictions "
            f"beside it give {scored.value!r} of {scored.samples}, or differ in an earlier step"
        )
        return
    intervals = [step.interval for step in found.accuracy]
    figures: dict[str, float | tuple[float, ...]] = {
        "accuracy_low": scored.interval.low,
        "accuracy_high": scored.interval.high,
        "accuracy_by_step_low": tuple(one.low for one in intervals),
        "accuracy_by_step_high": tuple(one.high for one in intervals),
        "accuracy_area": found.area,
        "mean_steps_to_decide": found.mean_settling_steps,
        "mean_cutoff_steps": found.mean_cutoff_steps,
    }
    yield from _unlike(metrics, figures)


def _unlike(metrics: Any, figures: dict[str, Any]) -> Iterator[str]:
    """Yield which figures ``metrics`` has, and has otherwise."""
    for name, figure in figures.items():
        said = getattr(metrics, name)
        if said is not None and not _same(said, figure):
            yield f"{name} {said!r}, but the predictions beside it give {figure!r}"


def _same(said: Any, figure: Any) -> bool:
    ours, theirs = (one if isinstance(one, tuple) else (one,) for one in (said, figure))
    return len(ours) == len(theirs) and all(
        math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
        for one, other in zip(ours, theirs, strict=True)
    )
