"""Sums, products and functions of one element at a time."""

from typing import Any

import torch
from torch import Tensor

from harness.contracts.ledger import Category
from harness.meter import axes as ax
from harness.meter.calls import Operator, Rule, noted, opened, per_element, signals, used
from harness.meter.pooling import fold_bias
from harness.meter.trace import Content, Trace


def _neutral(call: Operator, neutral: float) -> bool:
    """Return whether the operator's constant changes nothing."""
    constants = [value for value in call.args[:2] if not isinstance(value, Tensor)]
    return len(constants) == 1 and bool(constants[0] == neutral)


def total(trace: Trace, call: Operator) -> None:
    """Count ``x + y``: of two activations a residual sum, else a bias."""
    scaled = call.argument(2, "alpha", 1) not in (1, -1) and len(call.inputs) > 1
    summands = signals(trace, call)
    if len(summands) == 2:
        for value in summands:
            used(trace, value)
        noted(trace, call)
        costs: dict[Category, int] = {"mac" if scaled else "residual_add": 1}
        per_element(trace, call, "residual", costs, call.output)
        return
    value = summands[0] if summands else call.inputs[0]
    content = used(trace, value)
    product = content.producer if content is not None else None
    if call.name != "rsub" and _neutral(call, 0):
        noted(trace, call)
        return
    if product is not None and content is not None and value.shape == call.output.shape:
        elements = value.numel() // (product.call.steps * trace.samples)
        content.unfold.append(fold_bias(product, elements))
        noted(trace, call).producer = product
        return
    noted(trace, call)
    per_element(trace, call, "bias", {"mac" if scaled else "bias_add": 1}, call.output)


def product(trace: Trace, call: Operator) -> None:
    """Count ``x * y`` or ``x / y``: by a constant it folds into weights where it can."""
    factors = signals(trace, call)
    if len(factors) == 2:
        _gate(trace, call, factors)
        return
    value = factors[0] if factors else call.inputs[0]
    constant_last = bool(call.args) and call.args[0] is value
    if call.name != "mul" and not constant_last:
        used(trace, value)
        noted(trace, call)
        per_element(trace, call, "function", {"function": 1}, call.output)
        return
    if _neutral(call, 1):
        used(trace, value)
        noted(trace, call)
        return
    _scale(trace, call, value)


def _gate(trace: Trace, call: Operator, factors: list[Tensor]) -> None:
    known = [trace.content(value) for value in factors]
    binary = [content is not None and content.binary and not content.timed for content in known]
    for value in factors:
        used(trace, value)
    quotient = call.name != "mul"
    noted(trace, call, binary=all(binary) and not quotient)
    spikes: Category = "and_ac" if all(binary) else "ac"
    category: Category = "function" if quotient else spikes if any(binary) else "mac"
    entry = trace.here(call.name, "gate")
    now = opened(trace, entry, call.output, factors)
    now.varying[category] = trace.units(trace.events(call.output))


def _scale(trace: Trace, call: Operator, value: Tensor) -> None:
    if (scale := _amplitudes(trace, call, value)) is not None:
        # Scaled spikes cost nothing: the weights of the next layer take the constant.
        known = trace.content(value)
        used(trace, value)
        scaled = noted(trace, call)
        scaled.scale, scaled.timed = scale, known is not None and known.timed
        return
    content = used(trace, value)
    source = content.producer if content is not None else None
    if source is not None and content is not None and value.shape == call.output.shape:
        elements = value.numel() // (source.call.steps * trace.samples)

        def unfold() -> None:
            fixed = source.call.fixed
            fixed["mac"] = fixed.get("mac", 0) + elements

        content.unfold.append(unfold)
        noted(trace, call).producer = source
        return
    noted(trace, call)
    entry = trace.here(call.name, "scale")
    now = opened(trace, entry, call.output, [value])
    trace.observe(entry, entry.operand, value)
    now.fixed["scalings"] = call.output.numel() // (now.steps * trace.samples)


def _amplitudes(trace: Trace, call: Operator, value: Tensor) -> Tensor | None:
    """Return what the ones of a spike tensor become, or None if it is not such a tensor."""
    known: Content | None = trace.content(value)
    if known is None or not (known.binary or known.scale is not None):
        return None
    factor = next(other for other in call.args[:2] if other is not value)
    if isinstance(factor, Tensor):
        shape = (1,) * (value.ndim - factor.ndim) + tuple(factor.shape)
        varying = [dim for dim, size in enumerate(shape) if size != 1]
        if varying and varying != [_channel(trace, value)]:
            return None
        amplitude = factor.detach().flatten().double().cpu()
    else:
        amplitude = torch.tensor([float(factor)], dtype=torch.float64)
    before = known.scale if known.scale is not None else torch.ones(1, dtype=torch.float64)
    return before * amplitude if call.name == "mul" else before / amplitude


def _channel(trace: Trace, value: Tensor) -> int | None:
    """Return the dimension after those of steps and samples."""
    axes = trace.axes(value)
    return None if axes is None else 1 + max(ax.position(axes, label) or 0 for label in "TN")


def each(kind: str, **costs: int) -> Rule:
    """Return the rule of an operator that costs the same for each element of its result."""

    def rule(trace: Trace, call: Operator) -> None:
        per: dict[Any, int] = dict(costs)
        noted(trace, call)
        per_element(trace, call, kind, per, call.output)

    return rule


def clamp(trace: Trace, call: Operator) -> None:
    """Count a clamp: one comparison a bound."""
    bounds = sum(call.argument(place, name) is not None for place, name in ((1, "min"), (2, "max")))
    noted(trace, call)
    per_element(trace, call, "activation", {"compare": bounds}, call.output)


def power(trace: Trace, call: Operator) -> None:
    """Count a power: a square is a product."""
    exponent = call.argument(1, "exponent")
    square = isinstance(exponent, (int, float)) and exponent == 2
    noted(trace, call)
    per_element(trace, call, "power", {"mac" if square else "function": 1}, call.output)
