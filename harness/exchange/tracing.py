"""The graph of a network, found by running it once.

A topology here is Python, and its sums, views and poolings are no modules. So the network is
run on one sample for one step, and every tensor is followed by the memory it lies in: modules
without children and layers of neurons are nodes, a view of all elements in their order is what
it views, and a sum is a list of what it adds up.
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
SUMS = frozenset({"add", "add_", "__add__", "__iadd__"})
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
        UnsupportedError: If it does something that is neither a module, a view of all elements
            in their order, a sum nor an average over a window; names it.
    """
    for name, module in network.named_modules():
        if getattr(module, "sees_time", False):
            raise UnsupportedError(f"{name} tells steps apart, and a node of a graph does not")
    parameter = next(network.parameters(), torch.zeros(()))
    stimulus = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
    was_training = network.training
    network.eval()
    tracer = _Tracer(stimulus)
    try:
        # Inference mode counts no writes into tensors.
        with torch.inference_mode(mode=False), torch.no_grad(), _watched(network, tracer), tracer:
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


@dataclass(frozen=True)
class _Signal:
    """What adds up to ``value``, kept: freed memory would be taken for what lay there."""

    sources: tuple[str, ...]
    value: Tensor


class _Tracer(TorchFunctionMode):
    """Follows the signals of one pass."""

    def __init__(self, stimulus: Tensor) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._inside = 0
        self._known: dict[int, _Signal] = {_memory(stimulus): _Signal((INPUT,), stimulus)}

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
        if not _is_whole(signal, known.value):
            raise UnsupportedError(
                f"{name} is made of a part of {' + '.join(known.sources)}, or of its elements in "
                "another order, which no exchange format is told; put that into a module"
            )
        return known.sources

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
        options = kwargs or {}
        signals = [] if self._inside else self._signals((args, options))
        before = [signal._version for signal in signals]  # noqa: SLF001  torch has no public name for it
        answer = func(*args, **options)
        if signals:
            written = before != [signal._version for signal in signals]  # noqa: SLF001  as above
            self._look(_called(func), signals[0], args, options, answer, written=written)
        return answer

    def _signals(self, value: Any) -> list[Tensor]:
        return [part for part in _tensors(value) if _memory(part) in self._known]

    def _look(
        self,
        name: str,
        signal: Tensor,
        args: Sequence[Any],
        options: Mapping[str, Any],
        answer: Any,
        *,
        written: bool,
    ) -> None:
        if name in SUMS and _is_plain_sum(args, options) and len(self._signals(args)) == 2:
            self._know(answer, self._in_order(*(self._sources(name, part) for part in args)))
        elif written:
            raise UnsupportedError(
                f"the network writes into a signal by {name}, which no exchange format is told; "
                "put it into a module, or make a new tensor"
            )
        elif name == "flatten" and _is_flat(args, options, answer):
            self._file(self._numbered("flatten"), nn.Flatten(), signal, answer, 1)
        elif views := self._signals(answer):
            self._require_whole(name, views)
        elif name == "avg_pool2d" and args:
            pooling = nn.AvgPool2d(*args[1:], **options)
            self._file(self._numbered("pool"), pooling, signal, answer, 1)
        elif isinstance(answer, Tensor):
            raise UnsupportedError(
                f"the network computes {name} outside of any module, which no exchange format is "
                "told; put it into a module, or write it as a sum, a view or an average"
            )

    def _require_whole(self, name: str, views: Sequence[Tensor]) -> None:
        """Refuse ``views`` that leave out, repeat or rearrange elements."""
        if not all(_is_whole(view, self._known[_memory(view)].value) for view in views):
            raise UnsupportedError(
                f"the network takes a part of a signal by {name}, or its elements in another "
                "order, which no exchange format is told; put it into a module"
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
        self._known[_memory(signal)] = _Signal(sources, signal)


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a function is given or answers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _called(function: Callable[..., Any]) -> str:
    """Return the name of a function of torch, for ``x.T`` that of the attribute."""
    name: str = function.__name__
    return getattr(function.__self__, "__name__", name) if name == "__get__" else name  # type: ignore[attr-defined]  # getters are bound


def _is_plain_sum(args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    return len(args) == 2 and options.get("alpha", 1) == 1


def _is_flat(args: Sequence[Any], options: Mapping[str, Any], answer: Tensor) -> bool:
    """Return whether a sample became one row, ``[N, K]``."""
    return (args[1:2] or (options.get("start_dim", 0),))[0] == 1 and answer.dim() == 2


def _is_whole(view: Tensor, value: Tensor) -> bool:
    """Return whether ``view``, in the memory of ``value``, has all its elements in its order."""
    return view.dtype == value.dtype and torch.equal(_places(view), _places(value))


def _places(value: Tensor) -> Tensor:
    """Return where in its memory each element lies."""
    memory = torch.arange(value.untyped_storage().nbytes() // value.element_size())
    return memory.as_strided(value.shape, value.stride(), value.storage_offset()).flatten()
