"""A graph of NIR as a student on a simulator of the house."""

import math
import operator
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnsupportedError
from harness.contracts.neuron import NeuronSpec
from harness.engine.packed import one_line
from harness.exchange.graph import GraphNetwork, Step
from harness.exchange.nir_neurons import DT_S, spec_of
from harness.exchange.tracing import INPUT

if TYPE_CHECKING:
    import nir

Neurons = Callable[[NeuronSpec], nn.Module]
# What numpy and torch raise of arrays that are no layer's.
_ODD = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)


def read(path: Path, /) -> "nir.NIRGraph":
    """Return the graph in a file.

    Raises:
        SpecError: If there is none.
    """
    import nir

    try:
        graph = nir.read(path)
    except FileNotFoundError as error:
        raise SpecError(f"no file {path}") from error
    except Exception as error:  # h5py and nir raise whatever they meet
        if path.suffix == ".onnx":
            raise SpecError(
                f"`import` reads NIR, and {path} is none; onnxruntime.InferenceSession runs ONNX"
            ) from error
        raise SpecError(f"{path} is no file of NIR: {one_line(error)}") from error
    if not isinstance(graph, nir.NIRGraph):
        raise SpecError(f"{path} holds a {type(graph).__name__} and no graph")
    return graph


def metadata_of(graph: "nir.NIRGraph", /) -> dict[str, Any]:
    """Return what a file says of itself, which may be nothing."""
    return graph.metadata if isinstance(graph.metadata, dict) else {}


def timesteps_of(graph: "nir.NIRGraph", /) -> int | None:
    """Return for how many steps a student was trained, if the graph's metadata say a number."""
    try:
        return operator.index(metadata_of(graph).get("timesteps"))  # type: ignore[arg-type]  # or it raises
    except TypeError:
        return None


def dt_of(graph: "nir.NIRGraph", /) -> float:
    """Return what a step lasts in seconds, by the graph's metadata, or ``DT_S``.

    Raises:
        SpecError: If the metadata says no duration.
    """
    said = metadata_of(graph).get("dt")
    return DT_S if said is None else _seconds("dt in the graph's metadata", said)


def _seconds(name: str, said: Any) -> float:
    try:
        seconds = float(said)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise SpecError(
            f"{name} is what a step lasts, a positive number of seconds, got {said}; say it with "
            "--dt 1e-4"
        )
    return seconds


def from_nir(
    graph: "nir.NIRGraph", neuron: Neurons, /, *, dt_s: float | None = None
) -> GraphNetwork:
    """Return the network of ``graph``, with neurons made by ``neuron``.

    ``dt_s`` is what a step lasts, if not what the file says. A sum of spikes that is above a
    threshold between 0 and 1 becomes the maximum that it is.

    Raises:
        UnsupportedError: If the graph goes round in a circle, or the contract cannot mean a node.
        SpecError: If the metadata of a node contradicts its numbers, two nodes would have one
            name, or a step lasts no time.
    """
    reader = _Reader(graph, neuron, dt_of(graph) if dt_s is None else _seconds("dt", dt_s))
    return reader.network()


