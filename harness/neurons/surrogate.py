"""The five derivatives that stand in for the spike's, and how a spike is given one."""

import math
from typing import Any

import torch
from torch import Tensor

from harness.contracts.neuron import Surrogate


def derivative(surrogate: Surrogate, distance: Tensor) -> Tensor:
    """Return ``g(distance)``, where ``distance`` is ``v - v_threshold``.

    The formulas and their sources are those of ``Surrogate``.
    """
    alpha = surrogate.alpha
    if surrogate.name == "atan":
        return (alpha / 2) / (1 + (distance * (math.pi * alpha / 2)).square())
    if surrogate.name == "sigmoid":
        fired = torch.sigmoid(alpha * distance)
        return alpha * fired * (1 - fired)
    if surrogate.name == "triangle":
        return alpha * (1 - alpha * distance.abs()).clamp_min(0)
    if surrogate.name == "rectangle":
        return alpha * (distance.abs() < 0.5 / alpha).to(distance.dtype)
    return 1 / (1 + alpha * distance.abs()).square()


class _WithSurrogate(torch.autograd.Function):
    """Spikes as they are; their derivative by the membrane is a surrogate."""

    @staticmethod
    def forward(
        ctx: Any,
        spikes: Tensor,
        v: Tensor,
        v_threshold: float,
        surrogate: Surrogate,
    ) -> Tensor:
        ctx.save_for_backward(v)
        ctx.v_threshold, ctx.surrogate = v_threshold, surrogate
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, None]:
        (gradient,), (v,) = gradients, ctx.saved_tensors
        return None, gradient * derivative(ctx.surrogate, v - ctx.v_threshold), None, None


def with_surrogate(
    spikes: Tensor,  # [...], 0 or 1
    v: Tensor,  # [...], before the reset
    *,
    v_threshold: float,
    surrogate: Surrogate,
) -> Tensor:
    """Return ``spikes`` with the derivative ``g(v - v_threshold)`` by ``v``.

    For a simulator that decides itself where to fire, but lacks the surrogate.
    """
    attached: Tensor = _WithSurrogate.apply(spikes, v, v_threshold, surrogate)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
    return attached


def spike(
    v: Tensor,  # [...], before the reset
    *,
    v_threshold: float,
    surrogate: Surrogate,
) -> Tensor:
    """Return 1 where ``v >= v_threshold`` and 0 elsewhere, with the surrogate's derivative."""
    fired = (v >= v_threshold).to(v.dtype)
    return with_surrogate(fired, v, v_threshold=v_threshold, surrogate=surrogate)
