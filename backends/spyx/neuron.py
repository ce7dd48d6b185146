"""Spyx's own leaky step in JAX, with our specification translated into its.

Its ``LIF`` answers a step late, knows no reset to zero, and subtracts the threshold from a
membrane that has already leaked, ``v' = beta v + x - s v_threshold``: ``(1 - beta) v_threshold``
too much with every spike. Its reset-free ``PSU_LIF`` charges and then fires, ``v' = beta v + x``
and ``s = fire(v' - threshold)``, as we do; it is handed a membrane that has been reset. Where to
fire and with which derivative is an argument of its, an activation.
"""

import jax
import jax.numpy as jnp
from spyx import axn
from spyx.experimental import PSU_LIF

from harness.neurons.through_jax import Form, JaxNeuron, derivative


class SpyxNeuron(JaxNeuron):
    """A layer of Spyx's neurons."""

    @staticmethod
    def simulate(
        form: Form,
        v_threshold: float | jax.Array,
        rows: jax.Array,  # [T, elements]
        leak: jax.Array,  # []
    ) -> tuple[jax.Array, jax.Array]:
        """Return spikes and membranes before the reset, both ``[T, elements]``."""
        activation = axn.custom(
            bwd=lambda x: derivative(form.surrogate, x),
            # Its own heaviside is 0 at 0.
            fwd=lambda x: (x >= 0).astype(x.dtype),
        )
        neuron = PSU_LIF(
            rows.shape[1:], beta=1 - leak, threshold=v_threshold, activation=activation, rngs=None
        )

        def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            spikes, v = neuron(x, state)
            s = jax.lax.stop_gradient(spikes) if form.detach_reset else spikes
            after = v * (1 - s) if form.reset == "zero" else v - s * v_threshold
            return after, (spikes, v)

        charges = rows * leak if form.scaled else rows
        answered: tuple[jax.Array, jax.Array]
        _, answered = jax.lax.scan(step, jnp.zeros_like(rows[0]), charges)
        return answered
