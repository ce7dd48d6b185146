"""What adapters of JAX's simulators share: the way there and back, and the five derivatives.

Tensors go to JAX and come back without a copy where memory allows. A neuron does the same to
every element, so a step is handed over as one row in the order of memory, whatever its layout.
The gradient is JAX's own, by ``jax.vjp``; it computes the steps once more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.dlpack import from_dlpack

from harness.contracts.neuron import NeuronSpec, Reset, Surrogate
from harness.neurons.membrane import AdaptedNeuron, carried
from harness.neurons.precision import wide


@dataclass(frozen=True, kw_only=True)
class Form:
    """What of a specification something is compiled for; leak and threshold are arguments.

    Attributes:
        reset: As in ``NeuronSpec``.
        detach_reset: As in ``NeuronSpec``.
        scaled: Whether the current is multiplied by the leak.
        surrogate: The spike's derivative.
    """

    reset: Reset
    detach_reset: bool
    scaled: bool
    surrogate: Surrogate


def form_of(spec: NeuronSpec) -> Form:
    """Return the form of ``spec``."""
    return Form(
        reset=spec.reset,
        detach_reset=spec.detach_reset,
        scaled=spec.scale_input and spec.kind != "if",
        surrogate=spec.surrogate,
    )


class JaxNeuron(AdaptedNeuron):
    """A layer of neurons that a simulator computes in JAX."""

    @staticmethod
    def simulate(
        form: Form,
        v_threshold: float | jax.Array,
        rows: jax.Array,  # [T, elements]
        leak: jax.Array,  # [], 1/tau
    ) -> tuple[jax.Array, jax.Array]:
        """Return spikes and membranes before the reset, both ``[T, elements]``."""
        raise NotImplementedError

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        dtype = wide(current.dtype)
        if current.numel() == 0:  # nothing that could be handed over
            if record is not None:
                record.append(current.to(dtype))
            return current.clone()
        leak = torch.as_tensor(self.leak(dtype), dtype=dtype, device=current.device)
        by_stride = sorted(range(1, current.dim()), key=current.stride, reverse=True)
        ordered = current.permute(0, *by_stride)
        rows = ordered.flatten(1).to(dtype)
        answered = _ThroughJax.apply(rows, leak, self.spec, type(self).simulate)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
        back = (0, *(by_stride.index(axis) + 1 for axis in range(1, current.dim())))
        spikes, v = (answer.view(ordered.shape).permute(back) for answer in answered)
        if record is not None:
            record.append(v)
        return carried(spikes, v).to(current.dtype)


Direction = Literal["forward", "backward"]
Simulate = Callable[[Form, float | jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class _ThroughJax(torch.autograd.Function):
    """Spikes and membranes that JAX computes, and differentiates."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,  # [T, elements]
        leak: Tensor,  # []
        spec: NeuronSpec,
        simulate: Simulate,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(rows, leak)
        ctx.spec, ctx.simulate = spec, simulate
        return _answered(simulate, spec, "forward", rows, leak)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given = (*ctx.saved_tensors, *gradients)
        by_rows, by_leak = _answered(ctx.simulate, ctx.spec, "backward", *given)
        return by_rows, by_leak, None, None


def _answered(
    simulate: Simulate,
    spec: NeuronSpec,
    direction: Direction,
    *given: Tensor,
) -> tuple[Tensor, ...]:
    """Return what JAX computes of tensors, as tensors.

    It goes on before it has computed, and torch may write into what it reads.
    """
    kernel = _kernel(simulate, form_of(spec), direction)
    with jax.enable_x64(given[0].dtype == torch.float64):
        arrays = [jnp.from_dlpack(tensor.detach().contiguous()) for tensor in given]
        found = kernel(spec.v_threshold, *arrays)
        return tuple(from_dlpack(each) for each in jax.block_until_ready(found))


def _kernel(simulate: Simulate, form: Form, direction: Direction) -> Callable[..., Any]:
    """Return one direction of one form of neuron, compiled for every shape it is shown.

    Leak and threshold are arguments, so that neurons of one form share what is compiled;
    forward, those of every surrogate do.
    """
    if direction == "forward":
        return _forward(simulate, replace(form, surrogate=Surrogate(), detach_reset=True))
    return _backward(simulate, form)


@cache
def _forward(simulate: Simulate, form: Form) -> Callable[..., Any]:
    compiled: Callable[..., Any] = jax.jit(partial(simulate, form))
    return compiled


@cache
def _backward(simulate: Simulate, form: Form) -> Callable[..., Any]:
    run = partial(simulate, form)

    def gradients(
        v_threshold: float,
        rows: jax.Array,  # [T, elements]
        leak: jax.Array,  # []
        *by_answers: jax.Array,  # by spikes and membranes, [T, elements]
    ) -> tuple[jax.Array, jax.Array]:
        _, through = jax.vjp(partial(run, v_threshold), rows, leak)
        found: tuple[jax.Array, jax.Array] = through(by_answers)
        return found

    compiled: Callable[..., Any] = jax.jit(gradients)
    return compiled


def derivative(surrogate: Surrogate, x: jax.Array) -> jax.Array:
    """Return ``g(x)``; the formulas are those of ``Surrogate``."""
    name, alpha = surrogate.name, surrogate.alpha
    if name == "atan":
        return (alpha / 2) / (1 + jnp.square(x * (math.pi * alpha / 2)))
    if name == "sigmoid":
        fired = jax.nn.sigmoid(alpha * x)
        return alpha * fired * (1 - fired)
    if name == "triangle":
        return alpha * jnp.maximum(1 - alpha * jnp.abs(x), 0)
    if name == "rectangle":
        return alpha * (jnp.abs(x) < 0.5 / alpha).astype(x.dtype)
    return 1 / jnp.square(1 + alpha * jnp.abs(x))
