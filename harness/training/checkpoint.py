"""A training that was cut off goes on where it was, to the last bit.

All that a method does before its first batch follows from the seed, so it is simply begun
again. What it has learnt since comes back when it asks for that batch, and the batches that
it has had are passed over. So a checkpoint holds the state of the passes through the lesson,
and of the random numbers, and nothing of how a method is written.

It is data: tensors in a safetensors file, everything else as JSON in its header.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from harness.contracts.errors import StoreError
from harness.contracts.method import Progress

_NOT_OURS = (
    *(SafetensorError, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)
_HEADER, _PROGRESS = "snn-distill-bench checkpoint 1", "progress"


class Stateful(Protocol):
    """A module, an optimiser, a schedule: what tells and takes all that changes in it."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return its state."""
        ...

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take a state."""
        ...


class Buffers(nn.Module):
    """Tensors of a method's own that change in place from step to step, and are not learned."""

    def __init__(self, *tensors: Tensor) -> None:
        """Hold these very tensors."""
        super().__init__()
        for place, tensor in enumerate(tensors):
            self.register_buffer(str(place), tensor)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A pass through the lesson, between two steps.

    Attributes:
        steps: How many it has gone.
        states: Of what learns in it.
        random: The state of torch's random numbers, by device.
    """

    steps: int
    states: Sequence[Any]
    random: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a training needs to go on.

    Attributes:
        of: What it is a training of; another one begins anew.
        passes: By purpose; the student's own is that of no purpose, "".
        progress: As last reported.
        seconds: Spent on what it holds.
    """

    of: Mapping[str, str]
    passes: Mapping[str, Pass]
    progress: Progress
    seconds: float

    def to_bytes(self) -> bytes:
        """Return it as a file holds it."""
        tensors: dict[str, Tensor] = {}
        passes = {
            purpose: {"steps": one.steps, "states": one.states, "random": one.random}
            for purpose, one in self.passes.items()
        }
        told = {
            "of": dict(self.of),
            "passes": _packed(passes, tensors),
            "seconds": self.seconds,
        }
        # For itself: how far a cell is can be read without all the rest.
        progress = json.dumps(vars(self.progress))
        return save(tensors, {_HEADER: json.dumps(told), _PROGRESS: progress})

    @classmethod
    def from_bytes(cls, held: bytes, device: torch.device, /) -> "Checkpoint":
        """Return what ``to_bytes`` made, its tensors on ``device``.

        Raises:
            StoreError: If these bytes are anything else.
        """
        try:
            header = _header(held)
            told = json.loads(header[_HEADER])
            passes = _unpacked(told["passes"], load(held), device)
            return cls(
                of={str(name): str(value) for name, value in told["of"].items()},
                passes={
                    purpose: Pass(
                        steps=int(one["steps"]), states=list(one["states"]), random=one["random"]
                    )
                    for purpose, one in passes.items()
                },
                progress=_progress(**json.loads(header[_PROGRESS])),
                seconds=float(told["seconds"]),
            )
        except _NOT_OURS as error:
            words = str(error) or type(error).__name__
            raise StoreError(f"no checkpoint of this version: {words}") from error


class Keeper:
    """Holds what a training would need to go on, and writes it now and then.

    Attributes:
        progress: As last reported, here or before the training was cut off.
        asked: Whether it shall end at the next step.
    """

    def __init__(
        self,
        of: Mapping[str, str],
        write: Callable[[bytes], None],
        *,
        every_s: float,
        before: Checkpoint | None = None,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        """Go on from ``before``; call ``write`` every so often, and ``end`` once asked to."""
        self.progress = before.progress if before else None
        self.asked = False
        self._of, self._write, self._every_s, self._end = of, write, every_s, end
        self._before = dict(before.passes) if before else {}
        self._over: dict[str, Pass] = {}
        self._began_s = time.monotonic() - (before.seconds if before else 0.0)
        self._wrote_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """What has been spent so far, before the training was cut off, too."""
        return time.monotonic() - self._began_s

    def resume(self, purpose: str, kept: Sequence[Stateful], /) -> int:
        """Give ``kept`` the state they had; return the number of steps they have gone.

        Raises:
            StoreError: If it is the state of something else.
        """
        before = self._before.pop(purpose, None)
        if before is None or not kept:
            return 0
        try:
            for one, state in zip(kept, before.states, strict=True):
                one.load_state_dict(state)
            _draw_on(before.random)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            words = " ".join(str(error).split())
            raise StoreError(
                f"the checkpoint does not fit this training ({words}); delete it to begin anew"
            ) from error
        self._over[purpose] = before  # it may have gone all its steps, and then makes none
        return before.steps

    def step(self, purpose: str, steps: int, kept: Sequence[Stateful], /, *, last: bool) -> None:
        """Note that so many steps are gone; write if it is time.

        Of a pass that keeps nothing there is nothing to write: it is gone through again.
        """
        self._over.pop(purpose, None)
        if last and kept:
            self._over[purpose] = _state(steps, kept, copy=True)
        due = time.monotonic() - self._wrote_s >= self._every_s
        if kept and self.progress is not None and (due or self.asked):
            now = {purpose: _state(steps, kept)}
            self._write(
                Checkpoint(
                    of=self._of,
                    passes={**self._over, **now},
                    progress=self.progress,
                    seconds=self.seconds,
                ).to_bytes()
            )
            self._wrote_s = time.monotonic()
        if self.asked:
            self._end()


def _state(steps: int, kept: Sequence[Stateful], *, copy: bool = False) -> Pass:
    states = [one.state_dict() for one in kept]
    random = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        random["cuda"] = torch.cuda.get_rng_state()
    if copy:
        tensors: dict[str, Tensor] = {}
        states = _unpacked(_packed(states, tensors), tensors, None)
    return Pass(steps=steps, states=states, random=random)


def _draw_on(random: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(random["cpu"].cpu())
    if "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"].cpu())


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON knows it; its tensors go into ``tensors``, copied.

    Raises:
        StoreError: If it holds something else than tensors, numbers, text and their tables.
    """
    if isinstance(value, Tensor):
        name = str(len(tensors))
        flat = value.dim() != 4 or value.is_contiguous()
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor" if flat else "channels-last": name}
    if isinstance(value, Mapping):
        # Pairs: the keys of an optimiser's state are whole numbers.
        return {"pairs": [[key, _packed(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return [_packed(part, tensors) for part in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise StoreError(
        f"a {type(value).__name__} is part of a training's state and no checkpoint holds it"
    )


def _unpacked(plain: Any, tensors: Mapping[str, Tensor], device: torch.device | None) -> Any:
    if isinstance(plain, list):
        return [_unpacked(part, tensors, device) for part in plain]
    if not isinstance(plain, dict):
        return plain
    ((kind, told),) = plain.items()
    if kind == "pairs":
        return {key: _unpacked(part, tensors, device) for key, part in told}
    tensor = tensors[told].to(device)
    last = kind == "channels-last"
    return tensor.contiguous(memory_format=torch.channels_last) if last else tensor


def _progress(*, samples: int, budget: int, loss: float) -> Progress:
    return Progress(samples=int(samples), budget=int(budget), loss=float(loss))


def _header(held: bytes) -> dict[str, str]:
    """Return the words in front of the tensors."""
    size = int.from_bytes(held[:8], "little")
    found: dict[str, str] = json.loads(held[8 : 8 + size])["__metadata__"]
    return found
