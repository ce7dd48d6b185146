"""A trained network as a graph of NIR.

Every layer of every topology here has a node or two in NIR:

====================  =================================================================
ours                  there
====================  =================================================================
convolution, linear   ``Conv2d``, ``Affine``, ``Linear``
norm                  folded into the layer before it, if it is that layer's only reader;
                      otherwise a ``Conv2d`` of 1x1 with a diagonal weight
maximum of spikes     ``SumPool2d``, then ``Threshold`` at 1/2: some of them fired
average               ``AvgPool2d``
zero-padded shortcut  ``Conv2d`` of 1x1 that copies
sum                   several edges into one node, in the order of the sum
====================  =================================================================

NIR's time is continuous and its input a signal, so it has no word for what stands before the
first neuron and is computed once for a constant image; a reader that steps through time computes
the same current again. The read-out is the mean of the output over the steps, as the graph's
metadata says.
"""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.contracts.errors import SpecError, UnsupportedError
from harness.engine.packed import one_line
from harness.exchange.nir_neurons import DT_S, node_of
from harness.exchange.tracing import INPUT, Graph, Node, Shape, trace
from harness.neurons.spiking import SpikingLayer
from harness.store import write_bytes

if TYPE_CHECKING:
    import nir

OUTPUT = "output"
READ_OUT = "the mean of the output over all steps"
FIRED = 0.5  # a threshold that every sum of spikes but 0 is above of
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def to_nir(
    network: nn.Module,
    shape: Shape,
    /,
    *,
    dt_s: float = DT_S,
    shown: Mapping[str, Any] | None = None,
) -> "nir.NIRGraph":
    """Return ``network``, called as ``harness.contracts.model.Network``, as a graph of NIR.

    Arrays have the network's type. ``dt_s`` is what a step is said to last, and ``shown`` what
    else the metadata says: how the network is shown its samples.

    Raises:
        UnsupportedError: If NIR has no node for a part of it.
        SpecError: If a step lasts no time, or for ever.
    """
    import nir

    if not 0 < dt_s < math.inf or not 1 / dt_s < math.inf:
        raise SpecError(f"a step of dt_s = {dt_s!r} seconds is none")
    writer = _Writer(trace(network, shape), dt_s=dt_s)
    writer.write()
    metadata = {"dt": dt_s, "readout": READ_OUT, **(shown or {})}
    try:
        return nir.NIRGraph(writer.nodes, list(writer.edges), metadata=metadata)
    except ValueError as error:  # shapes that do not follow from one another
        words = f"nir refuses the graph of the network: {one_line(error)}"
        raise UnsupportedError(words) from error


def write(graph: "nir.NIRGraph", path: Path, /) -> None:
    """Write ``graph`` as a file of NIR, whole or not at all.

    Raises:
        SpecError: If there is no such folder, or something else than a file of that name.
        StoreError: If the disk refuses.
    """
    import nir

    content = io.BytesIO()
    nir.write(content, graph)
    put(path, content.getvalue())


def put(path: Path, content: bytes, /) -> None:
    """Write a file in a folder that is there; what it held before stands until it is whole.

    Raises:
        SpecError: If there is no such folder, or something else than a file of that name.
        StoreError: If the disk refuses.
    """
    if not path.absolute().parent.is_dir():
        raise SpecError(f"there is no folder {path.absolute().parent}; make it first")
    if path.exists() and not path.is_file():
        raise SpecError(f"{path} is there and is no file; name another")
    write_bytes(path, content)


