"""A trained network of another package, with the weights that were published for it."""

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from harness.contracts.errors import HarnessError, SpecError
from harness.contracts.model import Output
from harness.engine.packed import one_line
from harness.engine.weights_files import state_in

Call = Literal["step", "train"]
# What simulators call it: SpikingJelly's memories, snnTorch's neurons.
_RESETS = ("reset", "reset_mem")


class ForeignNetwork(nn.Module):
    """A module that somebody else wrote, called as a ``Network`` of the contract.

    Before every call each part that can be reset is, by the method its simulator has for it. A
    constant image is shown in every step, as their training loops do.
    """

    def __init__(self, module: nn.Module, *, call: Call) -> None:
        """Wrap ``module``.

        Args:
            module: Answers logits, or a tuple that begins with them.
            call: ``step`` calls it once a step with ``[N, ...]`` for ``[N, K]``; ``train`` once
                with ``[T, N, ...]`` for ``[T, N, K]``.
        """
        super().__init__()
        if call not in get_args(Call):
            raise SpecError(f"a module is called by {' or '.join(get_args(Call))}, got {call!r}")
        self.module = module
        self.call = call
        self.tap_channels: Mapping[str, int] = {}

    def forward(self, stimulus: Tensor, /, timesteps: int = 1, taps: Sequence[str] = ()) -> Output:
        """Answer ``stimulus``, ``[N, C, H, W]`` or ``[T, N, C, H, W]``, with ``[T, N, K]``.

        Raises:
            SpecError: If a tap is asked for, or the module answers something else.
        """
        if taps:
            raise SpecError(f"a foreign network has no taps, and {taps[0]!r} is asked for")
        frames = stimulus if stimulus.dim() == 5 else stimulus.expand(timesteps, *stimulus.shape)
        if len(frames) != timesteps:
            raise SpecError(f"the stimulus has {len(frames)} frames, and {timesteps} are asked for")
        reset(self.module)
        try:
            logits = self._logits(frames)
        except (HarnessError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, LookupError, ValueError, TypeError) as error:
            raise SpecError(
                f"called by {self.call}, the module raises a {_told(error)}; --call has the other "
                "way"
            ) from error
        if logits.dim() != 3 or logits.shape[:2] != frames.shape[:2]:
            raise SpecError(
                f"called by {self.call}, the module answers {list(logits.shape)} and not logits "
                f"[{', '.join(map(str, frames.shape[:2]))}, classes]; --call has the other way"
            )
        return Output(logits=logits)

    def _logits(self, frames: Tensor) -> Tensor:
        if self.call == "train":
            return _first(self.module(frames))
        return torch.stack([_first(self.module(frame)) for frame in frames])


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def _first(answer: Any) -> Tensor:
    while isinstance(answer, (tuple, list)):
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise SpecError(f"the module answers a {type(answer).__name__} and no tensor")
    return answer


def reset(module: nn.Module, /) -> None:
    """Bring every part of ``module`` to rest that has a way to be."""
    for part in module.modules():
        for name in _RESETS:
            method = getattr(part, name, None)
            if callable(method):
                method()
                break


def load(factory: str, weights: Path, /, *, call: Call) -> ForeignNetwork:
    """Return what ``factory`` makes, with the weights in a file.

    The factory is code of the user's that is imported and called; the file is read as tensors
    alone, and code in it refused.

    Args:
        factory: ``package.module:function``, called without arguments for an ``nn.Module``.
        weights: A state dict, or a dictionary that has it under ``state_dict``, ``model`` or
            ``net``.
        call: How the module is called, see ``ForeignNetwork``.

    Raises:
        SpecError: If there is no such factory, or the file holds no weights of its module.
    """
    make = _factory(factory)
    try:
        module = make()
    except Exception as error:  # code of others raises whatever it does
        raise SpecError(f"{factory}() is a {_told(error)}; mend it first") from error
    if not isinstance(module, nn.Module):
        raise SpecError(f"{factory} made a {type(module).__name__} and no torch module")
    state = state_in(weights)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        words = f"{weights} holds no weights of {factory}: {one_line(error)}"
        raise SpecError(words) from error
    return ForeignNetwork(module, call=call).eval()


def _factory(path: str) -> Callable[[], Any]:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", path):
        raise SpecError(f"--module takes package.module:factory, got {path!r}")
    name, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(name), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"--module {path}: {error}; it must be importable from here") from error
    except Exception as error:  # code of others raises whatever it does
        raise SpecError(
            f"--module {path}: to import {name} is a {_told(error)}; mend it first"
        ) from error
    if not callable(found):
        raise SpecError(f"--module {path} is a {type(found).__name__}, which makes nothing")
    factory: Callable[[], Any] = found
    return factory
