"""A training step recorded as one CUDA graph, and replayed for every batch after that.

A step is some six hundred small kernels. Launched one by one they keep a GPU waiting for
Python nine tenths of the time; a graph launches them at once.

What a graph cannot hold, a step must not do: read a number from the GPU, make shapes that
depend on values, copy from the host, draw from a generator of the host, or do in Python
something else than the step before. ``Trace`` sees all of it, on the processor too.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.training.lesson import Account, Batch

Step = Callable[[Batch], Tensor]  # changes weights, returns the loss []
WARM_UP = 3  # steps run one kernel at a time first: what is made once is there after them


class Recorder(Protocol):
    """What can keep a step."""

    def eager(self, step: Step, batch: Batch, /) -> Tensor:
        """Run ``step`` as a preparation for ``record``; return its loss."""
        ...

    def record(self, step: Step, batch: Batch, /) -> Callable[[], Tensor]:
        """Return what does ``step`` again, on what ``batch`` then holds.

        Recording alone changes no weight.

        Raises:
            RuntimeError: If the step cannot be kept.
        """
        ...


class CudaGraphs:
    """Records on a stream of its own, on which the steps before the record run as well."""

    def __init__(self, device: torch.device) -> None:
        """Make the stream."""
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def eager(self, step: Step, batch: Batch, /) -> Tensor:
        """Run ``step`` on the stream that records: autograd remembers the stream of a weight."""
        others = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(others)
        with torch.cuda.stream(self._stream):
            loss = step(batch)
        others.wait_stream(self._stream)
        return loss

    def record(self, step: Step, batch: Batch, /) -> Callable[[], Tensor]:
        """Return the replay of a captured graph."""
        graph = torch.cuda.CUDAGraph()
        # Other threads may pin memory meanwhile, as a data loader's does.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            loss = step(batch)

        def replay() -> Tensor:
            graph.replay()
            return loss

        return replay


class Replayed:
    """A step that is recorded at the fourth batch and replayed from there on.

    A step that cannot be recorded stays eager, and the account says why.
    """

    def __init__(
        self,
        gradients: Step,
        update: Callable[[], object],
        recorder: Recorder,
        account: Account,
    ) -> None:
        """Join a step of the two: ``gradients`` leaves them behind and returns the loss."""
        self._gradients, self._update = gradients, update
        self._recorder, self._account = recorder, account
        self._traces: list[Trace] = []
        self._replay: Callable[[], Tensor] | None = None
        self._held: Batch | None = None
        self._settled = False

    def __call__(self, batch: Batch) -> Tensor:
        """Do the step; return its loss."""
        if len(self._traces) == WARM_UP:
            self._account.step = self._keep(batch)
            self._traces = []
            self._settled = True
        if self._replay is not None and self._held is not None and _alike(self._held, batch):
            _copy(batch, self._held)
            return self._replay()
        return self._recorder.eager(self._plain if self._settled else self._traced, batch)

    def _plain(self, batch: Batch) -> Tensor:
        loss = self._gradients(batch)
        self._update()
        return loss

    def _traced(self, batch: Batch) -> Tensor:
        trace = Trace()
        self._traces.append(trace)
        if len(self._traces) == 1:  # makes what every later step finds made
            return self._plain(batch)
        with trace:
            loss = self._gradients(batch)
        self._update()
        return loss

    def _keep(self, batch: Batch) -> str:
        """Record; return how the step will run from here on."""
        _, before, last = self._traces
        if why := last.refusal or last.unlike(before):
            return f"eager: {why}"
        # One copy of a tensor that stands in two places: a changed image must differ from it.
        copies = {id(part): part.clone() for part in _parts(batch).values()}
        held = replace(batch, **{name: copies[id(part)] for name, part in _parts(batch).items()})
        try:
            with torch.random.fork_rng(devices=[]):
                self._replay = self._recorder.record(self._plain, held)
        except RuntimeError as error:
            return f"eager: not captured: {str(error).splitlines()[0]}"
        self._held = held
        return "one CUDA graph"


def _parts(batch: Batch) -> dict[str, Tensor]:
    found = ((item.name, getattr(batch, item.name)) for item in fields(batch))
    return {name: part for name, part in found if isinstance(part, Tensor)}


def _alike(held: Batch, batch: Batch) -> bool:
    ours, theirs = _parts(held), _parts(batch)
    return ours.keys() == theirs.keys() and all(
        (part.shape, part.dtype) == (theirs[name].shape, theirs[name].dtype)
        for name, part in ours.items()
    )


def _copy(batch: Batch, held: Batch) -> None:
    ours, theirs = _parts(held), _parts(batch)
    for part, name in {id(part): (part, name) for name, part in ours.items()}.values():
        part.copy_(theirs[name])


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes every tensor operation of a step: what it was told, and whether a graph holds it.

    Attributes:
        calls: Name, shapes, types and numbers of each operation.
        refusal: Why no graph holds the step, in words; empty if one does.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.calls: list[str] = []
        self.refusal = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Note one operation and do it."""
        if func.namespace == "profiler":
            return func(*args, **(kwargs or {}))
        told = tree_leaves((args, kwargs or {}))
        self.calls.append(f"{func}({', '.join(_words(one) for one in told)})")
        if not self.refusal and (why := _refusal(func, told)):
            self.refusal = f"{func} {why}"
        return func(*args, **(kwargs or {}))

    def unlike(self, before: "Trace") -> str:
        """Return the first difference to another step, in words; empty if there is none."""
        for ours, theirs in zip(self.calls, before.calls, strict=False):
            if ours != theirs:
                return f"{ours} where the step before had {theirs}"
        if len(self.calls) != len(before.calls):
            return f"{len(self.calls)} operations, and in the step before {len(before.calls)}"
        return ""


def _words(told: object) -> str:
    if isinstance(told, Tensor):
        return f"{str(told.dtype).removeprefix('torch.')}{list(told.shape)}"
    return "generator" if isinstance(told, torch.Generator) else repr(told)


def _refusal(func: Any, told: list[Any]) -> str:
    """Return why no graph holds ``func`` called with ``told``; empty if one does."""
    tensors = [one for one in told if isinstance(one, Tensor)]
    if torch.Tag.data_dependent_output in func.tags:
        return "reads a value"
    # Indexing is said to be dynamic, and is so by a mask alone.
    by_mask = any(one.dtype in {torch.bool, torch.uint8} for one in tensors[1:])
    if torch.Tag.dynamic_output_shape in func.tags and (
        by_mask or func.overloadpacket is not torch.ops.aten.index
    ):
        return "makes a shape that depends on values"
    if any(isinstance(one, torch.Generator) and one.device.type == "cpu" for one in told):
        return "draws on the host"
    # One number is told to a kernel, as Norse tells its threshold; an array is copied.
    if func is torch.ops.aten.lift_fresh.default and any(one.dim() for one in tensors):
        return "makes a constant on the host"
    copies = str(func) in {"aten.copy_.default", "aten._to_copy.default"}
    places = {one.device.type for one in tensors if one.dim() or copies}
    places |= {one.type for one in told if isinstance(one, torch.device)}
    return "copies between devices" if len(places) > 1 else ""
