"""Rows held to the predictions beside them. Imports no torch, unless a task of its own needs it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from numpy.typing import NDArray

from harness import discovery
from harness.contracts.errors import SpecError, StoreError, UnknownPluginError
from harness.contracts.row import Metrics, Row
from harness.contracts.task import FRACTION, Task
from harness.data import catalogue
from harness.engine.packed import Arrays, from_npz, one_line
from harness.evaluation.decisions import over_time
from harness.store import read_bytes

_CLASSES = "classification"
_MOST_BYTES = 2**28
_HEAD_BYTES = 2**12  # of an archive and its arrays, far more than NumPy writes
_BYTES_A_DECISION = 4096  # 512 numbers: detection has scores of 21 classes now and in 8 steps
# Sums of these many terms in another order; a version of NumPy may choose one.
_ROUNDING = 1e-12
_RESAMPLING = 0.02  # a version of NumPy may draw otherwise
_INTERVALS = ("score_low", "score_high", "score_by_step_low", "score_by_step_high")
# What a task may raise for arrays that are none of its own.
_NOT_ITS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


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
            f"{path} holds no predictions: {error}; delete the row.json beside it to run cell "
            f"{row.cell_id} again"
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
        arrays: ``predictions`` after each step, ``[T, N, ...]``, the ``labels`` ``[N, ...]``,
            and the ``groups`` ``[N]`` of a task that has them.
    """
    metrics = row.metrics
    assert metrics is not None
    try:
        wrong = list(_wrong(metrics, _decided(row, arrays)))
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
        ours, theirs = _decided(row, arrays), _decided(teacher, reference)
        alike = _alike(ours, theirs)
    except SpecError as error:
        return str(error)
    figures = {"teacher_score": teacher.metrics.score, "agreement": alike}
    return ", ".join(_unlike(metrics, figures)) or None


@dataclass(frozen=True, kw_only=True)
class _Decided:
    """Decisions of a row, and the task they are about.

    Attributes:
        task: Its name; None if the data set is not here to say.
        predictions: After each step, ``[T, N, ...]``.
        labels: The targets, ``[N, ...]``.
        groups: The independent unit of each sample, ``[N]``, or None.
    """

    task: str | None
    predictions: NDArray[Any]
    labels: NDArray[Any]
    groups: NDArray[Any] | None


