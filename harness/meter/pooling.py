"""Averages, sums, maxima and normalisations."""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor

from harness.meter import axes as ax
from harness.meter import geometry
from harness.meter.axes import Axes, plain
from harness.meter.book import Column
from harness.meter.calls import Operator, Rule, noted, opened, per_element, used
from harness.meter.geometry import Window
from harness.meter.operands import Operand
from harness.meter.trace import Content, Pooled, Product, Trace, dimensions, sites_of


def _averaged(
    trace: Trace, call: Operator, reach: tuple[Tensor, ...] | None, axes: Axes | None
) -> None:
    """Count an average or a sum; ``reach`` if later layers may compose with it."""
    value = call.inputs[0]
    entry = trace.here(call.name, "pool")
    now = opened(trace, entry, value, [value])
    content = trace.whole(value)
    earlier = content.pooled if content is not None else None
    before = None if reach is None or content is None else reaching(content, value)
    used(trace, value, composes=before is not None)
    events = trace.events(value, sites=sites_of(value) if reach else None)
    fan_out = geometry.fan_out(reach) if reach else 1
    now.varying["pool_add"] = trace.units(events, fan_out)
    now.varying["inputs_nonzero"] = trace.units(events)
    result = noted(trace, call, axes)
    result.sites = sites_of(call.output)
    entry.is_pool = reach is not None
    if reach is not None and earlier is not None and before is not None:
        entry.pooled = entry.pooled or Operand()
        trace.observe(entry, entry.pooled, value)
        entry.operand.join(earlier.entry.operand)
        earlier.entry.readers.add(entry)
        both = geometry.composed(before, reach)
        result.pooled = Pooled(entry, earlier.events, earlier.magnitudes, both)
        return
    trace.observe(entry, entry.operand, value)
    if reach is None:
        return
    many = entry.operand.integral and entry.operand.operand() in {"scaled", "integer"}
    result.pooled = Pooled(entry, events, trace.magnitudes(value) if many else events, reach)


def reaching(content: Content, value: Tensor) -> tuple[Tensor, ...] | None:
    """Return what reaches each site of ``value``; None unless they are the averages in order."""
    pooled = content.pooled
    if pooled is None or content.sites != sites_of(value):
        return None
    return geometry.fitting(pooled.reach, value.shape[2:])


def _windows(call: Operator, *, dims: int, dilated: bool) -> tuple[Window, ...]:
    """Return the windows of a pooling over the last ``dims`` dimensions."""
    kernel = _each(call.argument(1, "kernel_size"), dims)
    stride = _each(call.argument(2, "stride") or kernel, dims)
    padding = _each(call.argument(3, "padding", 0), dims)
    dilation = _each(call.argument(4, "dilation", 1), dims) if dilated else [1] * dims
    sizes = zip(call.inputs[0].shape[-dims:], call.output.shape[-dims:], strict=True)
    return tuple(
        Window(
            inputs=inputs,
            outputs=outputs,
            kernel=kernel[dim],
            stride=stride[dim],
            padding=padding[dim],
            dilation=dilation[dim],
        )
        for dim, (inputs, outputs) in enumerate(sizes)
    )