@dataclass
class _Writer:
    """Nodes and edges, as far as they are written."""

    graph: Graph
    dt_s: float
    nodes: "dict[str, nir.NIRNode]" = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    _ends: dict[str, str] = field(default_factory=dict)
    _spiking: set[str] = field(default_factory=set)

    def write(self) -> None:
        import nir

        self.nodes[INPUT] = nir.Input({"input": np.array(self.graph.shape)})
        self._ends[INPUT] = INPUT
        for node in self.graph.nodes:
            if isinstance(node.module, _NORMS) and self._folds(node):
                continue
            first, last = self._put(node)
            self.edges += [(self._ends[source], first) for source in node.sources]
            self._ends[node.name] = last
        (gives,) = {node.gives for node in self.graph.nodes if node.name in self.graph.answer}
        self.nodes[OUTPUT] = nir.Output({"output": np.array(gives)})
        self.edges += [(self._ends[source], OUTPUT) for source in self.graph.answer]

    def _folds(self, norm: Node) -> bool:
        """Multiply a norm into the layer before it; return whether that was possible."""
        import nir

        (source,) = norm.sources if len(norm.sources) == 1 else ("",)
        before: Any = self.nodes.get(source)
        readers = sum(source in node.sources for node in self.graph.nodes)
        weighted = isinstance(before, (nir.Conv2d, nir.Affine, nir.Linear))
        if not weighted or readers != 1 or source in self.graph.answer:
            return False
        scale, shift = _affine(norm.module)
        weight = before.weight * scale.reshape(-1, *(1,) * (before.weight.ndim - 1))
        if isinstance(before, nir.Conv2d):
            before.weight, before.bias = weight, before.bias * scale + shift
        else:
            bias = getattr(before, "bias", 0) * scale + shift
            self.nodes[source] = nir.Affine(weight=weight, bias=bias)
        self._ends[norm.name] = source
        return True

    def _put(self, node: Node) -> tuple[str, str]:
        """Add the nodes that ``node`` becomes; return the names of the first and the last."""
        made = list(self._made(node))
        names = [node.name, *(f"{node.name}_{kind}" for kind, _ in made[1:])]
        for name, (_, part) in zip(names, made, strict=True):
            if name in self.nodes:
                raise UnsupportedError(f"two nodes would be called {name!r}")
            self.nodes[name] = part
        self.edges += pairwise(names)
        return names[0], names[-1]

    def _made(self, node: Node) -> "Iterator[tuple[str, nir.NIRNode]]":
        import nir

        module = node.module
        if isinstance(module, SpikingLayer):
            self._spiking.add(node.name)
            dtype = _dtype(self.graph)
            yield "neurons", node_of(module, node.gives, dtype, dt_s=self.dt_s)
        elif isinstance(module, nn.Conv2d):
            yield "conv", _convolution(module, node.takes)
        elif isinstance(module, nn.Linear) and module.bias is None:
            yield "linear", nir.Linear(weight=_array(module.weight))
        elif isinstance(module, nn.Linear):
            yield "linear", nir.Affine(weight=_array(module.weight), bias=_array(module.bias))
        elif isinstance(module, _NORMS):
            yield "norm", _norm(module, node.takes)
        elif isinstance(module, nn.MaxPool2d):
            yield from self._maximum(node, module)
        elif isinstance(module, nn.AvgPool2d):
            _require(
                node,
                ceil_mode=module.ceil_mode,
                divisor=module.divisor_override,
                count_include_pad=not module.count_include_pad and np.any(module.padding),
            )
            yield "pool", nir.AvgPool2d(**_window(module))
        elif isinstance(module, nn.Flatten):
            yield "flatten", nir.Flatten({"input": np.array(node.takes)}, start_dim=0)
        else:
            yield "copy", _copying(node, _dtype(self.graph))

    def _maximum(self, node: Node, module: nn.MaxPool2d) -> "Iterator[tuple[str, nir.NIRNode]]":
        import nir

        dilated = np.any(np.not_equal(module.dilation, 1))
        _require(node, ceil_mode=module.ceil_mode, dilation=dilated)
        if not self._spiking.issuperset(node.sources) or len(node.sources) > 1:
            raise UnsupportedError(
                f"{node.name} is the maximum of currents, for which NIR has no node; of spikes it "
                "would be a sum that is above 1/2"
            )
        self._spiking.add(node.name)
        yield "sum", nir.SumPool2d(**_window(module))
        dtype = _dtype(self.graph)
        yield "any", nir.Threshold(threshold=np.full(node.gives, FIRED, dtype))


def _require(node: Node, **options: Any) -> None:
    if wrong := [name for name, value in options.items() if value]:
        raise UnsupportedError(f"{node.name} pools with {', '.join(wrong)}, and NIR does not")