class _Reader:
    """Nodes of NIR on their way to modules."""

    def __init__(self, graph: "nir.NIRGraph", neuron: Neurons, dt_s: float) -> None:
        self.nodes: dict[str, Any] = dict(graph.nodes)
        self.neuron, self.dt_s = neuron, dt_s
        self.sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self.sources[target].append(source)
        self._join_maxima()
        self.names = {name: name.replace(".", "_") for name in self.nodes}

    def network(self) -> GraphNetwork:
        import nir

        begin = self._only(nir.Input)
        end = self._only(nir.Output)
        if len(self.sources[end]) != 1:
            raise UnsupportedError(f"{end} adds up {len(self.sources[end])} nodes, not one")
        self.names[begin] = INPUT
        order = [name for name in self._order() if name not in {begin, end}]
        # The read-out last, whatever else the order allows.
        last = self.sources[end][0]
        order = [name for name in order if name != last] + [last]
        self._require_distinct([begin, *order])
        parts = {self.names[name]: self._part(name, self.nodes[name]) for name in order}
        steps = [
            Step(name=self.names[name], sources=tuple(self.names[s] for s in self.sources[name]))
            for name in order
        ]
        shape = tuple(int(size) for size in self.nodes[begin].input_type["input"])
        return GraphNetwork(shape, parts, steps)

    def _require_distinct(self, nodes: list[str]) -> None:
        """Refuse ``nodes`` of which one would take the place of another."""
        named: dict[str, str] = {}
        for node in nodes:
            name = self.names[node]
            if (other := named.setdefault(name, node)) != node:
                raise SpecError(
                    f"the nodes {other!r} and {node!r} would both be called {name!r}; rename one "
                    "of them in the file"
                )

    def _only(self, kind: type) -> str:
        found = [name for name, node in self.nodes.items() if isinstance(node, kind)]
        if len(found) != 1:
            raise UnsupportedError(f"the graph has {len(found)} nodes {kind.__name__}, not one")
        return found[0]

    def _order(self) -> list[str]:
        try:
            return list(TopologicalSorter(self.sources).static_order())
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise UnsupportedError(
                f"the graph is recurrent ({circle}), and our networks are not"
            ) from error

    def _join_maxima(self) -> None:
        """Make one maximum of a sum over spikes and the threshold that alone reads it."""
        import nir

        for name in [name for name, node in self.nodes.items() if isinstance(node, nir.Threshold)]:
            threshold, sources = self.nodes[name].threshold, self.sources[name]
            pooled = self.nodes[sources[0]] if len(sources) == 1 else None
            if not isinstance(pooled, nir.SumPool2d):
                continue
            alone = sum(sources[0] in given for given in self.sources.values()) == 1
            if alone and np.all((threshold > 0) & (threshold < 1)) and self._fires(sources[0]):
                self.nodes[name] = nn.MaxPool2d(**_window(pooled))
                del self.nodes[sources[0]]
                self.sources[name] = self.sources.pop(sources[0])

    def _fires(self, pooled: str) -> bool:
        """Return whether what ``pooled`` adds up are spikes."""
        import nir

        given = [self.nodes[source] for source in self.sources[pooled]]
        spikes = (nir.IF, nir.LIF, nir.Threshold, nn.MaxPool2d)
        return len(given) == 1 and isinstance(given[0], spikes)

    def _part(self, name: str, node: Any) -> nn.Module:
        """Return the module of a node, or say which node has numbers that make none."""
        try:
            return self._module(name, node)
        except UnsupportedError:  # which names the node, or what is unknown
            raise
        except _ODD as error:
            words = f"the node {name!r}, a {type(node).__name__}: {one_line(error)}"
            raise SpecError(words) from error

    def _module(self, name: str, node: Any) -> nn.Module:
        import nir

        if isinstance(node, nn.Module):
            return node
        if isinstance(node, (nir.IF, nir.LIF)):
            return self._neurons(name, node)
        made = _MODULES.get(type(node).__name__)
        if made is None:
            raise UnsupportedError(
                f"{name} is a {type(node).__name__}, which we cannot run; we can: IF, LIF, "
                f"{', '.join(_MODULES)}"
            )
        return made(node)

    def _neurons(self, name: str, node: "nir.IF | nir.LIF") -> nn.Module:
        spec, w = spec_of(name, node, dt_s=self.dt_s)
        # In the file's type, or ``w`` would be rounded.
        neurons = self.neuron(spec).to(_tensor(node.v_threshold).dtype)
        if w is not None:
            with torch.no_grad():
                cast("Tensor", neurons.w).fill_(w)
        return neurons