def _decided(row: Row, arrays: Arrays) -> _Decided:
    if missing := {"predictions", "labels"} - arrays.keys():
        raise SpecError(f"there are no {' and no '.join(sorted(missing))} beside it")
    predictions, labels = arrays["predictions"], arrays["labels"]
    task = _task(row)
    steps = row.cell.timesteps
    if predictions.ndim < 2 or len(predictions) != steps or labels.ndim < 1 or not labels.size:
        raise SpecError(
            f"predictions must be [{steps}, N, ...] with labels [N, ...], got shapes "
            f"{predictions.shape} and {labels.shape}"
        )
    whole = all(each.dtype.kind in "iu" for each in (predictions, labels))
    if task == _CLASSES and (not whole or predictions.shape[1:] != labels.shape):
        raise SpecError(
            "predictions must be whole numbers [T, N] with labels [N], got "
            f"{predictions.dtype} {list(predictions.shape)} and {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return _Decided(task=task, predictions=predictions, labels=labels, groups=arrays.get("groups"))


def _task(row: Row) -> str | None:
    try:
        return catalogue.load(row.cell.dataset).card.task
    except UnknownPluginError:  # a suite of somebody else's
        return _CLASSES if row.metrics and row.metrics.metric == "accuracy" else None


def _wrong(metrics: Metrics, found: _Decided) -> Iterator[str]:
    """Yield which figures are not those of the predictions."""
    if found.task is None:  # nobody here can score it
        return
    if metrics.n_test != len(found.labels):
        yield f"n_test {metrics.n_test}, but there are predictions of {len(found.labels)} samples"
        return
    figures = _of_classes(found) if found.task == _CLASSES else _of_task(found)
    metric, scale, steps = figures.pop("metric"), figures.pop("scale"), figures["score_by_step"]
    by_step = metrics.score_by_step or (metrics.score,)
    if metrics.scale != scale:
        yield f"{metrics.scale!r}, but that of its task is {scale!r}"
        return
    if metrics.metric != metric or not _same(by_step, steps[-len(by_step) :]):
        yield (
            f"{metrics.metric} {metrics.score!r} of {metrics.n_test} samples, but the predictions "
            f"beside it give {metric} {steps[-1]!r}, or differ in an earlier step"
        )
        return
    yield from _unlike(metrics, figures)


def _of_classes(found: _Decided) -> dict[str, Any]:
    """Return what follows from classes, as a cell's own process would say."""
    developed = over_time(found.predictions, found.labels)
    intervals = [step.interval for step in developed.accuracy]
    return {
        "metric": "accuracy",
        "scale": FRACTION,
        "score_by_step": tuple(step.value for step in developed.accuracy),
        "score_low": intervals[-1].low,
        "score_high": intervals[-1].high,
        "score_by_step_low": tuple(one.low for one in intervals),
        "score_by_step_high": tuple(one.high for one in intervals),
        "score_area": developed.area,
        "mean_steps_to_decide": developed.mean_settling_steps,
        "mean_cutoff_steps": developed.mean_cutoff_steps,
    }


def _of_task(found: _Decided) -> dict[str, Any]:
    task = cast(Task, discovery.load("tasks", str(found.task)))
    try:
        scores = [task.score(now, found.labels, found.groups) for now in found.predictions]
    except _NOT_ITS as error:
        raise SpecError(f"predictions that {found.task} cannot score: {one_line(error)}") from error
    values = tuple(score.value for score in scores)
    return {
        "metric": task.metric.name,
        "scale": task.metric.scale,
        "score_by_step": values,
        "score_low": scores[-1].low,
        "score_high": scores[-1].high,
        "score_by_step_low": tuple(score.low for score in scores),
        "score_by_step_high": tuple(score.high for score in scores),
        "score_area": fmean(values),
        "further": dict(scores[-1].further),
    }


def _alike(ours: _Decided, theirs: _Decided) -> float | None:
    """Return of which part of the samples both decide alike; None if nobody here can say."""
    first, second = ours.predictions[-1], theirs.predictions[-1]
    if first.shape != second.shape:
        raise SpecError(f"it decides {len(first)} samples, and its teacher {len(second)}")
    if ours.task is None:
        return None
    if ours.task == _CLASSES:
        return float((first == second).mean())
    task = cast(Task, discovery.load("tasks", ours.task))
    try:
        return float(task.alike(first, second).mean())
    except _NOT_ITS as error:
        raise SpecError(
            f"predictions that {ours.task} cannot compare: {one_line(error)}"
        ) from error


def _unlike(metrics: Metrics, figures: dict[str, Any]) -> Iterator[str]:
    """Yield which figures ``metrics`` has, and has otherwise."""
    resampled = metrics.metric != "accuracy"
    for name, figure in figures.items():
        said = getattr(metrics, name)
        within = _RESAMPLING if resampled and name in _INTERVALS else _ROUNDING
        if said is not None and figure is not None and not _same(said, figure, within=within):
            yield f"{name} {said!r}, but the predictions beside it give {figure!r}"


def _same(said: Any, figure: Any, *, within: float = _ROUNDING) -> bool:
    if isinstance(said, dict):
        return said.keys() == figure.keys() and all(
            _same(said[name], figure[name], within=within) for name in said
        )
    ours, theirs = (one if isinstance(one, tuple) else (one,) for one in (said, figure))
    return len(ours) == len(theirs) and all(
        math.isclose(one, other, rel_tol=within, abs_tol=within)
        for one, other in zip(ours, theirs, strict=True)
    )
