"""Everything torch computes while a model runs, with the module it happened in.

The trace sits below autograd, where ``nn.Linear``, ``F.linear``, ``einsum`` and
``x @ w`` are the same few operators. It never changes an argument or a result, and it
counts outside itself, so neither it nor another meter sees the counting.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode_stack,
)

from harness.contracts.errors import CountingError
from harness.contracts.ledger import Uncounted
from harness.meter import axes as ax
from harness.meter.axes import Axes, Axis
from harness.meter.book import Call, Entry
from harness.meter.neurons import Recognised, recognised
from harness.meter.operands import Operand, exact_sum, nonzero

_SWEEP = 64  # tensors that come before the meter looks which of them are gone

Dimension = tuple[int, int]  # size and stride, which tell it from others in any view
Sites = tuple[Dimension, ...]


class LostSamplesError(CountingError):
    """A tensor in which samples cannot be told apart."""


@dataclass(eq=False)
class EventMap:
    """How many values are not zero, by row and site.

    Attributes:
        counts: float64 ``[rows, sites]``, exact integers.
        sites: Where they lie; None if that was in other memory, in another order.
        row_axis: What the rows are.
    """

    counts: Tensor
    sites: Sites | None
    row_axis: Axis


@dataclass(eq=False)
class Pooled:
    """Where averages come from.

    Attributes:
        entry: The pooling.
        events: The values that were averaged and are not zero.
        magnitudes: Their absolute values, if they are integers.
        reach: From each input site to each average, a matrix a dimension.
    """

    entry: Entry
    events: EventMap
    magnitudes: EventMap
    reach: tuple[Tensor, ...]


@dataclass(eq=False)
class Product:
    """A layer's call whose result a scale or a bias may still be folded into."""

    entry: Entry
    call: Call
    has_bias: bool


@dataclass(eq=False)
class Content:
    """What is known of the values in one piece of memory.

    Attributes:
        origin: ``weight`` if it depends on nothing but parameters, buffers and constants.
        elements: How many; a view of fewer knows nothing of events, pooling and producer.
        name: Of the parameter it comes from, or empty.
        binary: Whether a neuron promised spikes: zeros and ones, unless ``timed``.
        timed: Whether what is not zero is one spike and says when it came.
        scale: What such spikes were multiplied by since, one number or one a channel.
        after_neurons: Whether a neuron stands before it.
        events: The values that are not zero, once counted.
        pooled: The averaging it comes from.
        producer: The call whose result it is, while a norm may fold into that.
        border: Zeros put before and after each dimension of space.
        sites: Where those of ``pooled`` lie, if they do.
        uses: The module of each operation that reads it, views and copies not counted.
        unfold: What to do if one more reads it.
        views: Where samples and steps are, for each way of looking at it.
    """

    origin: Literal["weight", "signal"]
    elements: int
    name: str = ""
    binary: bool = False
    timed: bool = False
    scale: Tensor | None = None
    after_neurons: bool = False
    events: EventMap | None = None
    pooled: Pooled | None = None
    producer: Product | None = None
    border: dict[Dimension, tuple[int, int]] = field(default_factory=dict)
    sites: Sites | None = None
    uses: list[str] = field(default_factory=list)
    unfold: list[Callable[[], None]] = field(default_factory=list)
    views: dict[tuple[Any, ...], Axes] = field(default_factory=dict)


