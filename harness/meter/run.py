"""Run a model and count what it does."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.contracts.errors import CountingError, SpecError
from harness.contracts.ledger import Ledger, Policy
from harness.meter import axes as ax
from harness.meter.book import layers, steps_of
from harness.meter.operations import count
from harness.meter.trace import Trace, unseen


def measure(
    model: nn.Module,
    stimulus: Tensor | Iterable[Tensor],
    *,
    batch_axis: int = 0,
    time_axis: int | None = None,
    policy: Policy | None = None,
    call: Callable[[Tensor], Any] | None = None,
    allow_partial: bool = False,
) -> Ledger:
    """Return what ``model`` costs on ``stimulus``, which may be an iterable of batches.

    The model runs without gradients; its answers are those it would give unmetered. A
    simulator that keeps state between calls must be reset by the caller, or inside
    ``call``, before every batch.

    Args:
        model: Any torch module; it gives the layers their names.
        stimulus: Its input, or batches of it.
        batch_axis: The dimension of ``stimulus`` that counts samples.
        time_axis: The one that counts steps, if there is one.
        policy: Which operation an operand class costs.
        call: Runs the model on a batch, if that is not ``model(batch)``.
        allow_partial: Whether to list what cannot be counted instead of refusing it.

    Raises:
        CountingError: If an operation, a neuron or a value cannot be counted, the model is
            in training mode where that matters, its neurons were not reset, or those that
            take time first are given samples first; names it, the module and the remedy.
        SpecError: If there is no sample, or no such dimension.
    """
    trace = Trace(model, count, allow_partial=allow_partial)
    forward = call if call is not None else model
    samples = steps = 0
    with unseen():
        _check_finite((name, value) for name, value in trace.tensors)
    for batch in [stimulus] if isinstance(stimulus, Tensor) else stimulus:
        axes, present = _axes(batch, batch_axis=batch_axis, time_axis=time_axis)
        with unseen():
            _check_finite([("the stimulus", batch)])
        with torch.no_grad(), trace.batch(batch, axes, present):
            answer = forward(batch)
        with unseen():
            _check_finite(("the answer", value) for value in _tensors(answer))
            declared = None if time_axis is None else batch.shape[time_axis]
            now = _close(trace, present, declared, steps=steps)
        samples, steps = samples + present, now
    if not samples:
        raise SpecError("there is nothing to measure: the stimulus has no sample")
    with unseen():
        return _ledger(trace, policy or Policy(), samples=samples, steps=steps)


def _close(trace: Trace, present: int, declared: int | None, *, steps: int) -> int:
    """File a batch of ``present`` samples; return how many steps it ran.

    Raises:
        CountingError: If those are not the ``steps`` of the batches before it.
    """
    entries = list(trace.entries.values())
    now = steps_of(entries) or declared or 1
    if steps and now != steps:
        raise CountingError(
            f"the network ran {now} steps in this batch and {steps} before; "
            "measure each number of steps by itself"
        )
    for entry in entries:
        entry.close(present, now, first=not steps, static=declared is None)
    return now


def _ledger(trace: Trace, policy: Policy, *, samples: int, steps: int) -> Ledger:
    uncounted = tuple(trace.uncounted.values())
    missed = sum(item.calls for item in uncounted)
    entries = list(trace.entries.values())
    return Ledger(
        layers=layers(entries, policy, steps=steps, partial=bool(uncounted)),
        samples=samples,
        steps=steps,
        policy=policy,
        coverage=trace.counted_calls / max(trace.counted_calls + missed, 1),
        uncounted=uncounted,
    )


def _axes(batch: Tensor, *, batch_axis: int, time_axis: int | None) -> tuple[ax.Axes, int]:
    if not isinstance(batch, Tensor):
        raise SpecError(
            f"a batch must be a tensor, got {type(batch).__name__}; pick the inputs out of "
            "the loader's batches, as in (images for images, labels in loader)"
        )
    for name, axis in (("batch_axis", batch_axis), ("time_axis", time_axis)):
        if axis is not None and not -batch.ndim <= axis < batch.ndim:
            raise SpecError(f"{name} is {axis}, and the stimulus has shape {list(batch.shape)}")
    axes = [ax.plain(size) for size in batch.shape]
    samples = batch.shape[batch_axis]
    if samples == 0:
        raise SpecError(f"a batch of shape {list(batch.shape)} has no sample")
    axes[batch_axis] = ax.labelled("N", samples)
    if time_axis is not None:
        axes[time_axis] = ax.labelled("T", batch.shape[time_axis])
    return tuple(axes), samples


def _check_finite(named: Iterable[tuple[str, Tensor]]) -> None:
    for name, value in named:
        # The sum is one fast pass, and not finite if a value is not; it may also overflow.
        suspicious = value.is_floating_point() and not math.isfinite(float(value.detach().sum()))
        if suspicious and not bool(torch.isfinite(value).all()):
            raise CountingError(f"{name} has values that are not finite; find where they come from")


def _tensors(answer: Any) -> Iterator[Tensor]:
    if isinstance(answer, Tensor):
        yield answer
    elif isinstance(answer, Mapping):
        for value in answer.values():
            yield from _tensors(value)
    elif isinstance(answer, (list, tuple)):
        for value in answer:
            yield from _tensors(value)
    elif is_dataclass(answer) and not isinstance(answer, type):
        for entry in fields(answer):
            yield from _tensors(getattr(answer, entry.name))
