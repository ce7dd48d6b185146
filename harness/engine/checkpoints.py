"""Where a cell's checkpoint lies, whose it is, and when it is written."""

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

import torch

from harness.contracts.errors import StoreError
from harness.engine.freshness import data_fingerprint, fingerprints
from harness.engine.jobs import Order
from harness.store import CHECKPOINT, Store, write_bytes
from harness.training.checkpoint import Checkpoint, Keeper

_WORTH_S = 1.0  # of training, to be kept for what comes after it


class _Keeper(Keeper):
    """Writes once more when all is trained: judging may be cut off, too."""

    def over(self) -> None:
        is_worth_it = self.asked or time.monotonic() - self._wrote_s >= _WORTH_S
        if self.progress and self._over and is_worth_it:
            whole = Checkpoint(
                of=self._of, passes=self._over, progress=self.progress, seconds=self.seconds
            )
            self._write(whole.to_bytes())
        if self.asked:
            self._end()


@contextmanager
def keeping(order: Order, teacher_sha256: str | None, device: torch.device, /) -> Iterator[Keeper]:
    """Yield what lets the training of a cell go on where it was cut off, if it was.

    Whoever asks this process to end, gently, has it write first, at its next step.
    """
    path = _path(order)
    of = _of(order, teacher_sha256)
    keeper = _Keeper(
        of,
        partial(_write, path),
        every_s=order.conditions.checkpoint_s,
        before=_found(path, of, device),
        end=partial(_end, signal.SIGTERM),
    )

    def ask(_number: int, _frame: FrameType | None) -> None:
        keeper.asked = True

    usual = signal.signal(signal.SIGTERM, ask)
    try:
        yield keeper
        keeper.over()
    finally:
        signal.signal(signal.SIGTERM, usual)


def followed(order: Order, teacher_sha256: str | None, device: torch.device, /) -> Keeper:
    """Return what lets another process of a cell go on where the one that writes does."""
    of = _of(order, teacher_sha256)
    before = _found(_path(order), of, device)
    return Keeper(of, lambda _: None, every_s=math.inf, before=before)


def _path(order: Order) -> Path:
    return Store(order.conditions.runs).folder(order.cell) / CHECKPOINT


def _write(path: Path, held: bytes) -> None:
    try:
        write_bytes(path, held)
    except StoreError as error:  # its row may fit all the same
        print(f"no checkpoint: {error}")  # noqa: T201  the log


def _of(order: Order, teacher_sha256: str | None) -> dict[str, str]:
    """Return what must be the same for a training to go on: all that its next steps depend on."""
    cell, conditions = order.cell, order.conditions
    kind, devices = conditions.device.partition(":")[0], conditions.devices
    return {
        "cell": cell.cell_id,
        "code": fingerprints(cell)["train"],
        "data": str(data_fingerprint(cell.dataset, conditions.data_root, cell.unlabelled)),
        "teacher": str(teacher_sha256),
        "device": kind if devices == 1 else f"{devices} x {kind}",
        "threads": str(conditions.threads),
        "deterministic": str(conditions.deterministic),
        "torch": torch.__version__,
    }


def _found(path: Path, of: dict[str, str], device: torch.device) -> Checkpoint | None:
    """Return the checkpoint at ``path`` if it is of this training; say in the log if it is not."""
    try:
        before = Checkpoint.from_bytes(path.read_bytes(), device)
    except FileNotFoundError:
        return None
    except StoreError as error:
        print(f"{path} is damaged, the training begins anew: {error}")  # noqa: T201  the log
        return None
    if unlike := [name for name, value in of.items() if before.of.get(name) != value]:
        print(f"{path} is of other {', '.join(unlike)}: the training begins anew")  # noqa: T201
        return None
    steps = {purpose or "student": one.steps for purpose, one in before.passes.items()}
    print(f"goes on from {path}, after these steps: {steps}")  # noqa: T201
    return before


def _end(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
