"""Views, copies and other operators that move values without computing."""

from dataclasses import replace

from torch import Tensor

from harness.meter import axes as ax
from harness.meter.axes import Axes, Axis, plain
from harness.meter.calls import Operator, after_neurons, listed, noted
from harness.meter.trace import Content, Sites, Trace, dimensions


def _viewed(trace: Trace, call: Operator, axes: Axes | None) -> None:
    """Note where samples are in a view, which has the memory of its source."""
    content = trace.content(call.output) or trace.content(call.inputs[0])
    if content is not None and axes is not None:
        trace.know(call.output, content, axes)


def regroup(trace: Trace, call: Operator) -> None:
    """Note a view that splits, merges, adds or removes dimensions in order."""
    source = trace.axes(call.inputs[0])
    _viewed(trace, call, None if source is None else ax.regrouped(source, call.output.shape))


def permute(trace: Trace, call: Operator) -> None:
    """Note a view with the dimensions in another order."""
    value = call.inputs[0]
    axes = trace.axes(value)
    if axes is None or not value.ndim:
        return
    order = list(range(value.ndim))
    if call.name == "permute":
        order = [dim % value.ndim for dim in call.argument(1, "dims")]
    elif call.name in {"t", "numpy_T"}:
        order.reverse()
    else:
        first, second = call.args[1] % value.ndim, call.args[2] % value.ndim
        order[first], order[second] = order[second], order[first]
    _viewed(trace, call, tuple(axes[dim] for dim in order))


