"""What a neuron costs, from its specification and never from the kernel that ran.

A step of one neuron, as ``NeuronSpec`` writes it:

==============================  ====  ========  =======  ==============================
charge                          adds  products  compare  derivation
==============================  ====  ========  =======  ==============================
``if``                          1     0         1        ``v + x``
``lif``, ``scale_input``        2     1         1        ``x - v``, times ``1/tau``, plus ``v``
``lif``, not ``scale_input``    1     1         1        ``v`` times ``1 - 1/tau``, plus ``x``
``plif``                        as ``lif``: ``1/tau`` is a constant once trained
==============================  ====  ========  =======  ==============================

The comparison is ``v >= v_threshold``. A spike adds one ``reset``: a subtraction of the
threshold, or a write of zero. Constants such as ``1/tau`` are computed beforehand. Neurons
without memory (``Heaviside``) compare and do nothing else.

Neurons that no specification describes say which they ``costs_like``: the same operations a
step, with other numbers, and answers of 0 or 1. Those of DIET-SNN charge and leak as ``lif``
without ``scale_input`` does; leak and threshold are constants once trained.

A neuron that ``spikes_once`` answers what is left of its window when it spikes, 0 for
never. What arrives at such neurons is one event a spike, whatever its time: it adds a
weight to the slope of the membrane (B1 model of Stanojevic et al., Nat. Commun. 2024),

    ``dV_i/dt = sum_j J_ij H(t - t_j)``, so ``V_i(t_min) = sum_j J_ij (t_min - t_j)``.

That addition is the synaptic operation, an ``ac``. The product with ``t_min - t_j`` is the
membrane's integration: a capacitor or a clock has it for nothing a synapse, arithmetic
without either does not. So it is entered too, as one ``neuron_mul`` an event, in the layer
whose weights they are: both together are the multiply-accumulate of the ReLU network, and
a model that leaves neurons out leaves it out knowingly. The neuron itself costs
``(t_min + theta_i) - V_i`` and a comparison with ``t_max``; it has nothing to reset.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from harness.contracts.errors import CountingError
from harness.contracts.neuron import NeuronSpec
from harness.neurons.heaviside import Heaviside
from harness.neurons.spiking import SpikingNeuron


@dataclass(frozen=True, kw_only=True)
class NeuronCost:
    """What one neuron costs.

    Attributes:
        adds: Additions a step.
        products: Multiplications a step.
        compares: Comparisons a step.
        resets: Resets a spike.
    """

    adds: int
    products: int
    compares: int = 1
    resets: int = 1


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A module known to be a layer of neurons.

    Attributes:
        cost: Of one neuron.
        time_major: Whether it is given ``[T, N, ...]``, and not one step ``[N, ...]``.
        binary: Whether its answer is 0 or 1 by contract; otherwise it is looked at.
        timed: Whether it spikes once where its answer is not 0, and the answer says when.
        state: What the module remembers between calls, by attribute; None if nothing.
        rest: The value of that before the first step.
    """

    cost: NeuronCost
    time_major: bool
    binary: bool = True
    timed: bool = False
    state: str | None = None
    rest: float = 0.0


def cost(spec: NeuronSpec) -> NeuronCost:
    """Return what one neuron of ``spec`` costs; see the table above."""
    if spec.kind == "if":
        return NeuronCost(adds=1, products=0)
    return NeuronCost(adds=2 if spec.scale_input else 1, products=1)


def recognised(module: nn.Module, name: str) -> Recognised | None:
    """Return what ``module`` costs if it is a layer of neurons, else None.

    Raises:
        CountingError: If it looks like neurons whose cost nobody declared.
    """
    if isinstance(module, SpikingNeuron):
        if any(weight.ndim > 1 for weight in module.parameters()):
            raise CountingError(
                f"module {name!r} is a SpikingNeuron with weights, which would not be counted; "
                "let its neurons alone be one"
            )
        return Recognised(cost=cost(module.spec), time_major=True)
    if isinstance(alike := getattr(module, "costs_like", None), NeuronSpec):
        return Recognised(cost=cost(alike), time_major=True)
    if isinstance(module, Heaviside):
        return Recognised(cost=NeuronCost(adds=0, products=0, resets=0), time_major=True)
    if getattr(module, "spikes_once", False):
        once = NeuronCost(adds=1, products=0, resets=0)
        return Recognised(cost=once, time_major=True, binary=False, timed=True)
    for package, adapt in ADAPTERS.items():
        if package in sys.modules and (found := adapt(module)) is not None:
            return found
    if _looks_like_a_neuron(module):
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        raise CountingError(
            f"module {name!r} is a {kind}, which looks like spiking neurons of unknown cost; "
            "derive it from SpikingNeuron, with its NeuronSpec and time-major input, "
            "or add its type to harness/meter/neurons.py"
        )
    return None


