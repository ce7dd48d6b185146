"""Whether a graph of NIR fits a DYNAP-CNN chip, and what it decides with the chip's integers.

The chip (SynSense; the core of Speck) has nine cores, a layer each: a convolution or a matrix, then
integrators that reset to zero or subtract their threshold, then sums over squares of pixels. Its
limits are those that Sinabs 3.1.3 documents and checks (``sinabs.backend.dynapcnn``): for ``c``
input and ``f`` output channels, kernels of ``h x w`` and maps of ``H x W``,

    kernel memory  c 2^(ceil(log2(h w)) + ceil(log2 f))
    neuron memory  f 2^(ceil(log2 H) + ceil(log2 W))

A matrix is a convolution whose kernels are as large as the maps that were flattened before it. An
average is a sum that the next weights divide. Weights and biases are integers of 8 bits, thresholds
and membranes of 16.

What comes before the first neurons is a current and no event: they are computed on the host, whose
spikes the chip is sent. Nor has the chip weights without neurons: it sends the spikes of the last
ones back, of which the host computes the read-out. What the chip does else (several spikes a step,
a lower bound of membranes) is not looked at.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts.errors import SpecError, UnsupportedError
from harness.exchange.nir_import import dt_of
from harness.exchange.nir_neurons import spec_of

if TYPE_CHECKING:
    import nir

WEIGHT_BITS, STATE_BITS = 8, 16
_KI = 1024
KERNEL_MEMORY = tuple(_KI * size for size in (16, 16, 16, 32, 32, 64, 64, 16, 16))
NEURON_MEMORY = tuple(_KI * size for size in (64, 64, 64, 32, 32, 16, 16, 16, 16))
BIAS_MEMORY = _KI
DESTINATIONS = 2  # of a core; the host is none
_KINDS = {
    "Affine": "weights",
    "Conv2d": "weights",
    "Linear": "weights",
    "CubaLIF": "neurons",
    "IF": "neurons",
    "LIF": "neurons",
    "AvgPool2d": "pools",
    "SumPool2d": "pools",
}
_HEARD_BY = {
    "weights": ("neurons", "pools"),
    "neurons": ("weights",),
    "pools": ("neurons", "pools"),
}


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

    def on(self, core: int) -> str:
        """Return in words what it takes of the memories of ``core``."""
        return (
            f"{self.name} on core {core}: {self.kernel} of {KERNEL_MEMORY[core]} kernel, "
            f"{self.neuron} of {NEURON_MEMORY[core]} neuron and {self.bias} of {BIAS_MEMORY} bias "
            "words"
        )


def objections(graph: "nir.NIRGraph", /) -> list[str]:
    """Return why ``graph``, between its first and last neurons, does not fit; empty if it does.

    The read-out, weights that no neurons hear, is the host's and no objection.
    """
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


def told(graph: "nir.NIRGraph", /) -> tuple[bool, list[str]]:
    """Return whether ``graph`` fits, and on which core each layer lies, or else the objections."""
    if found := objections(graph):
        return False, found
    layers = [layer_of(name, graph) for name in on_chip(graph)]
    cores = placed(layers)
    assert cores is not None
    return True, [layer.on(core) for layer, core in zip(layers, cores, strict=True)]


def on_chip(graph: "nir.NIRGraph", /) -> tuple[str, ...]:
    """Return the nodes with weights between neurons; those before and after are the host's."""
    return _wired(graph).weights


def layer_of(name: str, graph: "nir.NIRGraph", /) -> Layer:
    """Return what a core would hold of the node ``name``."""
    node: Any = graph.nodes[name]
    outputs, inputs, height, width = _kernel(name, graph)
    maps = [int(size) for size in node.output_type["output"]][1:] or [1, 1]
    return Layer(
        name=name,
        kernel=inputs * 2 ** (_log2(height * width) + _log2(outputs)),
        neuron=outputs * 2 ** sum(map(_log2, maps)),
        bias=outputs if np.any(getattr(node, "bias", 0)) else 0,
    )


def _kernel(name: str, graph: "nir.NIRGraph") -> tuple[int, ...]:
    """Return outputs, inputs, height and width of the convolution that a layer is on the chip."""
    import nir

    shape: tuple[int, ...] = graph.nodes[name].weight.shape
    if len(shape) == 4:
        return shape
    sources = [graph.nodes[source] for source, target in graph.edges if target == name]
    flattened = [node.input_type["input"] for node in sources if isinstance(node, nir.Flatten)]
    height, width = next((map(int, maps[1:]) for maps in flattened if len(maps) == 3), (1, 1))
    outputs, inputs = shape
    return outputs, inputs // (height * width), height, width


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


