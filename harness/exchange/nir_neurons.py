"""What a neuron of ours is in NIR, and what a neuron of NIR is to us.

NIR says equations and no step (Pedersen et al., Nature Communications 2024, table 1):

    LIF   tau dv/dt = (v_leak - v) + R I;  z = 1 where v > v_threshold;  then v = v_reset
    IF        dv/dt = R I;                 likewise

Whoever runs it chooses ``dt`` and a discretisation. With the forward step and ``dt``,

    LIF   v <- v + (dt / tau) (v_leak - v + R I)
    IF    v <- v + dt R I

so that, with our ``tau`` in steps and ``v_leak = v_reset = 0``,

    ==============================  ================  ==============
    ours                            ``tau`` there     ``R`` there
    ==============================  ================  ==============
    ``v + (x - v) / tau``           ``tau dt``        1
    ``v (1 - 1/tau) + x``           ``tau dt``        ``tau``
    ``v + x``                       none              ``1 / dt``
    ==============================  ================  ==============

We fire at ``v >= a``, NIR at ``v > b``. Between a number and the next of its type there is
none, so the two are the same for ``b`` just below ``a``; the other way round ``a`` is just
above ``b``. The type is that of the array ``v_threshold``.

What NIR has no word for is in the node's metadata: the reset by subtraction, which is not in
its equations, and the trained ``w`` of ``plif``. A reader that does not know the key resets to
zero. ``spec`` there is the whole specification, because ``tau dt / dt`` may be another number
than ``tau``; a file whose numbers are not those of its ``spec`` is refused.
"""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.exchange.tracing import Shape
from harness.neurons.spiking import SpikingNeuron

if TYPE_CHECKING:
    import nir

DT_S = 1e-4  # what snnTorch and SpikingJelly take a file to mean if nobody says
_KEPT = ("kind", "tau", "v_threshold", "reset", "scale_input")
Numbers = NDArray[np.floating[Any]]


def node_of(
    module: nn.Module, shape: Shape, dtype: np.dtype[Any], /, *, dt_s: float
) -> "nir.NIRNode":
    """Return the node of NIR that means ``module`` for neurons of ``shape``.

    Raises:
        UnsupportedError: If these are no neurons of the contract.
    """
    if isinstance(module, SpikingNeuron):
        learned = dict(module.named_parameters())
        w = next((float(value.detach()) for name, value in learned.items() if _is_w(name)), None)
        return _node(module.spec, shape, dtype, dt_s=dt_s, w=w)
    raise UnsupportedError(
        f"NIR has no {type(module).__name__}: it knows the neurons of a simulator, and this method "
        "puts others into the slots"
    )


def _is_w(name: str) -> bool:
    """Return whether a parameter is the ``w`` of ``plif``, also of neurons in a wrapper."""
    return name.rpartition(".")[2] == "w"


def _node(
    spec: NeuronSpec, shape: Shape, dtype: np.dtype[Any], /, *, dt_s: float, w: float | None
) -> "nir.NIRNode":
    import nir

    if not hasattr(nir.LIF, "v_reset"):
        raise UnsupportedError(f"nir {nir.version} knows no v_reset; pip install 'nir>=1.0.8'")
    if (w is None) == (spec.kind == "plif"):
        raise SpecError(f"neurons of kind {spec.kind!r} have a trained w or not, got {w!r}")
    said: dict[str, Any] = {name: getattr(spec, name) for name in _KEPT}
    metadata = {"spec": json.dumps(said if w is None else said | {"w": w}, sort_keys=True)}
    b = np.nextafter(dtype.type(spec.v_threshold), dtype.type(-np.inf))
    fires: dict[str, Any] = {
        "v_threshold": np.full(shape, b, dtype),
        "v_reset": np.zeros(shape, dtype),
        "metadata": metadata,
    }
    if spec.kind == "if":
        return nir.IF(r=np.full(shape, 1 / dt_s), **fires)
    tau = spec.tau if w is None else 1 + float(np.exp(-w))  # 1/tau = sigmoid(w)
    return nir.LIF(
        tau=np.full(shape, tau * dt_s),
        r=np.full(shape, 1.0 if spec.scale_input else tau),
        v_leak=np.zeros(shape),
        **fires,
    )


def spec_of(
    name: str, node: "nir.IF | nir.LIF", /, *, dt_s: float
) -> tuple[NeuronSpec, float | None]:
    """Return our neuron for a node of NIR, and the trained ``w`` if it is a ``plif``.

    Raises:
        UnsupportedError: If the contract cannot mean it, in words.
        SpecError: If the node's metadata says another neuron than its numbers, or none.
    """
    said = node.metadata.get("spec")
    if said is None:
        return _by_numbers(name, node, dt_s=dt_s), None
    told = _told(name, said)
    w = told.pop("w", None)
    spec = NeuronSpec(**told)
    meant = _node(spec, node.v_threshold.shape, node.v_threshold.dtype, dt_s=dt_s, w=w)
    for part in ("tau", "r", "v_threshold", "v_reset", "v_leak"):
        numbers: list[Any] = [getattr(one, part, 0) for one in (meant, node)]
        if not np.array_equal(*numbers):
            raise SpecError(
                f"{name}.{part} is not what its metadata says ({said}) at dt = {dt_s:g} s; "
                "delete the node's metadata if the numbers are right"
            )
    return spec, w


def _told(name: str, said: Any) -> dict[str, Any]:
    """Return the words of a node's metadata, of which ``w`` is a number if it is there."""
    try:
        told = json.loads(said)
    except (TypeError, ValueError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("w"), int | float | None):
        raise SpecError(
            f"{name}.metadata['spec'] is a JSON object with the fields of a neuron, and w a "
            f"number, got {said!r}; delete the node's metadata if the numbers are right"
        )
    return told


def _by_numbers(name: str, node: "nir.IF | nir.LIF", *, dt_s: float) -> NeuronSpec:
    """Return the neuron of a file that is not ours, which resets to zero as NIR says."""
    for part in ("v_reset", "v_leak"):
        if np.any(getattr(node, part, 0)):
            raise UnsupportedError(f"{name}.{part} is not 0, which is where our membranes rest")
    b = _one(name, "v_threshold", node.v_threshold)
    plain = NeuronSpec(v_threshold=float(np.nextafter(b, b.dtype.type(np.inf))), reset="zero")
    r = float(_one(name, "r", node.r))
    if not hasattr(node, "tau"):
        _same(name, "r", r, {1 / dt_s: "an integrator fed with its current"}, dt_s)
        return replace(plain, kind="if")
    tau = float(_one(name, "tau", node.tau)) / dt_s
    if not tau > 1:
        raise UnsupportedError(
            f"{name}.tau is {tau:g} steps of {dt_s:g} s, and ours is more than 1; --dt says how "
            "long a step is"
        )
    scaled = _same(name, "r", r, {1.0: "a scaled current", tau: "an unscaled one"}, dt_s) == 1.0
    return replace(plain, kind="lif", tau=tau, scale_input=scaled)


def _one(name: str, part: str, values: Numbers) -> Any:
    first = np.asarray(values).flat[0]
    if np.any(values != first):
        raise UnsupportedError(f"{name}.{part} differs between neurons, and ours share one a layer")
    return first


def _same(name: str, part: str, value: float, known: dict[float, str], dt_s: float) -> float:
    for wanted in known:
        if np.isclose(value, wanted, rtol=1e-6, atol=0):
            return wanted
    meant = " or ".join(f"{wanted:g} ({words})" for wanted, words in known.items())
    raise UnsupportedError(f"{name}.{part} is {value:g} and must be {meant} at dt = {dt_s:g} s")