class SumPool(nn.Module):
    """The sum over a window."""

    def __init__(
        self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        """Take windows of ``kernel_size``, ``stride`` apart, around which are zeros."""
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(
        self,
        value: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Return ``[N, C, H', W']``."""
        return nn.functional.avg_pool2d(
            value, self.kernel_size, self.stride, self.padding, divisor_override=1
        )


class Above(nn.Module):
    """1 where a signal is above a threshold, else 0."""

    threshold: Tensor

    def __init__(self, threshold: Tensor) -> None:
        """Keep ``threshold``, of the shape of a sample."""
        super().__init__()
        self.register_buffer("threshold", threshold)

    def forward(
        self,
        value: Tensor,  # [N, ...]
    ) -> Tensor:
        """Return zeros and ones ``[N, ...]``."""
        return (value > self.threshold).to(value.dtype)


class Scaled(nn.Module):
    """A signal times a number for each of its elements."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        """Keep ``scale``, of the shape of a sample."""
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(
        self,
        value: Tensor,  # [N, ...]
    ) -> Tensor:
        """Return the product ``[N, ...]``."""
        return value * self.scale


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(values))


def _pair(size: Any) -> tuple[int, int]:
    first, second = np.broadcast_to(np.asarray(size), 2).tolist()
    return int(first), int(second)


def _window(node: Any) -> dict[str, Any]:
    return {name: _pair(getattr(node, name)) for name in ("kernel_size", "stride", "padding")}


class Copied(nn.Module):
    """Channels of every so many pixels, and planes of zeros."""

    source: Tensor

    def __init__(self, source: Tensor, stride: tuple[int, int]) -> None:
        """Take channel ``source[c]`` for channel ``c``, zeros where that is negative."""
        super().__init__()
        self.register_buffer("source", source)
        self.stride = stride

    def forward(
        self,
        value: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        """Return ``[N, C', H', W']``."""
        down, right = self.stride
        pixels = value[:, :, ::down, ::right]
        empty = torch.zeros_like(pixels[:, :1])
        # The last channel is the empty one, which is what -1 asks for.
        return torch.cat([pixels, empty], dim=1)[:, self.source]


def _convolution(node: Any) -> nn.Module:
    outputs, inputs, *kernel = node.weight.shape
    groups = int(node.groups)
    if (plain := _one_input_a_channel(node)) is not None:
        return plain
    padding = node.padding.decode() if isinstance(node.padding, bytes) else node.padding
    made = nn.Conv2d(
        inputs * groups,
        outputs,
        _pair(kernel),
        stride=_pair(node.stride),
        padding=padding if isinstance(padding, str) else _pair(padding),
        dilation=_pair(node.dilation),
        groups=groups,
        # A bias of zeros would be metered.
        bias=bool(np.any(node.bias)),
    )
    return _with_weights(made, node.weight, node.bias if np.any(node.bias) else None)


def _one_input_a_channel(node: Any) -> nn.Module | None:
    """Return the norm or the copy that is written as a 1x1 convolution, if it is one.

    As a convolution it would be metered as all the products with zero that it is spared.
    """
    weight, stride = node.weight[:, :, 0, 0], _pair(node.stride)
    square = node.weight.shape[2:] == (1, 1) and int(node.groups) == 1
    if not square or np.any(node.padding) or np.any(np.count_nonzero(weight, axis=1) > 1):
        return None
    if stride == (1, 1) and np.array_equal(weight, np.diag(np.diag(weight))):
        return _norm(_tensor(np.diag(weight)), _tensor(node.bias))
    if np.any(node.bias) or np.any((weight != 0) & (weight != 1)):
        return None
    filled = np.where(np.any(weight != 0, axis=1), weight.argmax(axis=1), -1)
    return Copied(_tensor(filled), stride)


def _norm(scale: Tensor, shift: Tensor) -> nn.Module:
    """Return ``scale x + shift`` as a norm over a mean of 0 and a variance of 1."""
    made = nn.BatchNorm2d(len(scale), eps=0.0, dtype=scale.dtype)
    made.weight, made.bias = nn.Parameter(scale), nn.Parameter(shift)
    return made.eval()


def _linear(node: Any) -> nn.Module:
    weight, bias = node.weight, getattr(node, "bias", None)
    if weight.ndim != 2:
        raise UnsupportedError(f"a weight of shape {list(weight.shape)} is no matrix")
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    return _with_weights(made, weight, bias)


def _with_weights(made: nn.Module, weight: NDArray[Any], bias: NDArray[Any] | None) -> nn.Module:
    made.weight = nn.Parameter(_tensor(weight))
    if bias is not None:
        made.bias = nn.Parameter(_tensor(bias))
    return made


def _flatten(node: Any) -> nn.Module:
    # NIR's dimensions are those of a sample.
    begin, end = int(node.start_dim), int(node.end_dim)
    return nn.Flatten(begin + 1 if begin >= 0 else begin, end + 1 if end >= 0 else end)


_MODULES: Mapping[str, Callable[[Any], nn.Module]] = {
    "Affine": _linear,
    "AvgPool2d": lambda node: nn.AvgPool2d(**_window(node)),
    "Conv2d": _convolution,
    "Flatten": _flatten,
    "Linear": _linear,
    "Scale": lambda node: Scaled(_tensor(node.scale)),
    "SumPool2d": lambda node: SumPool(**_window(node)),
    "Threshold": lambda node: Above(_tensor(node.threshold)),
}
