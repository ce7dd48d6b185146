"""A faster way to run any simulator's neurons, with the same results.

They are the same to the last bit but for exponentials (a sigmoid surrogate's gradient, the
``tau`` of ``plif``) and the order of the sum that is ``w``'s gradient.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import lookup_backend, maybe_mark_dynamic
from torch._functorch import config
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.nn.modules import module as modules

_HOOKS: tuple[dict[int, Any], ...] = (
    modules._global_forward_pre_hooks,  # noqa: SLF001  there is no public name
    modules._global_forward_hooks,  # noqa: SLF001  likewise
)
_LOG = logging.getLogger(__name__)


def compiled(neuron: nn.Module) -> nn.Module:
    """Return ``neuron`` itself, its loop over time compiled into one kernel a direction.

    Its type, ``spec``, parameter names and ``record`` stay as they were, and layers of
    equal neurons share their kernels, whatever their shapes. The first call of its kind
    (``T``, dtype, with or without gradient, constant or not) takes seconds.

    Without a C++ compiler on this machine ``neuron`` is left as it is, and the log says so.
    """
    if not can_compile():
        return neuron
    neuron.forward = MethodType(_forward, neuron)  # of this instance alone
    return neuron


@cache
def can_compile() -> bool:
    """Return whether there is a C++ compiler, which kernels of the processor need."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        _LOG.warning("neurons run uncompiled: %s", error)
        return False
    return True


def _forward(
    neuron: nn.Module,
    current: Tensor,  # [T, N, ...]
    record: list[Tensor] | None = None,
) -> Tensor:
    """Do what the type's own ``forward`` does.

    A neuron does the same to every element, so each step can be handed over as one row,
    in the order of memory. Compiled for a row of any length, a kernel fits every layer;
    compiled for images of any size, it returned plain contiguous gradients to
    channels-last layers.
    """
    if current.numel() == 0:
        spikes: Tensor = type(neuron).forward(neuron, current, record)
        return spikes
    by_stride = sorted(range(1, current.dim()), key=current.stride, reverse=True)
    ordered = current.permute(0, *by_stride)
    rows = ordered.flatten(1)  # [T, elements]
    maybe_mark_dynamic(rows, 1)
    kind: tuple[Any, ...] = (type(neuron), neuron.spec, len(rows), rows.dtype)
    kernel = _kernel(_run if record is None else _run_recorded, *kind)
    with _unwatched():
        answers = kernel(neuron, rows)
    back = (0, *(by_stride.index(axis) + 1 for axis in range(1, current.dim())))
    spikes, *membrane = (answer.view(ordered.shape).permute(back) for answer in answers)
    if record is not None:
        record += membrane
    return spikes


@contextmanager
def _unwatched() -> Iterator[None]:
    """Take the hooks of all modules off meanwhile, such as a meter's.

    A kernel would call them for modules inside the neuron, and so break into one kernel for
    each piece of it and each shape, which stay in use once nobody watches any more.
    """
    watching = [hooks.copy() for hooks in _HOOKS]
    for hooks in _HOOKS:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, before in zip(_HOOKS, watching, strict=True):
            hooks.update(before)


def _frugal(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """Compile ``graph``; its backward pass computes everything from the inputs again.

    Left to itself the compiler stores several numbers a neuron and step for the backward
    pass, which takes longer than to compute them again.
    """
    with config.patch(activation_memory_budget=0.0):
        kernel: Callable[..., Any] = lookup_backend("inductor")(graph, inputs)
    return kernel


@cache
def _kernel(plain: FunctionType, *_kind: Hashable) -> Callable[..., tuple[Tensor, ...]]:
    """Return ``plain`` compiled for neurons of one kind alone.

    torch keeps at most eight compiled versions of a function's code, whatever they are for,
    and from the ninth on runs it uncompiled, with a line in a log. A process that trains on
    two simulators gets there, hence a copy of the code for every kind.
    """
    copied = FunctionType(plain.__code__.replace(), plain.__globals__)
    # Not dynamic but for the marked length: as variables, a specification's numbers would
    # not reach the backward pass of a surrogate.
    return torch.compile(copied, dynamic=False, backend=_frugal)


def _run(neuron: nn.Module, rows: Tensor) -> tuple[Tensor]:
    spikes: Tensor = type(neuron).forward(neuron, rows)
    return (spikes,)


def _run_recorded(neuron: nn.Module, rows: Tensor) -> tuple[Tensor, Tensor]:
    record: list[Tensor] = []
    spikes: Tensor = type(neuron).forward(neuron, rows, record)
    return spikes, record[0]