def _spikingjelly(module: nn.Module) -> Recognised | None:
    from spikingjelly.activation_based import neuron

    exact = type(module)
    if exact in (neuron.IFNode, neuron.SimpleIFNode):
        spec = NeuronSpec(kind="if")
    elif exact in (neuron.LIFNode, neuron.SimpleLIFNode, neuron.ParametricLIFNode):
        spec = NeuronSpec(kind="lif", scale_input=bool(getattr(module, "decay_input", True)))
    else:
        return None
    return Recognised(
        cost=cost(spec),
        time_major=getattr(module, "step_mode", "s") == "m",
        state="v",
        rest=float(getattr(module, "v_reset", None) or 0.0),
    )


def _norse(module: nn.Module) -> Recognised | None:
    from norse.torch.module import iaf, leaky_integrator, leaky_integrator_box, lif, lif_box

    box = NeuronCost(adds=2, products=1)
    # With a synapse: v + c ((v_leak - v) + i), i - d i, and the input: 3 + 1 + 1 additions.
    synapse = NeuronCost(adds=5, products=2)
    table: dict[type[nn.Module], Recognised] = {
        iaf.IAFCell: Recognised(cost=cost(NeuronSpec(kind="if")), time_major=False),
        iaf.IAF: Recognised(cost=cost(NeuronSpec(kind="if")), time_major=True),
        lif_box.LIFBoxCell: Recognised(cost=box, time_major=False),
        lif.LIFCell: Recognised(cost=synapse, time_major=False),
        lif.LIF: Recognised(cost=synapse, time_major=True),
        leaky_integrator_box.LIBoxCell: Recognised(
            cost=NeuronCost(adds=2, products=1, compares=0, resets=0),
            time_major=False,
            binary=False,
        ),
        leaky_integrator.LICell: Recognised(
            cost=NeuronCost(adds=5, products=2, compares=0, resets=0),
            time_major=False,
            binary=False,
        ),
        leaky_integrator.LI: Recognised(
            cost=NeuronCost(adds=5, products=2, compares=0, resets=0),
            time_major=True,
            binary=False,
        ),
    }
    return table.get(type(module))


def _snntorch(module: nn.Module) -> Recognised | None:
    import snntorch

    # mem <- beta mem + x is our lif without scaled input; Lapicque scales it too.
    if type(module) is snntorch.Leaky:
        state = "mem" if module.init_hidden else None  # else the caller hands it over
        return Recognised(cost=NeuronCost(adds=1, products=1), time_major=False, state=state)
    return None


Adapter = Callable[[nn.Module], Recognised | None]
ADAPTERS: Mapping[str, Adapter] = {
    "spikingjelly.activation_based.neuron": _spikingjelly,
    "norse.torch.module": _norse,
    "snntorch": _snntorch,
}
THRESHOLDS = ("v_threshold", "v_th", "surrogate_function", "spike_grad")
SIMULATORS = (
    "spikingjelly.activation_based.neuron",
    "norse.torch.module.lif",
    "norse.torch.module.lsnn",
    "norse.torch.module.iaf",
    "norse.torch.module.izhikevich",
    "norse.torch.module.coba",
    "norse.torch.module.leaky",
    "snntorch._neurons",
    "sinabs.layers",
    "rockpool.nn.modules",
    "lava.lib.dl.slayer.neuron",
    "braincog.base.node",
)


def _looks_like_a_neuron(module: nn.Module) -> bool:
    if isinstance(getattr(module, "spec", None), NeuronSpec):
        return True
    kind = type(module)
    if kind.__module__.startswith("torch."):
        return False
    if kind.__module__.startswith(SIMULATORS):
        return True
    return any(hasattr(module, name) for name in THRESHOLDS)