Count = Callable[["Trace", Any, tuple[Any, ...], dict[str, Any], Any], None]


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves modes untyped
    """One metered run of a model, batch by batch.

    Attributes:
        entries: The layers so far, by what identifies them.
        samples: Of the batch that is running.
        clock: Steps that its neurons have made.
        counted_calls: Operator calls that were counted.
        uncounted: Those that were not, by layer and operation.
        tensors: The model's parameters and buffers, by name.
    """

    def __init__(self, model: nn.Module, count: Count, *, allow_partial: bool) -> None:
        """Recognise the neurons of ``model``; ``count`` is told of every operation.

        Raises:
            CountingError: If something looks like neurons of unknown cost, drops out, or
                normalises by the batch.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.entries: dict[object, Entry] = {}
        self.samples = self.clock = 0
        self.counted_calls = 0
        self.uncounted: dict[tuple[str, str], Uncounted] = {}
        self.tensors = [*model.named_parameters(), *model.named_buffers()]
        self._count = count
        self._allow_partial = allow_partial
        self._names: dict[int, str] = {}
        self._neurons: dict[int, Recognised] = {}
        self._leaves: set[str] = set()
        self._begun: set[int] = set()
        self._one_a_step: set[str] = set()
        self._taken: set[str] = set()
        self._apart: set[str] = set()
        self._remembered: dict[str, list[tuple[Content, Axes | None]]] = {}
        self._contents: dict[int, tuple[StorageWeakRef, Content]] = {}
        self._sweep_at = _SWEEP
        self._scopes: list[str] = []
        self._inside_neuron = self._off_stack = False
        self._recognise(model)

    @property
    def has_neurons(self) -> bool:
        """Whether anything in the model spikes."""
        return bool(self._neurons)

    def _recognise(self, model: nn.Module) -> None:
        inside: tuple[str, ...] = ()
        for name, module in model.named_modules():
            whole = next((each for each in self._one_a_step if name.startswith(f"{each}.")), name)
            self._names[id(module)] = whole
            if getattr(module, "one_a_step", False):
                # Its modules are one layer, of which each step runs another one.
                self._one_a_step.add(name)
                self._leaves.add(name)
            if getattr(module, "counted_apart", False):
                self._apart.add(whole)
                module.forget()  # what it remembers from before would stand in no count
            owns_synapses = any(weight.ndim > 1 for weight in module.parameters(recurse=False))
            if next(module.children(), None) is None and not owns_synapses:
                self._leaves.add(name)
            if module.training:
                _require_evaluation(module, name or "model")
            if inside and name.startswith(inside):
                continue  # a simulator's own neuron, inside an adapter's
            if (found := recognised(module, name or "model")) is not None:
                self._neurons[id(module)] = found
                inside = (*inside, f"{name}." if name else "")

    @contextmanager
    def batch(self, stimulus: Tensor, axes: Axes, samples: int) -> Iterator[None]:
        """Trace what happens inside; ``stimulus`` is what the samples are."""
        self.samples, self.clock = samples, 0
        self._begun.clear()
        self._contents, self._sweep_at = {}, len(self.tensors) + _SWEEP
        for name, tensor in self.tensors:
            self.know(tensor, Content("weight", tensor.numel(), name=name))
        self.know(stimulus, Content("signal", stimulus.numel()), axes)
        # A compiled neuron calls the hooks too, and must not try to compile them. They
        # are global because fused kernels of torch decline modules that have their own.
        enter = torch.compiler.disable(self._enter_module)  # type: ignore[no-untyped-call]  # as above
        leave = torch.compiler.disable(self._leave_module)  # type: ignore[no-untyped-call]  # as above
        handles = [
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, always_call=True),
        ]
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._scopes.clear()
            self._inside_neuron = self._off_stack = False
            self._contents.clear()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run ``func`` as it would run without us, then count it."""
        if torch.is_inference_mode_enabled():
            # Composite operators arrive whole here, which elsewhere arrive in parts.
            with self:
                whole = func.decompose(*args, **(kwargs or {}))
            if whole is not NotImplemented:
                return whole
        result = func(*args, **(kwargs or {}))
        if not self._inside_neuron:
            with unseen():
                self._count(self, func, args, kwargs or {}, result)
        return result

    def _enter_module(self, module: nn.Module, _: Any) -> None:
        name = self._names.get(id(module))
        if name is None or self._inside_neuron:
            return
        self._scopes.append(name)
        if id(module) in self._neurons:
            self._require_rest(module)
            self._inside_neuron = True
            # Off the stack, so that a compiled neuron runs compiled. Another mode on top of
            # us has to stay there, and then we only look away.
            stack = _get_current_dispatch_mode_stack()
            self._off_stack = bool(stack) and stack[-1] is self
            if self._off_stack:
                self.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # as above

    def _leave_module(self, module: nn.Module, args: Any, result: Any) -> None:
        name = self._names.get(id(module))
        neuron = self._neurons.get(id(module))
        if name is None or (self._inside_neuron and neuron is None):
            return
        if neuron is not None:
            self._inside_neuron = False
            if self._off_stack:
                self.__enter__()  # type: ignore[no-untyped-call]  # as above
            if result is not None:  # else it raised
                with unseen():
                    self._count_neurons(neuron, args, result)
        if name in self._apart and result is not None:
            self._know_remembered(name, result)
        self._scopes.pop()

    def _know_remembered(self, name: str, results: Sequence[Tensor]) -> None:
        """Take what an earlier batch computed for what it was there, and note it otherwise."""
        known = [self.content(value) for value in results]
        if all(content is not None for content in known):
            self._remembered[name] = [
                (
                    replace(content, unfold=[], views={}, producer=None, pooled=None),
                    self.axes(value),
                )
                for content, value in zip(known, results, strict=True)
                if content is not None
            ]
            return
        for (content, axes), value in zip(self._remembered[name], results, strict=True):
            if self.content(value) is None:
                self.know(value, replace(content, uses=[], unfold=[], views={}), axes)

    def _count_neurons(self, found: Recognised, args: Any, result: Any) -> None:
        name, answer = self.scope, result[0] if isinstance(result, tuple) else result
        if not isinstance(answer, Tensor):
            raise CountingError(f"neuron {name!r} must return a tensor, got {type(answer)}")
        current = next((value for value in args if isinstance(value, Tensor)), answer)
        if found.time_major and not found.timed:  # one spike may as well be given [N, ...]
            self._require_time_first(current)
        axes = self._axes_of_neurons(current, answer, time_major=found.time_major)
        content = Content(
            "signal",
            answer.numel(),
            binary=found.binary or found.timed,
            timed=found.timed,
            after_neurons=True,
        )
        self.know(answer, content, axes)
        entry = self.entry(("neuron", name), name, "neuron")
        entry.after_neurons = True
        if found.binary:
            self._check_binary(name, answer, axes)
        self.observe(entry, entry.operand, answer)
        nonzeros = self.units(self.events(answer))
        steps = nonzeros.shape[0]
        neurons = answer.numel() // (steps * self.samples)
        call = Call(steps, neurons=neurons)
        call.fixed = {
            "neuron_add": found.cost.adds * neurons,
            "neuron_mul": found.cost.products * neurons,
            "compare": found.cost.compares * neurons,
        }
        # What never compares never spikes: a leaky integrator's answer is its membrane.
        spikes = nonzeros if found.cost.compares else torch.zeros_like(nonzeros)
        call.varying = {"spikes": spikes, "reset": spikes * found.cost.resets}
        entry.calls.append(call)
        entry.clocked[neurons] += steps
        self.clock = max(self.clock, entry.clocked[neurons])

    def _require_rest(self, module: nn.Module) -> None:
        """Refuse neurons that begin a batch in a state that another left behind."""
        found = self._neurons[id(module)]
        if found.state is None or id(module) in self._begun:
            return
        self._begun.add(id(module))
        state = getattr(module, found.state)
        with unseen():
            rests = not isinstance(state, Tensor) or bool((state == found.rest).all())
        if not rests:
            raise CountingError(
                f"neuron {self.scope!r} begins with the {found.state!r} that an earlier batch "
                "left; reset the network before each, as in call=lambda batch: (reset(model), "
                "model(batch))[1]"
            )

    def _require_time_first(self, current: Tensor) -> None:
        """Refuse samples where steps should be, if they are followed there and not guessed."""
        content = self.content(current)
        axes = content.views.get(_place(current), ()) if content is not None else ()
        if ax.labels(axes[:1]) == {"N"}:
            raise CountingError(
                f"neuron {self.scope!r} takes [T, N, ...] and is given {list(current.shape)}, "
                "whose first axis holds the samples; state batch_axis=1 and time_axis=0 of the "
                "stimulus, or put time first"
            )

    def _check_binary(self, name: str, spikes: Tensor, axes: Axes) -> None:
        """Look at one sample a batch: all of them would cost as much as the counting."""
        dim = ax.position(axes, "N") or 0
        one = spikes.narrow(dim, 0, min(1, spikes.shape[dim]))
        if not torch.equal(one * one, one):
            raise CountingError(
                f"neuron {name!r} answers with other values than 0 and 1; its adapter in "
                "harness/meter/neurons.py must say binary=False"
            )

    def _axes_of_neurons(self, current: Tensor, spikes: Tensor, *, time_major: bool) -> Axes:
        axes = self.axes(current) if current.shape == spikes.shape else None
        if axes is not None and not (time_major and not ax.has(axes, "T")):
            return axes
        leading = [ax.labelled("N", self.samples)]
        if time_major:
            leading.insert(0, ax.labelled("T", spikes.shape[0]))
        sizes = [axis[0][1] if axis else 1 for axis in leading]
        if list(spikes.shape[: len(sizes)]) == sizes:
            return (*leading, *map(ax.plain, spikes.shape[len(sizes) :]))
        if axes is None:
            raise self.lost(spikes)
        return axes

    def content(self, tensor: Tensor) -> Content | None:
        """Return what is known of the memory of ``tensor``; None if it came from outside."""
        found = self._contents.get(tensor.untyped_storage()._cdata)  # noqa: SLF001  torch's own key of a storage
        return found[1] if found else None

    def know(self, tensor: Tensor, content: Content, axes: Axes | None = None) -> None:
        """Take ``content`` to be what ``tensor`` holds."""
        if axes is not None:
            content.views[_place(tensor)] = axes
        if len(self._contents) > self._sweep_at:
            self._forget_the_dead()
        storage = tensor.untyped_storage()
        # The weak reference keeps the address from being given to another storage.
        kept = StorageWeakRef(storage)  # type: ignore[no-untyped-call]  # as above
        self._contents[storage._cdata] = (kept, content)  # noqa: SLF001  as above

    def _forget_the_dead(self) -> None:
        alive = {key: item for key, item in self._contents.items() if not item[0].expired()}  # type: ignore[no-untyped-call]  # as above
        self._contents = alive
        self._sweep_at = len(alive) + _SWEEP

    def axes(self, tensor: Tensor) -> Axes | None:
        """Return where samples and steps are in ``tensor``, as far as can be known."""
        content = self.content(tensor)
        known = None
        if content is not None:
            known = content.views.get(_place(tensor))
            if known is not None or content.origin == "weight":
                return known
        return ax.guessed(tensor.shape, self.samples)

    def whole(self, tensor: Tensor) -> Content | None:
        """Return the content of ``tensor`` if it shows every element exactly once."""
        content = self.content(tensor)
        if content is None or content.elements != tensor.numel():
            return None
        # As many elements may be some of them several times: x[:1].expand_as(x).
        once = torch._debug_has_internal_overlap(tensor) == 0  # noqa: SLF001  torch has no other
        return content if once else None

    def events(self, tensor: Tensor, *, sites: Sites | None = None) -> EventMap:
        """Return how many values of ``tensor`` are not zero.

        Rows are the leading dimensions that hold steps and samples; the channels are
        summed away first, since all of them have the same fan-out. Without ``sites``
        any arrangement of the sites will do.
        """
        content = self.whole(tensor)
        known = content.events if content is not None else None
        if known is not None and sites in (None, known.sites):
            return known
        promised = content is not None and content.binary and not content.timed
        ones = tensor if promised and tensor.is_floating_point() else nonzero(tensor)
        found = self._summed(ones, self._axes_or_lost(tensor), bound=1.0)
        if content is not None:
            content.events = found
        return found

    def magnitudes(self, tensor: Tensor) -> EventMap:
        """Return like ``events`` the sums of absolute values, of a tensor of integers."""
        size = tensor.abs()
        size = size if size.is_floating_point() else size.double()
        return self._summed(size, self._axes_or_lost(tensor), bound=float(size.amax()))

    def _axes_or_lost(self, tensor: Tensor) -> Axes:
        axes = self.axes(tensor)
        if axes is None:
            raise self.lost(tensor)
        return axes

    def _summed(self, whole: Tensor, axes: Axes, *, bound: float) -> EventMap:
        leading = max(ax.position(axes, "N") or 0, ax.position(axes, "T") or 0) + 1
        sites = sites_of(whole, leading + 1)
        rows = whole.flatten(0, leading - 1)  # [rows, channels, *sites]
        counts = exact_sum(rows, (1,) if rows.ndim > 1 else (), bound=bound)
        row_axis = tuple(factor for axis in axes[:leading] for factor in axis)
        return EventMap(counts.reshape(rows.shape[0], -1), sites, row_axis)

    def units(self, events: EventMap, fan_out: Tensor | int = 1) -> Tensor:
        """Return ``events``, each times its site's fan-out, summed to ``[steps, samples]``."""
        if isinstance(fan_out, int):
            rows = events.counts.sum(1) * fan_out
        else:
            rows = events.counts @ fan_out.to(events.counts.device)
        return self.by_unit(rows, events.row_axis)

    def by_unit(self, rows: Tensor, row_axis: Axis) -> Tensor:
        """Return counts a row summed to ``[steps, samples]``.

        Raises:
            CountingError: If the rows do not tell samples apart.
        """
        grid = ax.to_units(rows, row_axis, self.samples)
        if grid is None:
            raise self.lost(rows)
        return grid

    def lost(self, tensor: Tensor) -> LostSamplesError:
        """Return the error of a tensor whose samples cannot be told apart."""
        return LostSamplesError(
            f"module {self.scope!r}: samples cannot be told apart in a tensor of shape "
            f"{list(tensor.shape)} with {self.samples} samples a batch; state batch_axis and "
            "time_axis of the stimulus, or measure one sample at a time"
        )

    def observe(self, entry: Entry, operand: Operand, values: Tensor) -> None:
        """Join ``values`` to what ``entry`` has read.

        Raises:
            CountingError: If a value is not finite.
        """
        content = self.content(values)
        if content is not None and content.binary:
            operand.join_spikes(timed=content.timed)
        elif content is not None and content.scale is not None:
            operand.join_spikes(content.scale, timed=content.timed)
        else:
            try:
                operand.observe(values)
            except CountingError as error:
                raise CountingError(f"layer {entry.name!r}: {error}") from error

    @property
    def scope(self) -> str:
        """The module that is running."""
        return (self._scopes[-1] if self._scopes else "") or "model"

    @property
    def _branch(self) -> str:
        """The module around what is running whose work is counted apart, or empty."""
        return next((name for name in reversed(self._scopes) if name in self._apart), "")

    def entry(self, key: object, name: str, kind: str) -> Entry:
        """Return the layer of ``key``, with ``name`` if that is free.

        Inside a module whose work is counted apart it is another one, named after that too.
        """
        branch = self._branch
        key, name = (branch, key), f"{branch}.{name}" if branch else name
        if key not in self.entries:
            unique, serial = name, 1
            while unique in self._taken:
                unique, serial = f"{name}_{serial}", serial + 1
            self._taken.add(unique)
            self.entries[key] = Entry(name=unique, kind=kind, apart=bool(branch))
        return self.entries[key]

    def here(self, operation: str, kind: str) -> Entry:
        """Return the layer of an operation without weights, at this place in the code."""
        path = self._scopes[-1] if self._scopes else ""
        key = (path, operation, kind, _site())
        branch = self._branch
        if (branch, key) in self.entries:
            return self.entries[branch, key]
        whole = f"{branch}.{self.scope}" if branch else self.scope
        alone = path in self._leaves and whole not in self._taken
        label = operation.lstrip("_")
        entry = self.entry(key, self.scope if alone else f"{path}.{label}".lstrip("."), kind)
        entry.differs = path in self._one_a_step
        return entry

    def not_counted(self, operation: str, remedy: str) -> None:
        """Note an operation that cannot be counted.

        Raises:
            CountingError: Unless a partial result was allowed.
        """
        if not self._allow_partial:
            raise CountingError(
                f"module {self.scope!r}: {operation} is arithmetic that is not counted; "
                f"{remedy}, or pass allow_partial=True"
            )
        self._miss(operation, remedy)

    def not_attributed(self, operation: str, error: LostSamplesError) -> None:
        """Note an operation whose samples cannot be told apart.

        Raises:
            LostSamplesError: Unless a partial result was allowed.
        """
        if not self._allow_partial:
            raise error
        self._miss(operation, str(error))

    def _miss(self, operation: str, remedy: str) -> None:
        key = (self.scope, operation)
        calls = self.uncounted[key].calls if key in self.uncounted else 0
        self.uncounted[key] = Uncounted(
            layer=self.scope, operation=operation, calls=calls + 1, remedy=remedy
        )


