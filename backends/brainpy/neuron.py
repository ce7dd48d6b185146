"""BrainPy's own leaky neuron in JAX, ``dyn.Lif``, with our specification translated into its.

For training and by Euler's method, with steps of 1, it charges ``v' = v + (R x - v) / tau``, fires
``s = spk_fun(v' - V_th)`` and resets once: ``v' - (V_th - V_reset) s`` if soft, and
``v' + (V_reset - v') s`` if hard. What it is told:

- An unscaled current is what it calls a delta input, which is added beside the step:
  ``v' = v - v / tau + x``. Told as ``R = tau``, it would be rounded twice, and overflow before
  ``x`` does.
- An integrator is that with an infinite ``tau``. Its ``IF`` leaks, and never fires or resets.
- ``V_th = 0``, so that its spike function sees the membrane before the reset, which it does not
  keep, and decides where to fire. A soft reset subtracts the threshold as ``V_reset``, negated.
- ``detach_spk`` detaches what it answers with the reset. The spikes that the spike function
  made are taken instead.
"""

import brainpy
import brainstate
import jax
import jax.numpy as jnp
from brainpy.math.defaults import env

from harness.contracts.neuron import Surrogate
from harness.neurons.through_jax import Form, JaxNeuron, derivative


class _Derivative(brainpy.math.surrogate.Surrogate):  # type: ignore[misc]  # it has no types
    """Its heaviside, 1 from 0 on, with one of our derivatives."""

    def __init__(self, surrogate: Surrogate) -> None:
        super().__init__()
        self.surrogate = surrogate

    def surrogate_grad(self, x: jax.Array) -> jax.Array:
        return derivative(self.surrogate, x)


class _Fire:
    """A spike function that keeps the membrane it saw and the spikes that it made."""

    def __init__(self, surrogate: Surrogate, v_threshold: float | jax.Array) -> None:
        self.heaviside = _Derivative(surrogate)
        self.v_threshold = v_threshold

    def __call__(self, v: jax.Array) -> jax.Array:
        self.v = v
        self.spikes: jax.Array = self.heaviside(v - self.v_threshold)
        return self.spikes


class BrainPyNeuron(JaxNeuron):
    """A layer of BrainPy's neurons."""

    @staticmethod
    def simulate(
        form: Form,
        v_threshold: float | jax.Array,
        rows: jax.Array,  # [T, elements]
        leak: jax.Array,  # []
    ) -> tuple[jax.Array, jax.Array]:
        """Return spikes and membranes before the reset, both ``[T, elements]``."""

        def step(after: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            fire = _Fire(form.surrogate, v_threshold)
            neuron = brainpy.dyn.Lif(
                rows.shape[1:],
                tau=1 / leak,
                V_th=0.0,
                V_reset=0.0 if form.reset == "zero" else -v_threshold,
                spk_fun=fire,
                spk_reset="hard" if form.reset == "zero" else "soft",
                detach_spk=form.detach_reset,
                method="euler",
                mode=brainpy.math.training_mode,
                init_var=False,
            )
            neuron.V = brainpy.math.Variable(after)
            neuron.spike = brainpy.math.Variable(jnp.zeros_like(after))
            if not form.scaled:
                neuron.add_inp_fun("charge", lambda: x, category="delta")
            neuron.update(x if form.scaled else None)
            return neuron.V.value, (fire.spikes, fire.v)

        answered: tuple[jax.Array, jax.Array]
        # A step's time and length are a global of its.
        with brainstate.environ.context(env=env, t=0.0, dt=1.0):
            _, answered = jax.lax.scan(step, jnp.zeros_like(rows[0]), rows)
        return answered
