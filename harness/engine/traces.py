"""What a job leaves behind in its process, that the next one there would meet.

A number that depends on what ran before is worthless, so nothing is put back here: a process
that is not as it was has served. Only the global random numbers start afresh for each job,
as in a fresh process, and what torch has compiled or cached is dropped.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules
from torch.optim import optimizer
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from harness.fingerprint import FIRST_PARTY

# What a neighbour may leave allocated; beyond it a process is too full.
_KEPT_BYTES = 2**30
# Where torch's first compiled kernel finds its tensors, always the same in a process.
_TORCHS_OWN = "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"
_WATCHED = ("math", "os", "random", "time", "numpy", "torch", "torch.nn.functional")
_CLASSES = (torch.Tensor, nn.Module, torch.optim.Optimizer)


class Traces:
    """The state of this process, before and after each job."""

    def __init__(self) -> None:
        """Take the process to be as a job should find it."""
        gc.freeze()  # else every collection goes through all that was imported
        self._seed = torch.initial_seed()
        self._bytes = _allocated_bytes()
        self._before: Mapping[str, Any] = {}

    def begin(self) -> None:
        """Note the state before a job."""
        torch.manual_seed(self._seed)
        _reset_peaks()
        self._before = dict(_state())

    def left_behind(self) -> list[str]:
        """Return what the job has changed, in words; empty if the process can be used again."""
        _end_compilers()
        changed = [
            name for name, now in _state() if name in self._before and self._before[name] != now
        ]
        _drop_caches()
        if _has_children():
            changed.append("a process still runs")
        if _allocated_bytes() - self._bytes > _KEPT_BYTES:
            changed.append("memory was not given back")
        return changed


def _state() -> Iterator[tuple[str, Any]]:
    """Yield what jobs must leave alone, by name, in values that can be compared."""
    yield from _settings()
    yield (
        "hooks",
        [
            list(hooks)
            for place in (modules, optimizer)
            for name, hooks in vars(place).items()
            if name.startswith("_global_") and isinstance(hooks, dict)
        ],
    )
    yield (
        "torch's modes",
        [
            *map(id, _get_current_dispatch_mode_stack()),
            torch._C._len_torch_function_stack(),  # noqa: SLF001  there is no public name
        ],
    )
    yield "threads", threading.active_count()
    yield "signal handlers", [signal.getsignal(number) for number in signal.valid_signals()]
    yield "the working directory", Path.cwd()
    yield "the search path", list(sys.path)
    yield "the environment", {name: os.environ[name] for name in os.environ if name != _TORCHS_OWN}
    for name, place in _places():
        yield name, _Names(place)


def _settings() -> Iterator[tuple[str, Any]]:
    """Yield torch's switches."""
    yield "default type", torch.get_default_dtype()
    yield "default device", torch.get_default_device()
    yield "threads of torch", torch.get_num_threads()
    yield "gradients", (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    yield "anomaly detection", torch.is_anomaly_enabled()
    yield (
        "determinism",
        (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]  # its stub knows it not
        ),
    )
    yield (
        "autocast",
        [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _DEVICES],
    )
    yield (
        "kernels",
        (
            torch.get_float32_matmul_precision(),
            torch.backends.mkldnn.enabled,
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.allow_tf32,
        ),
    )


_DEVICES = ("cpu", "cuda")


class _Names:
    """What the names in a module or class stand for; equal to itself with more of them."""

    def __init__(self, place: object) -> None:
        self.values = dict(vars(place))

    def __eq__(self, now: object) -> bool:
        return isinstance(now, _Names) and all(
            now.values.get(name) is value for name, value in self.values.items()
        )

    __hash__ = None  # type: ignore[assignment]  # it is compared alone


def _places() -> Iterator[tuple[str, object]]:
    """Yield the modules and classes in which nothing may be exchanged."""
    for name, module in list(sys.modules.items()):
        if name in _WATCHED or name.partition(".")[0] in FIRST_PARTY:
            yield name, module
    for kind in _CLASSES:
        yield f"{kind.__module__}.{kind.__qualname__}", kind


def _end_compilers() -> None:
    """End the processes and threads in which torch has compiled; it starts others if need be."""
    compilers: Any = sys.modules.get("torch._inductor.async_compile")
    if compilers is None:
        return
    compilers.shutdown_compile_workers()
    threads = compilers.AsyncCompile.pool
    if threads.cache_info().currsize:
        threads().shutdown()
        threads.cache_clear()


def _drop_caches() -> None:
    """Let go of what nothing refers to, and of compiled code, whose number is limited."""
    if _has_compiled():
        torch._dynamo.reset()  # noqa: SLF001  its documented name
    gc.collect()
    if _uses_a_gpu():
        torch.cuda.empty_cache()


def _has_compiled() -> bool:
    dynamo = sys.modules.get("torch._dynamo.convert_frame")
    return dynamo is not None and len(dynamo.input_codes.seen) > 0


def _has_children() -> bool:
    """Return whether a process that this one started still runs."""
    with suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    return False


def _allocated_bytes() -> int:
    """Return what this process holds now, on a GPU too; 0 where that cannot be asked."""
    statm = Path("/proc/self/statm")
    pages = int(statm.read_text().split()[1]) if statm.exists() else 0
    on_gpus = torch.cuda.memory_allocated() if _uses_a_gpu() else 0
    return pages * os.sysconf("SC_PAGE_SIZE") + on_gpus


def _uses_a_gpu() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _reset_peaks() -> None:
    """Let the peak of memory be that of the job to come."""
    with suppress(OSError):  # Linux alone
        Path("/proc/self/clear_refs").write_text("5")
    if _uses_a_gpu():
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