@contextmanager
def unseen() -> Iterator[None]:
    """Compute without any mode of torch's seeing it, another meter's included."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():  # noqa: SLF001  there are no public names
        yield


def _require_evaluation(module: nn.Module, name: str) -> None:
    """Refuse a module whose arithmetic is another in training than at inference."""
    modules = nn.modules
    if isinstance(module, modules.dropout._DropoutNd) and module.p:  # noqa: SLF001  the common type of torch's dropouts
        raise CountingError(
            f"module {name!r} drops activations at random; call model.eval(), or set p=0"
        )
    if isinstance(module, modules.batchnorm._NormBase) and module.track_running_stats:  # noqa: SLF001  likewise of its norms
        raise CountingError(
            f"module {name!r} is in training mode: it would normalise by this batch and remember "
            "it; call model.eval()"
        )


def sites_of(tensor: Tensor, first: int = 2) -> Sites:
    """Return where the sites of ``tensor`` lie, whose dimensions begin with the ``first``."""
    return tuple(dimension for dimension in dimensions(tensor)[first:] if dimension[0] != 1)


def dimensions(tensor: Tensor) -> list[Dimension]:
    """Return size and stride of each dimension."""
    return [*zip(tensor.shape, tensor.stride(), strict=True)]


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.storage_offset(), tensor.shape, tensor.stride())


def _site() -> tuple[object, int]:
    """Return the instruction, outside torch and this meter, that is being executed."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  there is no other way to a caller
    while frame is not None:
        package = frame.f_globals.get("__name__", "")
        if package != "torch" and not package.startswith(("torch.", "harness.meter")):
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None, 0