def _grown(trace: Trace, call: Operator) -> Axes | None:
    """Return axes after repetition; what repeats samples from outside is steps."""
    value, after = call.inputs[0], call.output.shape
    axes = trace.axes(value)
    if axes is None:
        return None
    offset = len(after) - value.ndim
    samples = ax.position(axes, "N") if trace.samples > 1 else 0
    timed = ax.has(axes, "T")
    result: list[Axis] = []
    for dim, size in enumerate(after):
        old = value.shape[dim - offset] if dim >= offset else 1
        axis = axes[dim - offset] if dim >= offset else ()
        if size != old:
            steps = not timed and samples is not None and dim - offset <= samples
            axis = (ax.labelled("T", size // old) if steps else plain(size // old)) + axis
            timed = timed or steps
        result.append(axis)
    return tuple(result)


def expand(trace: Trace, call: Operator) -> None:
    """Note a view that shows the same values several times."""
    _viewed(trace, call, _grown(trace, call))


def part(trace: Trace, call: Operator) -> None:
    """Note slices, selections and chunks."""
    value = call.inputs[0]
    axes, content = trace.axes(value), trace.content(value)
    if axes is None or content is None:
        return
    second = call.name in {"select", "slice", "unbind", "narrow"}
    dim = int(call.argument(1 if second else 2, "dim", 0)) % value.ndim
    before, after = axes[:dim], axes[dim + 1 :]
    for piece in call.outputs:
        kept = piece.ndim == value.ndim
        middle = [_cut(axes[dim], value.shape[dim], piece.shape[dim])] if kept else []
        trace.know(piece, trace.content(piece) or content, (*before, *middle, *after))


def _cut(axis: Axis, before: int, after: int) -> Axis:
    """Return a dimension shortened from ``before`` to ``after``; never through samples."""
    if before == after:
        return axis
    if axis and axis[0][0] != "N" and after * axis[0][1] % before == 0:
        first = after * axis[0][1] // before
        return (() if first == 1 else ((axis[0][0], first),)) + axis[1:]
    return plain(after)


def _joined(trace: Trace, call: Operator) -> Axes | None:
    """Return axes of parts joined; samples joined along their own dimension are steps."""
    known = [axes for value in call.inputs if (axes := trace.axes(value)) is not None]
    if not known:
        return None
    axes = next((axes for axes in known if ax.has(axes, "N")), known[0])
    samples = ax.position(axes, "N") if trace.samples > 1 else 0
    timed = ax.has(axes, "T")
    if call.name == "stack":
        dim = int(call.argument(1, "dim", 0)) % call.output.ndim
        steps = not timed and samples is not None and dim <= samples
        new = ax.labelled("T", len(call.inputs)) if steps else plain(len(call.inputs))
        return (*axes[:dim], new, *axes[dim:])
    dim = int(call.argument(1, "dim", 0)) % call.output.ndim
    before, after = call.inputs[0].shape[dim], call.output.shape[dim]
    middle = axes[dim]
    if before != after:
        whole = before > 0 and after % before == 0
        if whole and middle and middle[0][0] == "T":
            middle = (("T", middle[0][1] * after // before), *middle[1:])
        elif whole and not timed and dim == samples:
            middle = ax.labelled("T", after // before) + middle
        else:
            middle = plain(after)
    return (*axes[:dim], middle, *axes[dim + 1 :])


def copied(trace: Trace, call: Operator) -> None:
    """Note a copy, which is as good as what it copies."""
    source = call.inputs[-1] if call.name == "copy" else call.inputs[0]
    target, axes = call.output, trace.axes(source)
    content = trace.content(source)
    written = trace.content(target) if call.name == "copy" else None
    if written is not None and written.elements != target.numel():
        _copied_into(trace, call, written, content, axes)
        return
    exact = target.is_floating_point() or not source.is_floating_point()
    same_shape = axes if source.shape == target.shape else None
    whole = trace.whole(source) if source.numel() == target.numel() else None
    if whole is not None and exact:
        trace.know(target, _laid_out(whole, source, target), same_shape)
        return
    fresh = Content(
        "signal",
        target.numel(),
        binary=content is not None and content.binary,
        timed=content is not None and content.timed,
        scale=content.scale if content is not None and exact else None,
        after_neurons=content is not None and content.after_neurons,
    )
    trace.know(target, fresh, same_shape)


def _laid_out(content: Content, source: Tensor, target: Tensor) -> Content:
    """Return what is known of a copy, whose dimensions may lie in another order."""
    if source.stride() == target.stride():
        return content
    pairs = zip(dimensions(source)[::-1], dimensions(target)[::-1], strict=False)
    there = dict(pairs)

    def moved_to(sites: Sites | None) -> Sites | None:
        known = sites is not None and there.keys() >= set(sites)
        return tuple(there[dimension] for dimension in sites or ()) if known else None

    events = content.events and replace(content.events, sites=moved_to(content.events.sites))
    border = {there[old]: zeros for old, zeros in content.border.items() if old in there}
    sites = moved_to(content.sites)
    return replace(content, events=events, sites=sites, border=border, views={})


def _copied_into(
    trace: Trace, call: Operator, written: Content, content: Content | None, axes: Axes | None
) -> None:
    """Note a copy into a part of something larger, whose rest is as it was."""
    mixed = Content(
        "signal",
        written.elements,
        binary=written.binary and content is not None and content.binary,
        timed=written.timed or (content is not None and content.timed),
        after_neurons=after_neurons(trace, call.inputs),
        views=dict(written.views),
    )
    trace.know(call.output, mixed, axes)


KEEPS_BINARY = frozenset(
    listed(
        "cat stack repeat index_select index gather flip roll where upsample_nearest1d "
        "upsample_nearest2d pixel_shuffle pixel_unshuffle channel_shuffle unfold im2col "
        "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d"
    )
)


def moved(trace: Trace, call: Operator) -> None:
    """Note results that are inputs, moved or chosen."""
    known = [trace.content(value) for value in call.inputs if value.is_floating_point()]
    binary = (
        call.name in KEEPS_BINARY
        and bool(known)
        and all(content is not None and content.binary for content in known)
        and not any(
            isinstance(value, (int, float)) for value in call.args[1:] if call.name == "where"
        )
    )
    axes = None
    if call.name in {"cat", "stack"}:
        axes = _joined(trace, call)
    elif call.name == "repeat":
        axes = _grown(trace, call)
    if call.outputs:
        noted(trace, call, axes, binary=binary)
