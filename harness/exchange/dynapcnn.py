"""Whether a graph of NIR fits a DYNAP-CNN chip, and what it decides with the chip's integers.

The chip (SynSense; the core of Speck) has nine cores, a layer each: convolutions, or a matrix as
one, followed by integrators that subtract their threshold. Its limits are those that Sinabs 3.1.3
documents and checks (``sinabs.backend.dynapcnn``): for ``c`` input and ``f`` output channels,
kernels of ``h x w`` and maps of ``H x W``,

    kernel memory  c 2^(ceil(log2(h w)) + ceil(log2 f))
    neuron memory  f 2^(ceil(log2 H) + ceil(log2 W))

Weights and biases are integers of 8 bits, thresholds and membranes of 16. What comes before the
first neurons is a current and no event: it is computed on the host, whose spikes the chip is sent.
What the chip does else (several spikes a step, a lower bound of membranes) is not looked at.
"""

import json
import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import UnsupportedError

if TYPE_CHECKING:
    import nir

WEIGHT_BITS, STATE_BITS = 8, 16
_KI = 1024
KERNEL_MEMORY = tuple(_KI * size for size in (16, 16, 16, 32, 32, 64, 64, 16, 16))
NEURON_MEMORY = tuple(_KI * size for size in (64, 64, 64, 32, 32, 16, 16, 16, 16))
BIAS_MEMORY = _KI


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one core would hold, in words of its memories.

    Attributes:
        name: Of the node with the weights.
        kernel: Weights.
        neuron: Membranes.
        bias: Biases.
    """

    name: str
    kernel: int
    neuron: int
    bias: int

    def fits(self, core: int) -> bool:
        """Return whether the memories of ``core`` hold it."""
        return (
            self.kernel <= KERNEL_MEMORY[core]
            and self.neuron <= NEURON_MEMORY[core]
            and self.bias <= BIAS_MEMORY
        )


def objections(graph: "nir.NIRGraph", /) -> list[str]:
    """Return why ``graph``, behind its first neurons, does not fit the chip; empty if it does."""
    found = list(_strange(graph))
    layers = [layer_of(name, graph) for name in on_chip(graph)]
    found += [
        f"{layer.name} fits no core: {layer.kernel} kernel, {layer.neuron} neuron and {layer.bias} "
        "bias words"
        for layer in layers
        if not any(layer.fits(core) for core in range(len(KERNEL_MEMORY)))
    ]
    if not found and placed(layers) is None:
        found.append(f"there is no core for each of the {len(layers)} layers at once")
    return found


def on_chip(graph: "nir.NIRGraph", /) -> tuple[str, ...]:
    """Return the nodes with weights that hear spikes and not the stimulus alone."""
    import nir

    behind: set[str] = set()
    frontier = [name for name, node in graph.nodes.items() if isinstance(node, (nir.IF, nir.LIF))]
    while frontier:
        name = frontier.pop()
        targets = [target for source, target in graph.edges if source == name]
        frontier += [target for target in targets if target not in behind]
        behind.update(targets)
    weighted = (nir.Conv2d, nir.Affine, nir.Linear)
    return tuple(
        name for name, node in graph.nodes.items() if name in behind and isinstance(node, weighted)
    )


def layer_of(name: str, graph: "nir.NIRGraph", /) -> Layer:
    """Return what a core would hold of the node ``name``."""
    node: Any = graph.nodes[name]
    weight = node.weight if node.weight.ndim == 4 else node.weight[:, :, None, None]
    outputs, inputs, height, width = weight.shape
    maps = [int(size) for size in node.output_type["output"]][1:] or [1, 1]
    return Layer(
        name=name,
        kernel=inputs * 2 ** (_log2(height * width) + _log2(outputs)),
        neuron=outputs * 2 ** sum(map(_log2, maps)),
        bias=outputs if np.any(getattr(node, "bias", 0)) else 0,
    )


def _log2(size: int) -> int:
    return math.ceil(math.log2(size))


def placed(layers: Sequence[Layer], taken: frozenset[int] = frozenset()) -> tuple[int, ...] | None:
    """Return a core for each layer, no core twice, or None if there is no such choice."""
    if not layers:
        return ()
    for core in range(len(KERNEL_MEMORY)):
        if core in taken or not layers[0].fits(core):
            continue
        rest = placed(layers[1:], taken | {core})
        if rest is not None:
            return (core, *rest)
    return None


def _strange(graph: "nir.NIRGraph") -> Iterator[str]:
    """Yield what the chip has no part for."""
    import nir

    known = (nir.Input, nir.Output, nir.Conv2d, nir.Affine, nir.Linear, nir.SumPool2d, nir.Flatten)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.IF):
            if _said(node).get("reset") != "subtract":
                yield f"{name} resets to zero, and the chip subtracts its threshold"
        elif not isinstance(node, known):
            yield f"{name} is a {type(node).__name__}, which the chip has not"
        elif isinstance(node, nir.Conv2d) and (
            int(node.groups) != 1 or np.any(np.asarray(node.dilation) != 1)
        ):
            yield f"{name} is a convolution in groups or dilated, which the chip has not"


def _said(node: Any) -> dict[str, Any]:
    text = node.metadata.get("spec", "{}")
    told: dict[str, Any] = json.loads(text if isinstance(text, str) else text.decode())
    return told


def quantised(graph: "nir.NIRGraph", /) -> "nir.NIRGraph":
    """Return ``graph`` with the integers of the chip, still a graph of NIR.

    A layer and the threshold it is compared with are scaled alike, as far as weights, biases
    and threshold fit, and rounded; so membranes are integers, of which a threshold of NIR is one
    below in its type. The read-out is scaled alone, which changes no decision. What the host
    computes stays as it is.

    Raises:
        UnsupportedError: If one layer's weights are heard by two layers of neurons.
    """
    import nir

    made = deepcopy(graph)
    for name in on_chip(made):
        node: Any = made.nodes[name]
        neurons = [target for target in _heard_by(name, made) if isinstance(target, nir.IF)]
        if len(neurons) > 1:
            raise UnsupportedError(f"{name} is heard by {len(neurons)} layers of neurons")
        spec = _said(neurons[0]) if neurons else {}
        threshold = np.array([spec.get("v_threshold", 0.0)])
        bias = np.asarray(getattr(node, "bias", 0.0))
        scale = min(
            _scale(node.weight, WEIGHT_BITS),
            _scale(bias, WEIGHT_BITS),
            _scale(threshold, STATE_BITS),
        )
        node.weight = np.round(node.weight * scale)
        if hasattr(node, "bias"):
            node.bias = np.round(bias * scale)
        for target in neurons:
            spec["v_threshold"] = float(np.round(threshold * scale)[0])
            below = np.nextafter(target.v_threshold.dtype.type(spec["v_threshold"]), -np.inf)
            target.v_threshold = np.full_like(target.v_threshold, below)
            target.metadata = {**target.metadata, "spec": json.dumps(spec, sort_keys=True)}
    return made


def _heard_by(name: str, graph: "nir.NIRGraph") -> list[Any]:
    return [graph.nodes[target] for source, target in graph.edges if source == name]


def _scale(values: NDArray[Any], bits: int) -> float:
    """Return the largest factor with which ``values`` are integers of ``bits`` bits, signed."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return (2 ** (bits - 1) - 1) / largest if largest else math.inf
