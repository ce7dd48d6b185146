"""Weights that somebody published as a PyTorch file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.contracts.errors import SpecError


def state_in(path: Path, /) -> dict[str, Tensor]:
    """Return the state dict in a file that is read as tensors alone, code in it refused.

    It may lie under ``state_dict``, ``model`` or ``net``; keys that begin with ``module.``, as
    those of a network that was trained in parallel, lose that.

    Raises:
        SpecError: If there is no such file, or it holds no state dict or anything but weights.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SpecError(f"no checkpoint at {path}") from error
    except Exception as error:  # torch raises whatever its unpickler meets
        # Not torch's own words, which advise to let the file's code run.
        raise SpecError(
            f"{path} is no checkpoint of weights alone ({type(error).__name__}); save what "
            "network.state_dict() returns"
        ) from error
    state = next(_states(stored), None)
    if state is None:
        raise SpecError(f"{path} holds no state dict")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _states(stored: Any) -> Iterator[dict[str, Tensor]]:
    """Yield the state dicts in what a file held, the named ones first."""
    if not isinstance(stored, dict):
        return
    for name in ("state_dict", "model", "net"):
        if isinstance(stored.get(name), dict):
            yield stored[name]
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in stored.items()):
        yield stored
