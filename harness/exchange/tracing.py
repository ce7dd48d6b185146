"""The graph of a network, found by running it once.

A topology here is Python, and its sums, views and poolings are no modules. So the network is
run on one sample for one step, and every tensor is followed by the memory it lies in: modules
without children and layers of neurons are nodes, a view is what it views, and a sum is a list
of what it adds up.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harness.contracts.errors import UnsupportedError
from harness.neurons.spiking import SpikingLayer

INPUT = "input"
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation.

    Attributes:
        name: Of its module, dots as underscores; of a function, its own and a number.
        module: What it does to ``[N, ...]``, or to ``[T, N, ...]`` if it is neurons.
        sources: Nodes whose answers are added up for it, from the left.
        takes: The shape of one sample that it is given.
        gives: The shape of one sample that it answers.
    """

    name: str
    module: nn.Module
    sources: tuple[str, ...]
    takes: Shape
    gives: Shape


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What a network does with a stimulus.

    Attributes:
        shape: Of one sample of the stimulus, whose node is called ``input``.
        nodes: In the order they were run.
        answer: The nodes whose sum is the network's answer.
    """

    shape: Shape
    nodes: tuple[Node, ...]
    answer: tuple[str, ...]


def trace(network: nn.Module, shape: Shape, /) -> Graph:
    """Return the graph of ``network``, which is called as ``harness.contracts.model.Network``.

    Raises:
        UnsupportedError: If it does something that is neither a module, a view, a sum nor an
            average over a window; names it.
    """
    for name, module in network.named_modules():
        if getattr(module, "sees_time", False):
            raise UnsupportedError(f"{name} tells steps apart, and a node of a graph does not")
    parameter = next(network.parameters())
    stimulus = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
    was_training = network.training
    network.eval()
    tracer = _Tracer(stimulus)
    try:
        with torch.no_grad(), _watched(network, tracer), tracer:
            answer: Tensor = network(stimulus, 1).logits
    finally:
        network.train(was_training)
    return Graph(shape=shape, nodes=tuple(tracer.nodes), answer=tracer.sources_of(answer))


@contextmanager
def _watched(network: nn.Module, tracer: "_Tracer") -> Iterator[None]:
    """Tell ``tracer`` of every leaf of ``network``."""
    handles = []
    for name, module in _leaves(network):
        handles.append(module.register_forward_pre_hook(tracer.enter))
        handles.append(module.register_forward_hook(tracer.leaving(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leaves(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield what computes: layers of neurons, whatever they are made of, and childless modules."""
    children = list(module.named_children())
    if isinstance(module, SpikingLayer) or not children:
        if not isinstance(module, nn.Identity):
            yield name, module
        return
    for child, part in children:
        yield from _leaves(part, f"{name}.{child}" if name else child)


class _Tracer(TorchFunctionMode):
    """Follows the signals of one pass."""

    def __init__(self, stimulus: Tensor) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._inside = 0
        self._known: dict[int, tuple[str, ...]] = {_memory(stimulus): (INPUT,)}
        self._alive: list[Tensor] = [stimulus]  # freed memory would be taken for what lay there

    def sources_of(self, signal: Tensor) -> tuple[str, ...]:
        """Return what adds up to ``signal``."""
        with torch._C.DisableTorchFunction():  # noqa: SLF001  torch has no public name for it
            return self._sources("the answer", signal)

    def _sources(self, name: str, signal: Tensor) -> tuple[str, ...]:
        known = self._known.get(_memory(signal))
        if known is None:
            raise UnsupportedError(
                f"{name} is made of something that is computed outside of any module, which no "
                "exchange format is told"
            )
        return known

    def enter(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:  # noqa: ARG002  a hook's signature
        """Stop looking until the module has answered."""
        self._inside += 1

    def leaving(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        """Return the hook that files the module ``name``."""

        def leave(module: nn.Module, arguments: tuple[Any, ...], answer: Tensor) -> None:
            self._inside -= 1
            if self._inside == 0:
                with torch._C.DisableTorchFunction():  # noqa: SLF001  as above
                    leading = 2 if isinstance(module, SpikingLayer) else 1
                    self._file(name.replace(".", "_"), module, arguments[0], answer, leading)

        return leave

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        if self._inside == 0 and isinstance(answer, Tensor):
            self._look(func.__name__, args, kwargs or {}, answer)
        return answer

    def _look(
        self, name: str, args: Sequence[Any], options: Mapping[str, Any], answer: Tensor
    ) -> None:
        given = [part for part in args if isinstance(part, Tensor) and _memory(part) in self._known]
        if not given:
            return
        if name == "flatten" and (args[1:2] or (options.get("start_dim", 0),))[0] > 0:
            self._file(self._numbered("flatten"), nn.Flatten(), given[0], answer, 1)
        elif name in {"add", "__add__"} and len(given) == 2:
            self._know(answer, self._in_order(*(self._known[_memory(part)] for part in given)))
        elif _memory(answer) in self._known:
            return  # a view
        elif name == "avg_pool2d":
            pooling = nn.AvgPool2d(*args[1:], **options)
            self._file(self._numbered("pool"), pooling, given[0], answer, 1)
        else:
            raise UnsupportedError(
                f"the network computes {name} outside of any module, which no exchange format is "
                "told; put it into a module, or write it as a sum, a view or an average"
            )

    def _in_order(self, *sums: tuple[str, ...]) -> tuple[str, ...]:
        """Return what both add up as the network came to it.

        Blocks add their answer to the sum so far, so from the left this is their order, and
        rounds as they do: ``a + b`` is ``b + a`` to the last bit, ``(a + b) + c`` no other sum.
        """
        order = [INPUT, *(node.name for node in self.nodes)]
        return tuple(sorted(chain(*sums), key=order.index))

    def _numbered(self, name: str) -> str:
        return f"{name}{sum(node.name.startswith(name) for node in self.nodes) + 1}"

    def _file(
        self, name: str, module: nn.Module, signal: Tensor, answer: Tensor, leading: int
    ) -> None:
        if runs := sum(node.module is module for node in self.nodes):
            if isinstance(module, SpikingLayer):
                raise UnsupportedError(f"the neurons {name} run twice, which is two layers of them")
            name = f"{name}_{runs + 1}"
        sources = self._sources(name, signal)
        if len(set(sources)) < len(sources):
            raise UnsupportedError(f"{name} is given the sum of a signal with itself")
        takes, gives = tuple(signal.shape[leading:]), tuple(answer.shape[leading:])
        node = Node(name=name, module=module, sources=sources, takes=takes, gives=gives)
        self.nodes.append(node)
        self._know(answer, (name,))

    def _know(self, signal: Tensor, sources: tuple[str, ...]) -> None:
        self._alive.append(signal)
        self._known[_memory(signal)] = sources


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()