def _dtype(graph: Graph) -> np.dtype[Any]:
    weights = (weight for node in graph.nodes for weight in node.module.parameters())
    found: np.dtype[Any] = _array(next(weights, torch.zeros(()))).dtype
    return found


def _array(value: Tensor) -> NDArray[Any]:
    return value.detach().cpu().contiguous().numpy().copy()


def _convolution(module: nn.Conv2d, takes: Shape) -> "nir.Conv2d":
    import nir

    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        padding = module.padding if isinstance(module.padding, str) else module.padding_mode
        raise UnsupportedError(f"NIR pads with zeros and by number, and not by {padding!r}")
    weight = _array(module.weight)
    bias = np.zeros(len(weight), weight.dtype) if module.bias is None else _array(module.bias)
    return nir.Conv2d(
        input_shape=takes[1:],
        weight=weight,
        stride=module.stride,
        padding=module.padding,
        dilation=module.dilation,
        groups=module.groups,
        bias=bias,
    )


def _affine(norm: nn.Module) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ``s`` and ``b`` of ``y = s x + b``, a channel each, which a norm is once trained.

    ``s = gamma / sqrt(var + eps)`` and ``b = beta - mean s``, in float64 before they are rounded.

    Raises:
        UnsupportedError: If it goes by the statistics of each batch.
    """
    told = {name: _array(value) for name, value in norm.state_dict().items()}
    if "running_var" not in told:
        raise UnsupportedError(
            "a norm by the statistics of each batch (track_running_stats=False) is no layer of NIR"
        )
    dtype = told["running_var"].dtype
    state = {name: value.astype(np.float64) for name, value in told.items()}
    scale = state.get("weight", 1.0) / np.sqrt(state["running_var"] + float(norm.eps))  # type: ignore[arg-type]  # nn.Module types every attribute as Tensor or Module
    shift = state.get("bias", 0.0) - state["running_mean"] * scale
    return scale.astype(dtype), shift.astype(dtype)


def _norm(module: nn.Module, takes: Shape) -> "nir.NIRNode":
    import nir

    scale, shift = _affine(module)
    if len(takes) == 1:
        return nir.Affine(weight=np.diag(scale), bias=shift)
    # Not in groups: NIR types their input by the channels of one group, and refuses it.
    return _pointwise(takes, np.diag(scale)[:, :, None, None], shift, stride=1)


def _window(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, NDArray[np.int64]]:
    sizes = {
        "kernel_size": module.kernel_size,
        "stride": module.stride,
        "padding": module.padding,
    }
    return {name: np.broadcast_to(np.array(size), 2).copy() for name, size in sizes.items()}


def _copying(node: Node, dtype: np.dtype[Any]) -> "nir.Conv2d":
    """Return the 1x1 convolution that a module without weights is, and make sure that it is.

    Raises:
        UnsupportedError: If it is none.
    """
    unknown = UnsupportedError(f"NIR has no node for {node.name}, a {type(node.module).__name__}")
    weighted = next(node.module.parameters(), None) is not None
    if len(node.takes) != 3 or len(node.gives) != 3 or weighted:
        raise unknown
    kind = torch.from_numpy(np.zeros(0, dtype)).dtype
    channels, stride = node.takes[0], -(-node.takes[1] // node.gives[1])
    impulses = torch.zeros(channels, *node.takes, dtype=kind)
    impulses[range(channels), range(channels), 0, 0] = 1
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, *node.takes, generator=generator, dtype=kind)
    with torch.no_grad():
        weight = node.module(impulses)[:, :, 0, 0].t()[:, :, None, None].contiguous()
        for probe in (sample, 2.0**20 * sample):  # large, too: some clip
            meant = nn.functional.conv2d(probe, weight, stride=stride)
            if not torch.equal(meant, node.module(probe)):
                raise unknown
    return _pointwise(node.takes, weight.numpy(), np.zeros(len(weight), dtype), stride=stride)


def _pointwise(
    takes: Shape, weight: NDArray[Any], bias: NDArray[Any], *, stride: int
) -> "nir.Conv2d":
    import nir

    return nir.Conv2d(
        input_shape=takes[1:],
        weight=weight,
        stride=(stride, stride),
        padding=(0, 0),
        dilation=(1, 1),
        groups=1,
        bias=bias,
    )