@dataclass(frozen=True, kw_only=True)
class _Wired:
    """Who hears whom, as if nothing were flattened.

    Attributes:
        nodes: Those of the graph.
        sources: What each node hears.
        readers: What hears each node.
        chip: What is heard behind neurons, and is neurons or leads to some.
    """

    nodes: Mapping[str, Any]
    sources: Mapping[str, Sequence[str]]
    readers: Mapping[str, Sequence[str]]
    chip: Sequence[str]

    @property
    def weights(self) -> tuple[str, ...]:
        """Those on the chip that have some."""
        return tuple(name for name in self.chip if _kind(self.nodes[name]) == "weights")


def _wired(graph: "nir.NIRGraph") -> _Wired:
    import nir

    edges = list(graph.edges)
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Flatten):
            past = [(s, t) for s, here in edges for h, t in edges if here == h == name]
            edges = [edge for edge in edges if name not in edge] + past
    sources = {name: [s for s, t in edges if t == name] for name in graph.nodes}
    readers = {name: [t for s, t in edges if s == name] for name in graph.nodes}
    firing = {name for name, node in graph.nodes.items() if _kind(node) == "neurons"}
    chip = _reached(firing, readers) & (firing | _reached(firing, sources))
    return _Wired(
        nodes=graph.nodes,
        sources=sources,
        readers=readers,
        chip=[name for name in graph.nodes if name in chip],
    )


def _kind(node: Any) -> str:
    return _KINDS.get(type(node).__name__, "")


def _reached(starts: Iterable[str], steps: Mapping[str, Sequence[str]]) -> set[str]:
    """Return what a step or more lead to from ``starts``."""
    found: set[str] = set()
    frontier = list(starts)
    while frontier:
        new = set(steps[frontier.pop()]) - found
        found |= new
        frontier += new
    return found


def _strange(graph: "nir.NIRGraph") -> Iterator[str]:
    """Yield what the chip has no part or no place for."""
    wired = _wired(graph)
    if not wired.weights:
        yield "no weights are between neurons, so the chip would hold nothing"
    for name in wired.chip:
        yield from _unknown(name, graph)
        yield from _misplaced(name, wired)


def _unknown(name: str, graph: "nir.NIRGraph") -> Iterator[str]:
    """Yield why the chip has no part for ``name``."""
    import nir

    node: Any = graph.nodes[name]
    if isinstance(node, nir.IF):
        try:
            spec_of(name, node, dt_s=dt_of(graph))
        except (SpecError, UnsupportedError) as error:
            yield str(error)
    elif _kind(node) == "pools":
        kernel, stride, padding = (
            np.broadcast_to(part, 2).tolist()
            for part in (node.kernel_size, node.stride, node.padding)
        )
        if kernel[0] != kernel[1] or stride != kernel or any(padding):
            yield (
                f"{name} pools {kernel} pixels, {stride} apart and padded by {padding}; the chip "
                "pools squares side by side"
            )
    elif _kind(node) == "weights":
        *_, height, width = _kernel(name, graph)
        if height != width:
            yield f"{name} has kernels of {height}x{width}; those of the chip are squares"
        if isinstance(node, nir.Conv2d) and (
            int(node.groups) != 1 or np.any(np.asarray(node.dilation) != 1)
        ):
            yield f"{name} is a convolution in groups or dilated, which the chip has not"
    else:
        yield f"{name} is a {type(node).__name__}, which the chip has not"