def _each(value: int | Sequence[int], dims: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * dims if len(values) == 1 else values


def _adaptive(call: Operator, dims: int) -> tuple[Tensor, ...]:
    sizes = zip(call.inputs[0].shape[-dims:], call.output.shape[-dims:], strict=True)
    return tuple(geometry.adaptive(inputs, outputs) for inputs, outputs in sizes)


def _axes(trace: Trace, call: Operator, dims: int) -> Axes | None:
    axes = trace.axes(call.inputs[0])
    return None if axes is None else (*axes[:-dims], *map(plain, call.output.shape[-dims:]))


def average_pool(dims: int, *, adaptive: bool = False) -> Rule:
    """Return the rule of average pooling over ``dims`` dimensions."""

    def rule(trace: Trace, call: Operator) -> None:
        if adaptive:
            reach = _adaptive(call, dims)
        else:
            windows = _windows(call, dims=dims, dilated=False)
            reach = tuple(window.reach() for window in windows)
        samples_first = call.inputs[0].ndim == dims + 2
        _averaged(trace, call, reach if samples_first else None, _axes(trace, call, dims))

    return rule


def max_pool(dims: int, *, adaptive: bool = False) -> Rule:
    """Return the rule of max pooling over ``dims`` dimensions."""

    def rule(trace: Trace, call: Operator) -> None:
        value, sites = call.inputs[0], prod(call.output.shape[-dims:])
        if adaptive:
            reach = _adaptive(call, dims)
        else:
            reach = tuple(window.reach() for window in _windows(call, dims=dims, dilated=True))
        taps = prod(int(matrix.sum()) for matrix in reach)
        known = trace.content(value)
        binary = known is not None and known.binary
        entry = trace.here(call.name, "pool")
        now = opened(trace, entry, value, [value])
        # The largest of k values takes k - 1 comparisons; taps outside the borders none.
        compared = (taps - sites) * (call.output.numel() // sites)
        now.fixed["compare"] = compared // (now.steps * trace.samples)
        noted(trace, call, _axes(trace, call, dims), binary=binary)

    return rule


def _removed(call: Operator) -> list[int]:
    """Return the dimensions that a reduction removes."""
    value, dims = call.inputs[0], call.argument(1, "dim")
    if isinstance(dims, int):
        dims = [dims]
    chosen = dims if isinstance(dims, (list, tuple)) else []
    return [dim % value.ndim for dim in chosen] or list(range(value.ndim))


def _remaining(trace: Trace, call: Operator) -> Axes | None:
    axes = trace.axes(call.inputs[0])
    if axes is None:
        return None
    removed, keeps = _removed(call), call.output.ndim == call.inputs[0].ndim
    return tuple(
        () if dim in removed else axis
        for dim, axis in enumerate(axes)
        if keeps or dim not in removed
    )


def reduction(trace: Trace, call: Operator) -> None:
    """Count a mean or a sum; one over all of space is a pooling."""
    value, axes = call.inputs[0], trace.axes(call.inputs[0])
    spatial = list(range(2, value.ndim))
    is_pooling = (
        bool(spatial)
        and sorted(_removed(call)) == spatial
        and axes is not None
        and not ax.has(axes[1:], "N")
        and not ax.has(axes[1:], "T")
    )
    reach = tuple(torch.ones(1, size, dtype=torch.bool) for size in value.shape[2:])
    _averaged(trace, call, reach if is_pooling else None, _remaining(trace, call))


def cumulative(trace: Trace, call: Operator) -> None:
    """Count a running sum: one addition an element."""
    noted(trace, call)
    per_element(trace, call, "pool", {"pool_add": 1}, call.output)


def extremum(trace: Trace, call: Operator) -> None:
    """Count a largest or smallest value, of elements or of pairs: one comparison each."""
    if len(call.inputs) > 1:
        noted(trace, call)
        per_element(trace, call, "comparison", {"compare": 1}, call.output)
        return
    axes = _remaining(trace, call)
    per_element(trace, call, "comparison", {"compare": 1}, call.inputs[0])
    noted(trace, call, axes)
    for value in call.outputs[1:]:
        if (content := trace.content(value)) is not None:
            trace.know(value, content, axes)


def batch_norm(trace: Trace, call: Operator) -> None:
    """Count batch normalisation: nothing if it folds into the layer before it."""
    value = call.inputs[0]
    fixed_statistics = "no_training" in call.name or "no_update" in call.name
    training = not fixed_statistics and bool(call.argument(5, "training", default=False))
    content = used(trace, value)
    product = content.producer if content is not None and not training else None
    entry = trace.here(call.name, "norm")
    now = opened(trace, entry, value, [value])
    elements = value.numel() // (now.steps * trace.samples)
    if product is None or content is None:
        now.fixed = _normalising(elements, statistics=training, affine=False)
        noted(trace, call)
        return
    entry.folded = True
    take_back = fold_bias(product, elements)

    def unfold() -> None:
        take_back()
        entry.folded = False
        now.fixed = _normalising(elements, statistics=False, affine=False)

    content.unfold.append(unfold)
    noted(trace, call).producer = product


def fold_bias(product: Product, elements: int) -> Callable[[], None]:
    """Give ``product`` a bias if it has none; return how to take it back."""
    if product.has_bias:
        return lambda: None
    product.has_bias = True
    product.call.fixed["bias_add"] = elements

    def take_back() -> None:
        product.has_bias = False
        del product.call.fixed["bias_add"]

    return take_back


def _normalising(elements: int, *, statistics: bool, affine: bool) -> dict[Column, int]:
    """Return what normalising costs.

    Scale and shift are one product and sum. Statistics are a sum and a sum of squares;
    with them scale and shift differ by sample, and an affine map is one more.
    """
    fixed: dict[Column, int] = {"mac": (1 + statistics + affine) * elements}
    return fixed | {"pool_add": elements} if statistics else fixed


def statistical_norm(trace: Trace, call: Operator) -> None:
    """Count layer, group or root-mean-square normalisation."""
    value = call.inputs[0]
    entry = trace.here(call.name, "norm")
    now = opened(trace, entry, value, [value])
    elements = value.numel() // (now.steps * trace.samples)
    now.fixed = _normalising(elements, statistics=True, affine=len(call.inputs) > 1)
    noted(trace, call)


def known_border(call: Operator) -> tuple[tuple[int, int], ...] | None:
    """Return the zeros that a padding puts around space, or None if it does more."""
    pads = list(call.argument(1, "pad"))
    space = call.inputs[0].ndim - 2
    if call.argument(2, "value", 0) != 0 or space < 1 or min(pads) < 0 or any(pads[2 * space :]):
        return None
    pads += [0] * (2 * space - len(pads))
    pairs = [(pads[2 * dim], pads[2 * dim + 1]) for dim in range(space)]
    return tuple(reversed(pairs))  # torch lists the last dimension first


def padded(trace: Trace, call: Operator) -> None:
    """Note zeros put around a signal: the layer after it does not count them as valid."""
    known = trace.content(call.inputs[0])
    axes = trace.axes(call.inputs[0])
    if axes is not None:
        shapes = zip(axes, call.inputs[0].shape, call.output.shape, strict=True)
        axes = tuple(axis if old == new else plain(new) for axis, old, new in shapes)
    zeros = call.argument(2, "value", 0) == 0
    binary = known is not None and known.binary and zeros
    content: Content = noted(trace, call, axes, binary=binary)
    if (border := known_border(call)) is not None:
        content.border = dict(zip(dimensions(call.output)[2:], border, strict=True))
