"""The neuron every simulator must mean."""

import math
from dataclasses import field
from typing import Literal

from harness.contracts.errors import SpecError
from harness.contracts.values import value

Kind = Literal["if", "lif", "plif"]
Reset = Literal["zero", "subtract"]
SurrogateName = Literal["atan", "sigmoid", "triangle", "rectangle", "superspike"]


@value
class Surrogate:
    """The derivative that stands in for the spike's.

    With ``x = v - v_threshold`` the spike is ``1 if x >= 0 else 0`` and its derivative is

    ============  =====================================  ==============================
    name          ``g(x)``                               source
    ============  =====================================  ==============================
    atan          ``a/2 / (1 + (pi a x / 2)^2)``         Fang et al., ICCV 2021
    sigmoid       ``a s (1 - s)``, ``s = sigmoid(a x)``  Zenke & Vogels 2021
    triangle      ``a max(0, 1 - a |x|)``                Esser et al., PNAS 2016
    rectangle     ``a`` where ``|x| < 1/(2a)``, else 0   Wu et al., Front. Neurosci. 2018
    superspike    ``1 / (1 + a |x|)^2``                  Zenke & Ganguli 2018
    ============  =====================================  ==============================

    Attributes:
        name: Which of the five.
        alpha: The sharpness ``a``, positive and finite.
    """

    name: SurrogateName = "atan"
    alpha: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise SpecError(f"Surrogate.alpha must be positive and finite, got {self.alpha!r}")


@value
class NeuronSpec:
    """One neuron, without a simulator.

    A step charges, fires where ``v >= v_threshold``, then resets once. ``v`` is 0
    before the first step and nothing is remembered between calls.

    ==============================  ==========================
    ``if``                          ``v <- v + x``
    ``lif``, ``scale_input``        ``v <- v + (x - v) / tau``
    ``lif``, not ``scale_input``    ``v <- v (1 - 1/tau) + x``
    ==============================  ==========================

    ``plif`` is ``lif`` with one trainable ``tau`` a layer, as
    ``1/tau = sigmoid(w)``; the parameter is called ``w`` and starts at
    ``-ln(tau - 1)`` (Fang et al., ICCV 2021, eq. 11).

    Attributes:
        kind: ``if``, ``lif`` or ``plif``.
        tau: Membrane time constant, in steps; more than 1. Ignored by ``if``.
        v_threshold: Firing threshold, in units of the input current.
        reset: To ``zero``, or ``subtract`` the threshold, once.
        scale_input: Whether the current is divided by ``tau`` too. Ignored by ``if``.
        detach_reset: Whether the reset is left out of the gradient.
        surrogate: The spike's derivative.
    """

    kind: Kind = "lif"
    tau: float = 2.0
    v_threshold: float = 1.0
    reset: Reset = "zero"
    scale_input: bool = True
    detach_reset: bool = True
    surrogate: Surrogate = field(default_factory=Surrogate)

    def __post_init__(self) -> None:
        if not 1 < self.tau < math.inf:
            raise SpecError(f"NeuronSpec.tau must be more than 1 step, got {self.tau!r}")
        if not 0 < self.v_threshold < math.inf:
            raise SpecError(
                f"NeuronSpec.v_threshold must be positive and finite, got {self.v_threshold!r}"
            )
