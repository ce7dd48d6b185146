"""A GPU that is none: tensors that say they lie on one, and compute on the processor.

What a real one refuses is refused: an operation over tensors of two devices, and reading the
GPU's memory as the host's. Of streams, graphs and kernels nothing is asked.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import Mock, patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from harness.meter import run, trace
from harness.training import capture

GPU = torch.device("cuda:0")
# What C++ makes like a tensor, it makes where it takes that to be, and "meta" no guard is asked of.
_INSIDE = torch.device("meta")
_aten: Any = torch.ops.aten
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}


class OnGpu(Tensor):
    """A tensor that says it lies on the GPU; ``there`` is the processor's that it stands for."""

    there: Tensor

    @staticmethod
    def __new__(cls: Any, there: Tensor) -> Any:
        made = Tensor._make_wrapper_subclass(
            cls,
            there.size(),
            strides=there.stride(),
            storage_offset=there.storage_offset(),
            dtype=there.dtype,
            layout=there.layout,
            device=_INSIDE,
            requires_grad=there.requires_grad,
        )
        made.there = there
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch's is no property to mypy
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]  # likewise
        return True

    def to(self, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type == "cpu":
            there: Tensor = _aten._to_copy(self, dtype=dtype, device=device, memory_format=layout)
            return there
        return super().to(dtype or self.dtype, copy=copy)

    def cpu(self, *_: Any) -> Tensor:
        return self.to("cpu")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]  # as above
        return f"OnGpu({self.there!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # its stub has no operation
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run one operation on the processor; what it makes lies where a GPU's would."""
    given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    ours = {id(one.there): one for one in given if isinstance(one, OnGpu)}
    on_host = [one for one in given if not isinstance(one, OnGpu) and one.dim()]
    # Indices may lie on the host, too.
    across = func in _COPIES or (func in _INDEXED and isinstance(args[0], OnGpu))
    if ours and on_host and not across:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu: {func} has {[*on_host[0].shape]} there"
        )
    to_gpu = bool(ours)
    if func is _aten.copy_.default:
        to_gpu = isinstance(args[0], OnGpu)
    elif (device := kwargs.get("device")) is not None:
        to_gpu = torch.device(device) in (GPU, _INSIDE)
        kwargs = {**kwargs, "device": torch.device("cpu")}

    def there(one: Any) -> Any:
        return one.there if isinstance(one, OnGpu) else one

    def back(one: Any) -> Any:
        if not (isinstance(one, Tensor) and to_gpu):
            return one
        return ours[id(one)] if id(one) in ours else OnGpu(one)

    kwargs = {name: one for name, one in kwargs.items() if name != "pin_memory"}
    return tree_map(back, func(*tree_map(there, args), **tree_map(there, kwargs)))


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves modes untyped
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Numbers(TorchFunctionMode):
    """Sends what torch makes of Python's numbers, which it would send past all modes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


@contextmanager
def _unseen() -> Iterator[None]:
    """Look away as the meter does, and yet see what lies on the GPU."""
    with _disable_current_modes(), _Operations():  # type: ignore[no-untyped-call]  # as above
        yield


_really = capture._refusal


def _refusal(func: Any, told: list[Any]) -> str:
    return _really(func, [GPU if one == _INSIDE else one for one in told])


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Let there be a GPU."""
    new_weights = torch.__future__.set_overwrite_module_params_on_conversion
    cuda = {
        "_lazy_init": lambda: None,
        "synchronize": lambda _: None,
        "device": lambda _: nullcontext(),
        "get_device_name": lambda _: "pretended",
        "max_memory_reserved": lambda _: 0,
        "Event": Mock,
    }
    with ExitStack() as stack:
        new_weights(value=True)
        stack.callback(new_weights, value=False)
        for name, answer in cuda.items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        stack.enter_context(patch.object(Tensor, "pin_memory", lambda here: here))
        for module in (run, trace):
            stack.enter_context(patch.object(module, "unseen", _unseen))
        stack.enter_context(patch.object(capture, "_refusal", _refusal))
        stack.enter_context(_Operations())  # type: ignore[no-untyped-call]  # as above
        stack.enter_context(_Numbers())
        yield
