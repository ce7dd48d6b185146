"""Layers with weights, and products of two activations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.ledger import Shape
from harness.meter import axes as ax
from harness.meter import geometry, pooling
from harness.meter.axes import Axes, Axis, plain
from harness.meter.book import Call, Entry
from harness.meter.calls import Operator, Rule, noted, opened, rank, units, used
from harness.meter.geometry import Window
from harness.meter.operands import Operand, nonzero
from harness.meter.trace import Content, Product, Sites, Trace, dimensions, sites_of


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """What every value entering a layer with weights touches.

    Attributes:
        sites: Those that differ in fan-out; None if none do.
        fan_out: Of each site, or of every value.
        dense_valid: Products a step of a sample, borders excluded.
        dense_padded: Likewise with borders.
        composed: Fan-out of what was averaged before, if that is known.
        shape: For the ledger.
    """

    sites: Sites | None
    fan_out: Tensor | int
    dense_valid: int
    dense_padded: int
    composed: Tensor | None
    shape: Shape


def convolution(trace: Trace, call: Operator) -> None:
    """Count a convolution of any dimension, transposed or not."""
    value, weight, bias, stride, padding, dilation, transposed, _, groups = call.args
    if rank(trace, weight) >= rank(trace, value):
        if len(value) == weight.shape[1] == 1 and len(weight) == groups and not transposed:
            _correlation(trace, call)
            return
        trace.not_counted(
            "a convolution whose kernel is an activation", "unfold it into a matrix product"
        )
        noted(trace, call)
        return
    output = call.output
    windows = tuple(
        Window(
            inputs=inputs,
            outputs=outputs,
            kernel=kernel,
            stride=stride[dim % len(stride)],
            padding=padding[dim % len(padding)],
            dilation=dilation[dim % len(dilation)],
            transposed=transposed,
        )
        for dim, (inputs, outputs, kernel) in enumerate(
            zip(value.shape[2:], output.shape[2:], weight.shape[2:], strict=True)
        )
    )
    fed = weight.shape[1] if transposed else weight.shape[0] // groups
    content = trace.whole(value)
    put = content.border if content is not None else {}
    border = tuple(put.get(dimension, (0, 0)) for dimension in dimensions(value)[2:])
    reached = geometry.convolution(windows, value.shape[1], fed, border)
    maps = value.shape[0] // units(trace, value)  # more than 1 where patches count as samples
    synapses = Synapses(
        sites=sites_of(value),
        fan_out=reached.fan_out,
        dense_valid=reached.dense_valid * maps,
        dense_padded=reached.dense_padded * maps,
        composed=_composed_convolution(content, value, reached),
        shape=Shape(
            in_channels=value.shape[1],
            out_channels=output.shape[1],
            kernel=tuple(weight.shape[2:]),
            stride=tuple(window.stride for window in windows),
            input_size=tuple(value.shape[2:]),
            output_size=tuple(output.shape[2:]),
            groups=groups,
            bias=bias is not None,
        ),
    )
    axes = trace.axes(value)
    where = (axes[0] if axes else (), *map(plain, output.shape[1:]))
    _layer(trace, call, value, weight, synapses, where, kind="convolution")


def _composed_convolution(
    content: Content | None, value: Tensor, reached: geometry.Convolution
) -> Tensor | None:
    reach = None if content is None else pooling.reaching(content, value)
    if reach is None:
        return None
    return geometry.fan_out(geometry.composed(reach, reached.reach)) * reached.outputs


def matrix_product(left: int, right: int, bias: int | None) -> Rule:
    """Return the rule of a product, given the places of its arguments."""

    def rule(trace: Trace, call: Operator) -> None:
        _product(trace, call, call.args[left], call.args[right], biased=bias is not None)

    return rule


def linear(trace: Trace, call: Operator) -> None:
    """Count ``aten.linear``, where torch does not break it down."""
    biased = call.argument(2, "bias") is not None
    _product(trace, call, call.args[0], call.args[1].T, biased=biased)


def _product(trace: Trace, call: Operator, left: Tensor, right: Tensor, *, biased: bool) -> None:
    ranks = rank(trace, left), rank(trace, right)
    if ranks[0] == ranks[1]:
        _activations(trace, call, left, right)
        return
    forward = ranks[0] > ranks[1]
    value, weight = (left, right) if forward else (right, left)
    inputs = left.shape[-1]
    outputs = (right.shape[-1] if right.ndim > 1 else 1) if forward else left.shape[-2]
    dense = value.numel() // units(trace, value) * outputs
    synapses = Synapses(
        sites=None,
        fan_out=outputs,
        dense_valid=dense,
        dense_padded=dense,
        composed=_composed_linear(trace, value, outputs) if forward else None,
        shape=Shape(in_channels=inputs, out_channels=outputs, bias=biased),
    )
    axes = trace.axes(value) or tuple(map(plain, value.shape))
    if forward:
        where = (*axes[:-1], *([plain(outputs)] if right.ndim > 1 else []))
    else:
        where = (*axes[:-2], plain(outputs), *axes[-1:]) if value.ndim > 1 else (plain(outputs),)
    _layer(trace, call, value, weight, synapses, where, kind="linear")


def _composed_linear(trace: Trace, value: Tensor, outputs: int) -> Tensor | None:
    """Return the fan-out of pooled spikes if ``value`` is the flattened pooling."""
    content = trace.whole(value)
    pooled = content.pooled if content is not None else None
    if pooled is None or value.numel() // units(trace, value) != value.shape[-1]:
        return None
    return (geometry.fan_out(pooled.reach) > 0).double() * outputs


def _layer(
    trace: Trace,
    call: Operator,
    value: Tensor,
    weight: Tensor,
    synapses: Synapses,
    axes: Axes,
    *,
    kind: str,
) -> None:
    """Count what ``value`` does in a layer with weights, and note the result."""
    entry = _owner(trace, weight, call, kind)
    entry.shape = synapses.shape
    now = opened(trace, entry, value, [value])
    now.fixed = {"dense_valid": synapses.dense_valid, "dense_padded": synapses.dense_padded}
    if synapses.shape.bias:
        now.fixed["bias_add"] = call.output.numel() // (now.steps * trace.samples)
    _count_arrivals(trace, entry, now, value, synapses)
    noted(trace, call, axes).producer = Product(entry, now, has_bias=synapses.shape.bias)


def _owner(trace: Trace, weight: Tensor, call: Operator, kind: str) -> Entry:
    """Return the layer that ``weight`` belongs to."""
    known = trace.content(weight)
    if known is None or not known.name:
        return trace.here(call.name, kind)
    name = "model" if known.name == "weight" else known.name.removesuffix(".weight")
    return trace.entry(("weight", known.name, kind), name, kind)


def _count_arrivals(
    trace: Trace, entry: Entry, now: Call, value: Tensor, synapses: Synapses
) -> None:
    content = trace.whole(value)
    pooled = content.pooled if content is not None else None
    composed = synapses.composed if pooled is not None else None
    used(trace, value, composes=composed is not None)
    events = trace.events(value, sites=synapses.sites)
    arriving = trace.units(events, synapses.fan_out)
    now.varying["inputs_nonzero"] = trace.units(events)
    if pooled is not None and composed is not None:
        entry.pooled = entry.pooled or Operand()
        trace.observe(entry, entry.pooled, value)
        entry.operand.join(pooled.entry.operand)
        pooled.entry.readers.add(entry)
        now.varying["pooled_events"] = arriving
        now.varying["events"] = trace.units(pooled.events, composed)
        now.varying["units"] = trace.units(pooled.magnitudes, composed)
        return
    trace.observe(entry, entry.operand, value)
    now.varying["events"] = arriving
    if entry.pooled is not None:
        now.varying["pooled_events"] = arriving
    if entry.operand.integral:
        unit_sized = entry.operand.operand() in {"silent", "binary", "ternary"}
        now.varying["units"] = (
            arriving if unit_sized else trace.units(trace.magnitudes(value), synapses.fan_out)
        )


def _activations(trace: Trace, call: Operator, left: Tensor, right: Tensor) -> None:
    """Count a product of two activations, such as of queries and keys."""
    row_axis = _rows(trace, left, right)
    entry = trace.here("matmul", "product")
    now = opened(trace, entry, left, [left, right])
    for value in (left, right):
        used(trace, value)
    trace.observe(entry, entry.operand, left)
    _observe_partner(trace, entry, right)
    _count_pairs(trace, now, left, right, row_axis)
    batched = left.ndim == right.ndim == 3 or (row_axis and call.output.ndim)
    where = (row_axis, *map(plain, call.output.shape[1:])) if batched else None
    noted(trace, call, where)


def _observe_partner(trace: Trace, entry: Entry, value: Tensor) -> None:
    entry.partner = entry.partner or Operand()
    trace.observe(entry, entry.partner, value)


def _rows(trace: Trace, left: Tensor, right: Tensor) -> Axis:
    """Return what the first dimension of a product is.

    Raises:
        CountingError: If samples are somewhere else.
    """
    batched = left.ndim == right.ndim == 3
    for value in (left, right) if batched else (left,):
        axes = trace.axes(value)
        if axes is not None and (trace.samples == 1 or ax.has(axes[:1], "N")):
            return axes[0] if axes else ()
    raise trace.lost(left)


def _count_pairs(
    trace: Trace,
    now: Call,
    left: Tensor,  # [..., n, d]
    right: Tensor,  # [..., d, m]
    row_axis: Axis,
) -> None:
    """Count pairs of values that meet and are both not zero.

    Over rows i and columns j, ``sum_ij sum_d l_id r_dj = sum_d (sum_i l_id) (sum_j r_dj)``.
    """
    ones, others = nonzero(left).double(), nonzero(right).double()
    columns = right.shape[-1] if right.ndim > 1 else 1
    if left.ndim == 3:
        met, active = (ones.sum(1) * others.sum(2)).sum(1), ones.sum((1, 2))
    else:
        weights = others.reshape(others.shape[0], -1).sum(1)
        met, active = ones @ weights, ones.sum(-1)
    now.varying["events"] = trace.by_unit(met, row_axis)
    now.varying["inputs_nonzero"] = trace.by_unit(active, row_axis)
    now.varying["gated"] = now.varying["inputs_nonzero"] * columns
    dense = left.numel() * columns // (now.steps * trace.samples)
    now.fixed["dense_valid"] = now.fixed["dense_padded"] = dense


def _correlation(trace: Trace, call: Operator) -> None:
    """Count a signal that is matched with another, channel by channel, as trackers do.

    It is a convolution of one image ``[1, G, H, W]`` in ``G`` groups, with kernels ``[G, 1, h,
    w]``; steps and samples are among the groups. Pairs that meet and are both not zero are the
    same convolution of where values are not zero.
    """
    value, kernel = call.args[:2]
    axes = trace.axes(value)
    if axes is None:
        raise trace.lost(value)
    row_axis = axes[0] + axes[1]
    entry = trace.here("correlation", "product")
    now = opened(trace, entry, value, [value, kernel])
    for operand in (value, kernel):
        used(trace, operand)
    trace.observe(entry, entry.operand, value)
    _observe_partner(trace, entry, kernel)
    ones, others = nonzero(value).double(), nonzero(kernel).double()

    def meeting(left: Tensor, right: Tensor) -> Tensor:
        met = torch.ops.aten.convolution(left, right, None, *call.args[3:])
        return trace.by_unit(met.flatten(2).sum((0, 2)), row_axis)

    now.varying["events"] = meeting(ones, others)
    now.varying["gated"] = meeting(ones, torch.ones_like(others))
    now.varying["inputs_nonzero"] = trace.by_unit(ones.flatten(2).sum((0, 2)), row_axis)
    each = now.steps * trace.samples
    valid = meeting(torch.ones_like(ones), torch.ones_like(others))
    now.fixed = {
        "dense_valid": int(valid.sum()) // each,
        "dense_padded": call.output.numel() * kernel[0, 0].numel() // each,
    }
    noted(trace, call, (axes[0], axes[1], *map(plain, call.output.shape[2:])))


def attention(trace: Trace, call: Operator) -> None:
    """Count fused attention: scaled queries times keys, softmax, times values."""
    query, key, value = call.args[:3]  # [B, H, L, E], [B, H, S, E], [B, H, S, D]
    dropout, causal = (
        call.argument(3, "dropout_p", 0.0),
        call.argument(4, "is_causal", default=False),
    )
    masked = any(
        isinstance(option, Tensor) for option in (*call.args[3:], call.kwargs.get("attn_mask"))
    )
    for used_value in (query, key, value):
        used(trace, used_value)
    if dropout or causal or masked:
        trace.not_counted(
            "fused attention with a mask or dropout",
            "run it inside torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
        )
        noted(trace, call)
        return
    heads = [tensor.flatten(0, 1) for tensor in (query, key, value)]
    axes = trace.axes(query)
    if axes is None:
        raise trace.lost(query)
    row_axis = axes[0] + axes[1]
    scores = trace.here("attention", "product")
    now = opened(trace, scores, query, [query, key])
    trace.observe(scores, scores.operand, query)
    _observe_partner(trace, scores, key)
    _count_pairs(trace, now, heads[0], heads[1].transpose(1, 2), row_axis)
    shares = query.shape[:3].numel() * key.shape[2] // (now.steps * trace.samples)
    now.fixed["mac"] = query.numel() // (now.steps * trace.samples)  # the scale
    now.fixed |= {"compare": shares, "residual_add": shares, "function": 2 * shares}
    now.fixed["pool_add"] = shares
    mixed = trace.here("attention_values", "product")
    then = opened(trace, mixed, query, [query, value])
    mixed.operand.observe(torch.tensor([0.25, 0.75]))  # shares are analog by construction
    _observe_partner(trace, mixed, value)
    everything = torch.ones(1, device=value.device).expand(*heads[0].shape[:2], key.shape[2])
    _count_pairs(trace, then, everything, heads[2], row_axis)
    noted(trace, call, (*axes[:-1], plain(call.output.shape[-1])))
