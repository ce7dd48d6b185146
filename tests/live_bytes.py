"""How much memory the tensors of a computation have at once."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts what operations allocate, from their answer until its last holder lets go.

    Attributes:
        now: Bytes of what is alive; views count once.
        peak: The most there has been.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        for value in tree_leaves(answer):
            if isinstance(value, Tensor):
                self._enter(value)
        return answer

    def _enter(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        if (key := storage._cdata) not in self.known:
            self.known[key] = storage.nbytes()
            self.now += self.known[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._leave, key)

    def _leave(self, key: int) -> None:
        self.now -= self.known.pop(key)