def _misplaced(name: str, wired: _Wired) -> Iterator[str]:
    """Yield why ``name`` is no part of a core (weights, then neurons, then pools) where it is."""
    kind = _kind(wired.nodes[name])
    sources, readers = wired.sources[name], wired.readers[name]
    for source in sources:
        if kind and _kind(wired.nodes[source]) not in _HEARD_BY[kind]:
            heard = " or ".join(_HEARD_BY[kind])
            yield f"{name} hears {source}; {kind} of the chip hear {heard}"
    if kind == "neurons" and len(sources) > 1:
        yield f"{name} adds {' and '.join(sources)}; a core has one layer of weights"
    # The first neurons are the host's, which sends to any number.
    if kind == "neurons" and not set(sources).isdisjoint(wired.chip):
        sent = [weights for weights in wired.weights if name in _senders(weights, wired)]
        if len(sent) > DESTINATIONS:
            yield f"{name} sends to {', '.join(sent)}; a core sends to {DESTINATIONS} others"
    if kind == "weights" and len(readers) > 1:
        yield f"{name} is heard by {' and '.join(readers)}; a core has one layer of neurons"
    if kind == "weights" and len(areas := _averaged(name, wired)) > 1:
        yield f"{name} hears averages of {sorted(areas)} pixels; its weights divide by one number"
    if kind == "pools" and not set(readers).issubset(wired.chip):
        yield f"{name} is heard by {' and '.join(readers)}, of which some are the host's"


def _senders(name: str, wired: _Wired) -> set[str]:
    """Return which neurons ``name`` hears, of itself or through pools."""
    heard: set[str] = set()
    for source in wired.sources[name]:
        heard |= _senders(source, wired) if _kind(wired.nodes[source]) == "pools" else {source}
    return heard


def _averaged(name: str, wired: _Wired) -> set[int]:
    """Return of how many pixels ``name`` hears averages, where 1 is none."""
    areas: set[int] = set()
    for source in wired.sources[name]:
        node = wired.nodes[source]
        if _kind(node) == "pools":
            before = _averaged(source, wired)
            areas |= {area * _area(node) for area in before}
        else:
            areas.add(1)
    return areas


def _area(pool: Any) -> int:
    averages = type(pool).__name__ == "AvgPool2d"
    return int(np.prod(np.broadcast_to(pool.kernel_size, 2))) if averages else 1


def quantised(graph: "nir.NIRGraph", /) -> "nir.NIRGraph":
    """Return ``graph`` with the integers of the chip, still a graph of NIR.

    Averages become sums, and the weights that hear them are divided by the pixels. Then a layer
    and the threshold it is compared with are scaled alike, as far as weights, biases and
    threshold fit, and rounded; so membranes are integers, of which a threshold of NIR is one
    below in its type. What the host computes, the read-out too, stays as it is.

    Raises:
        UnsupportedError: If the chip has no part or no place for a node; too little memory is
            no reason.
    """
    made = deepcopy(graph)
    if found := list(_strange(made)):
        raise UnsupportedError("; ".join(found))
    wired = _wired(made)
    for name in wired.weights:
        (pixels,), (neurons,) = _averaged(name, wired), wired.readers[name]
        spec, _ = spec_of(neurons, made.nodes[neurons], dt_s=dt_of(made))
        scale = _quantise(made.nodes[name], spec.v_threshold, pixels=pixels)
        _set_threshold(made.nodes[neurons], float(np.round(spec.v_threshold * scale)))
    for name in wired.chip:
        made.nodes[name] = _summing(made.nodes[name])
    return made


def _quantise(node: Any, threshold: float, *, pixels: int) -> float:
    """Make integers of weights and bias; return by what they and ``threshold`` are multiplied."""
    weight = node.weight / pixels
    bias = np.asarray(getattr(node, "bias", 0.0))
    scale = min(
        _scale(weight, WEIGHT_BITS),
        _scale(bias, WEIGHT_BITS),
        _scale(np.array(threshold), STATE_BITS),
    )
    node.weight = np.round(weight * scale)
    if hasattr(node, "bias"):
        node.bias = np.round(bias * scale)
    return scale


def _set_threshold(neurons: Any, threshold: float) -> None:
    below = np.nextafter(neurons.v_threshold.dtype.type(threshold), -np.inf)
    neurons.v_threshold = np.full_like(neurons.v_threshold, below)
    if said := neurons.metadata.get("spec"):
        spec = json.dumps(json.loads(said) | {"v_threshold": threshold}, sort_keys=True)
        neurons.metadata = {**neurons.metadata, "spec": spec}


def _summing(node: Any) -> Any:
    """Return ``node``, or the sum over the pixels that it averages."""
    import nir

    if not isinstance(node, nir.AvgPool2d):
        return node
    return nir.SumPool2d(kernel_size=node.kernel_size, stride=node.stride, padding=node.padding)


def _scale(values: NDArray[Any], bits: int) -> float:
    """Return the largest factor with which ``values`` are integers of ``bits`` bits, signed."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return (2 ** (bits - 1) - 1) / largest if largest else math.inf
