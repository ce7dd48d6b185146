"""Which teacher a cell has, and where it lies. Imports no torch.

A trained teacher's identity is everything it was trained with; an imported one's is
its weights. Cells that agree on it share one teacher.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.contracts.errors import StoreError
from harness.contracts.suite import TeacherSpec
from harness.store import Store, read_json


@dataclass(frozen=True, kw_only=True)
class TeacherPlan:
    """A teacher that a suite asks for.

    Attributes:
        spec: Model, recipe and seed.
        dataset: What it knows.
        split: Which part of that it was trained on.
    """

    spec: TeacherSpec
    dataset: str
    split: str

    def identity(self, runs: Path, /) -> dict[str, Any]:
        """Return what makes this teacher this teacher.

        Raises:
            StoreError: If it is to be imported and has not been; says how.
        """
        identity: dict[str, Any] = {"dataset": self.dataset, "model": self.spec.model}
        if self.spec.recipe is not None:
            trained = {"recipe": asdict(self.spec.recipe), "seed": self.spec.seed}
            return identity | trained | {"split": self.split}
        found = imported(runs, dataset=self.dataset, model=self.spec.model)
        if found is None:
            raise StoreError(
                f"the teacher {self.spec.model} for {self.dataset} is not in {runs}; import it: "
                f"python -m harness teacher import FILE --model {self.spec.model} "
                f"--dataset {self.dataset} --out {runs}"
            )
        return identity | {"weights_sha256": found["weights_sha256"]}


def teacher_id(identity: Mapping[str, Any], /) -> str:
    """Return the name of a teacher's folder."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def imported(runs: Path, /, *, dataset: str, model: str) -> dict[str, Any] | None:
    """Return the record of the teacher last imported for ``dataset``, or None."""
    return read_json(pointer(runs, dataset, model))


def record(store: Store, identity: Mapping[str, Any], /) -> dict[str, Any] | None:
    """Return the record of a teacher that is ready, or None."""
    return read_json(store.teacher_folder(teacher_id(identity)) / "teacher.json")


def ledger(store: Store, identity: Mapping[str, Any], /) -> dict[str, Any] | None:
    """Return what a teacher costs, as ``harness.energy`` takes it, or None if it is not ready."""
    return read_json(store.teacher_folder(teacher_id(identity)) / "ledger.json")


def pointer(runs: Path, dataset: str, model: str) -> Path:
    """Return the file that names the imported teacher of ``dataset`` and ``model``."""
    return runs / "teachers" / f"imported-{dataset}-{model}.json"
