"""Spyx's own leaky step in JAX, with our specification translated into its.

Its ``LIF`` answers a step late, knows no reset to zero, and subtracts the threshold from a
membrane that has already leaked, ``v' = beta v + x - s v_threshold``: ``(1 - beta) v_threshold``
too much with every spike. Its reset-free ``PSU_LIF`` charges and then fires, ``v' = beta v + x``
and ``s = fire(v' - threshold)``, as we do; it is handed a membrane that has been reset. Where to
fire and with which derivative is an argument of its, an activation.

Tensors go to JAX and come back without a copy where memory allows. A neuron does the same to
every element, so a step is handed over as one row in the order of memory, whatever its layout.
The gradient is JAX's own, by ``jax.vjp``; it computes the steps once more.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import torch
from spyx import axn
from spyx.experimental import PSU_LIF
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.dlpack import from_dlpack

from harness.contracts.neuron import NeuronSpec, Reset, Surrogate
from harness.neurons.membrane import AdaptedNeuron, carried
from harness.neurons.precision import wide


class SpyxNeuron(AdaptedNeuron):
    """A layer of Spyx's neurons."""

    def forward(
        self,
        current: Tensor,  # [T, N, ...]
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the spikes ``[T, N, ...]``; append the membrane before reset to ``record``."""
        spec, dtype = self.spec, wide(current.dtype)
        if current.numel() == 0:  # nothing that could be handed over
            if record is not None:
                record.append(current.to(dtype))
            return current.clone()
        leak = torch.as_tensor(self.leak(dtype), dtype=dtype, device=current.device)
        by_stride = sorted(range(1, current.dim()), key=current.stride, reverse=True)
        ordered = current.permute(0, *by_stride)
        answered = _ThroughJax.apply(ordered.flatten(1).to(dtype), leak, spec)  # type: ignore[no-untyped-call]  # torch leaves Function.apply untyped
        back = (0, *(by_stride.index(axis) + 1 for axis in range(1, current.dim())))
        spikes, v = (answer.view(ordered.shape).permute(back) for answer in answered)
        if record is not None:
            record.append(v)
        return carried(spikes, v).to(current.dtype)


class _ThroughJax(torch.autograd.Function):
    """Spikes and membranes that JAX computes, and differentiates."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,  # [T, elements]
        leak: Tensor,  # []
        spec: NeuronSpec,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(rows, leak)
        ctx.spec = spec
        return _answered(spec, "forward", rows, leak)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_rows, by_leak = _answered(ctx.spec, "backward", *ctx.saved_tensors, *gradients)
        return by_rows, by_leak, None


def _answered(
    spec: NeuronSpec, direction: Literal["forward", "backward"], *given: Tensor
) -> tuple[Tensor, ...]:
    """Return what JAX computes of tensors, as tensors.

    It goes on before it has computed, and torch may write into what it reads.
    """
    scaled = spec.scale_input and spec.kind != "if"
    kernels = _kernels(spec.reset, spec.detach_reset, scaled, spec.surrogate)
    with jax.enable_x64(given[0].dtype == torch.float64):
        arrays = [jnp.from_dlpack(tensor.detach().contiguous()) for tensor in given]
        kernel = getattr(kernels, direction)
        found = kernel(spec.v_threshold, *arrays)
        return tuple(from_dlpack(each) for each in jax.block_until_ready(found))


class _Kernels(NamedTuple):
    """Both directions of one form of neuron, compiled for every shape they are shown.

    Leak and threshold are arguments, so that neurons of one form share what is compiled.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]


@cache
def _kernels(reset: Reset, detached: bool, scaled: bool, surrogate: Surrogate) -> _Kernels:  # noqa: FBT001  a key
    def run(
        v_threshold: float,
        rows: jax.Array,  # [T, elements]
        leak: jax.Array,  # []
    ) -> tuple[jax.Array, jax.Array]:
        activation = axn.custom(
            bwd=lambda x: _derivative(surrogate, x),
            # Its own heaviside is 0 at 0.
            fwd=lambda x: (x >= 0).astype(x.dtype),
        )
        neuron = PSU_LIF(
            rows.shape[1:], beta=1 - leak, threshold=v_threshold, activation=activation, rngs=None
        )

        def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            spikes, v = neuron(x, state)
            s = jax.lax.stop_gradient(spikes) if detached else spikes
            after = v * (1 - s) if reset == "zero" else v - s * v_threshold
            return after, (spikes, v)

        charges = rows * leak if scaled else rows
        answered: tuple[jax.Array, jax.Array]
        _, answered = jax.lax.scan(step, jnp.zeros_like(rows[0]), charges)
        return answered

    def gradients(
        v_threshold: float,
        rows: jax.Array,
        leak: jax.Array,
        *by_answers: jax.Array,  # by spikes and membranes, [T, elements]
    ) -> tuple[jax.Array, jax.Array]:
        _, through = jax.vjp(partial(run, v_threshold), rows, leak)
        found: tuple[jax.Array, jax.Array] = through(by_answers)
        return found

    return _Kernels(forward=jax.jit(run), backward=jax.jit(gradients))


def _derivative(surrogate: Surrogate, x: jax.Array) -> jax.Array:
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
