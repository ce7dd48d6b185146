"""The teacher's logits of a lesson, kept beside the runs for the next cell that asks for them.

They are addressed by all that they depend on: the teacher's weights and code, the data, what
of the recipe decides batches and rounding, the seed, the machine. Equal addresses hold equal
bits, so a file is never wrong, only superfluous; the oldest go where there are too many. What
they took to compute lies beside them: whoever reads them is charged for it.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from harness import fingerprint
from harness.contracts.cell import Cell, TeacherIdentity
from harness.contracts.values import to_plain
from harness.data import catalogue
from harness.engine.freshness import data_fingerprint, fingerprints
from harness.engine.jobs import Order
from harness.engine.teachers import cell_of
from harness.store import write_bytes
from harness.training.answers import Answers
from harness.training.lesson import Teacher

FOLDER = "answers"
_LOGITS, _TOOK = "logits", "seconds"  # in a file
_LARGEST, _TOGETHER = 2**26, 2**30  # bytes of one file, and of all


def answers_of(
    order: Order, teacher: TeacherIdentity, weights_sha256: str, device: torch.device, /
) -> Callable[[Teacher, int], Answers]:
    """Return what makes the answers of a lesson of so many steps: known, or to be kept."""
    folder = order.conditions.runs / FOLDER
    path = folder / f"{_address(order, teacher, weights_sha256, device)}.safetensors"
    a_step = _bytes_a_step(order.cell)

    def answers(teacher: Teacher, steps: int) -> Answers:
        if steps * a_step > _LARGEST:
            return _Unkept(teacher, steps)
        # What another cell has thrown away meanwhile, or a disk has damaged, is computed anew.
        with suppress(FileNotFoundError, SafetensorError):
            os.utime(path)
            found = load_file(path)
            took_s = float(found[_TOOK]) if _TOOK in found else None
            return Answers(teacher, steps, known=found[_LOGITS].to(device), took_s=took_s)
        return Answers(teacher, steps, keep=partial(_keep, path))

    return answers


class _Unkept(Answers):
    """Asks at every step: together the logits would be too many, in memory too."""

    def at(self, place: Tensor, compute: Callable[[], Tensor]) -> Tensor:  # noqa: ARG002  as there
        return compute()


def _bytes_a_step(cell: Cell) -> int:
    wide = torch.float64 if cell.recipe.precision == "float64" else torch.float32
    return cell.recipe.batch_size * catalogue.load(cell.dataset).card.classes * wide.itemsize


def _address(
    order: Order, teacher: TeacherIdentity, weights_sha256: str, device: torch.device
) -> str:
    cell, conditions = order.cell, order.conditions
    depends: dict[str, Any] = {
        "weights": weights_sha256,
        "code": fingerprints(cell_of(teacher))["train"],
        "data": data_fingerprint(cell.dataset, conditions.data_root),
        "batches": [cell.dataset, cell.split, cell.seed, cell.timesteps, _batches(cell)],
        "machine": [dict(fingerprint.processor()), conditions.threads, conditions.deterministic],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    text = json.dumps(depends, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _batches(cell: Cell) -> Any:
    """Return the recipe without what changes the student alone."""
    alike = {"optimiser": "sgd", "learning_rate": 1.0, "warmup": 0.0, "weight_decay": 0.0}
    return to_plain(replace(cell.recipe, **alike, compiled=False))  # type: ignore[arg-type]  # fields of several types


def _keep(path: Path, table: Tensor, took_s: float | None) -> None:
    if table.nbytes > _LARGEST:
        return
    took = {} if took_s is None else {_TOOK: torch.tensor(took_s, dtype=torch.float64)}
    held = save({_LOGITS: table.detach().cpu(), **took})
    write_bytes(path, held)
    known = []
    for one in path.parent.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # other cells throw away, too
            told = one.stat()
            known.append((told.st_mtime, told.st_size, one))
    room = _TOGETHER - sum(size for _, size, _ in known)
    for _, size, oldest in sorted(known):
        if room >= 0:
            break
        room += size
        oldest.unlink(missing_ok=True)
