"""What counting rules share: an operator's call, its results and its uses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from harness.contracts.ledger import Category
from harness.meter import axes as ax
from harness.meter.axes import Axes
from harness.meter.book import Call, Column, Entry
from harness.meter.trace import Content, Trace


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One call of one operator.

    Attributes:
        name: In torch, without overload and without the underscore of in-place.
        args: As called.
        kwargs: As called.
        inputs: Tensors among the arguments, those in lists included.
        outputs: Tensors of the result, likewise.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Tensor]
    outputs: list[Tensor]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument by place or name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)

    @property
    def output(self) -> Tensor:
        """The first result."""
        return self.outputs[0]


Rule = Callable[[Trace, Operator], None]


def listed(names: str) -> list[str]:
    """Return names that are separated by spaces; tables of operators are long."""
    return names.split()


def rank(trace: Trace, value: Tensor) -> int:
    """Return 2 for a signal, 1 for something from outside, 0 for a weight."""
    known = trace.content(value)
    if known is None:
        return 1
    return 0 if known.origin == "weight" else 2


def signals(trace: Trace, call: Operator) -> list[Tensor]:
    """Return the inputs that depend on the stimulus."""
    return [value for value in call.inputs if rank(trace, value) == 2]


def after_neurons(trace: Trace, values: Sequence[Tensor]) -> bool:
    """Return whether a neuron stands before any of ``values``."""
    return any((known := trace.content(value)) and known.after_neurons for value in values)


def noted(
    trace: Trace, call: Operator, axes: Axes | None = None, *, binary: bool = False
) -> Content:
    """Note that the results are signals; ``axes`` and ``binary`` are those of the first."""
    fed = after_neurons(trace, call.inputs)
    timed = any((known := trace.content(value)) and known.timed for value in call.inputs)
    contents = []
    for index, value in enumerate(call.outputs):
        before = trace.content(value)  # of the memory written to, if that was not new
        content = Content(
            "signal",
            max(value.numel(), before.elements if before else 0),
            binary=binary and index == 0,
            timed=binary and index == 0 and timed,
            after_neurons=fed,
        )
        where = axes if index == 0 and axes is not None else elementwise_axes(trace, call, value)
        trace.know(value, content, where)
        contents.append(content)
    return contents[0]


def elementwise_axes(trace: Trace, call: Operator, value: Tensor) -> Axes | None:
    """Return the axes of a result that is broadcast from the inputs, if samples survive."""
    sources = [source for source in call.inputs if source.ndim <= value.ndim]
    axes = ax.broadcast([(trace.axes(source), source.shape) for source in sources], value.shape)
    return axes if trace.samples == 1 or ax.has(axes, "N") else None


def units(trace: Trace, value: Tensor) -> int:
    """Return how many steps of samples ``value`` holds.

    Raises:
        CountingError: If samples cannot be told apart.
    """
    axes = trace.axes(value)
    if axes is None or (trace.samples > 1 and not ax.has(axes, "N")):
        raise trace.lost(value)
    return trace.samples * prod(ax.steps_of(axis) for axis in axes)


def opened(trace: Trace, entry: Entry, value: Tensor, inputs: Sequence[Tensor]) -> Call:
    """Open a call of ``entry`` whose steps are those of ``value``."""
    entry.after_neurons |= after_neurons(trace, inputs)
    call = Call(units(trace, value) // trace.samples, clock=trace.clock)
    entry.calls.append(call)
    if inputs and trace.has_neurons and not entry.after_neurons:
        _note_repeats(trace, entry, call, inputs)
    return call


def per_element(
    trace: Trace, call: Operator, kind: str, costs: dict[Category, int], of: Tensor
) -> Entry:
    """Count ``costs`` for each element of ``of``, whose axes must be known."""
    entry = trace.here(call.name, kind)
    now = opened(trace, entry, of, call.inputs)
    elements = of.numel() // (now.steps * trace.samples)
    fixed: dict[Column, int] = {category: each * elements for category, each in costs.items()}
    now.fixed = fixed
    return entry


def used(trace: Trace, value: Tensor, *, composes: bool = False) -> Content | None:
    """Note a use of ``value``, after which an earlier fold may no longer be legal.

    Returns:
        What is known of ``value``, if this is its first use and it is whole.
    """
    content = trace.content(value)
    if content is None:
        return None
    content.uses.append(trace.scope)
    for undo in content.unfold:
        undo()
    content.unfold.clear()
    if content.pooled is not None and not composes:
        content.pooled.entry.readers.add(None)
    return trace.whole(value) if len(content.uses) == 1 else None


def _note_repeats(trace: Trace, entry: Entry, call: Call, inputs: Sequence[Tensor]) -> None:
    """Note which steps of which samples read the same as the one before."""
    read = [value for value in inputs if rank(trace, value) == 2] or inputs[:1]
    if call.steps > 1:
        same = [_as_the_step_before(trace, value, call.steps) for value in read]
        call.repeated = torch.stack(same).all(0)
        return
    number = len(entry.calls)
    call.read = numbers = read[0].new_full((trace.samples,), number, dtype=torch.int64)
    for before, earlier in reversed(entry.last_read):
        if len(before) == len(read):
            pairs = zip(read, before, strict=True)
            same = [_as_before(trace, value, *then) for value, then in pairs]
            new = numbers == number
            numbers[:] = torch.where(new & torch.stack(same).all(0), earlier, numbers)
        if not (numbers == number).any():
            break
    entry.last_read.append(([(value, _version(value)) for value in read], numbers))


def _version(value: Tensor) -> int | None:
    return None if value.is_inference() else value._version  # noqa: SLF001  torch's own count of in-place changes


def _as_the_step_before(trace: Trace, value: Tensor, steps: int) -> Tensor:
    """Return ``[steps, samples]``, whether ``value`` is at each what it was; never at the first."""
    axes = trace.axes(value)
    signal = None if axes is None else ax.units_first(value, axes, trace.samples)
    same = torch.zeros(steps, trace.samples, dtype=torch.bool, device=value.device)
    if signal is not None and len(signal) == 1:
        same[1:] = True
    elif signal is not None and len(signal) == steps:
        same[1:] = _equal(signal[1:], signal[:-1])
    return same


def _as_before(trace: Trace, value: Tensor, before: Tensor, version: int | None) -> Tensor:
    """Return ``[samples]``, whether ``value`` is what ``before`` was at that ``version``."""
    axes = trace.axes(value)
    written = version != _version(before) or (before is value and version is None)
    if before is not value and before.shape == value.shape and not written and axes is not None:
        now, then = (ax.units_first(each, axes, trace.samples) for each in (value, before))
        if now is not None and then is not None:
            return _equal(now, then).all(0)
    return value.new_full((trace.samples,), before is value and not written, dtype=torch.bool)


def _equal(now: Tensor, then: Tensor) -> Tensor:
    """Return where all values of the last dimension are equal."""
    few = slice(None, None, now.shape[-1] // 1024 or 1)  # enough to see most differences
    same = (now[..., few] == then[..., few]).all(-1)
    return (now == then).all(-1) if same.any() else same
