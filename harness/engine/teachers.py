"""Teachers are cells: which cell a teacher is, and whether it is ready. Imports no torch."""

import hashlib
from functools import lru_cache
from pathlib import Path

from harness.contracts.cell import LABELS_ALONE, START, TEACHERS, Cell, TeacherIdentity
from harness.contracts.errors import StoreError, TeacherError
from harness.contracts.recipe import Recipe
from harness.contracts.row import Row
from harness.contracts.suite import Suite
from harness.results import Published
from harness.store import Store

WEIGHTS = "weights.safetensors"


def identity_of(suite: Suite, split: str, store: Store, published: Published, /) -> TeacherIdentity:
    """Return which teacher ``suite`` asks for.

    Raises:
        StoreError: If it is to be imported and has not been; says how.
    """
    asked, dataset = suite.teacher, suite.dataset
    if asked.recipe is not None:
        return TeacherIdentity(
            dataset=dataset,
            model=asked.model,
            recipe=asked.recipe,
            seed=asked.seed,
            split=split,
            start_sha256=asked.start,
        )
    pointed = store.imported_teacher(dataset, asked.model)
    if pointed is not None:
        return TeacherIdentity(dataset=dataset, model=asked.model, weights_sha256=pointed)
    for row in published.rows.values():
        known = row.cell.teacher
        if (
            known
            and known.weights_sha256
            and (known.dataset, known.model) == (dataset, asked.model)
        ):
            return known
    raise not_imported(asked.model, dataset, store)


def not_imported(model: str, dataset: str, store: Store, /) -> StoreError:
    """Return what says how to import a teacher."""
    return StoreError(
        f"the teacher {model} for {dataset} is not in {store.root}; import it: "
        f"python -m harness teacher import FILE --model {model} "
        f"--dataset {dataset} --out {store.root}"
    )


@lru_cache(maxsize=1024)  # many rows name one teacher
def cell_of(identity: TeacherIdentity, /) -> Cell:
    """Return the cell that a teacher is; an imported one trains nothing."""
    imported, start = identity.weights_sha256, identity.start_sha256
    return Cell(
        suite=TEACHERS,
        protocol=1,
        method=LABELS_ALONE,
        params={START: start} if start else {},
        dataset=identity.dataset,
        split=identity.split or "unknown",
        model=identity.model,
        teacher=None,
        backend=None,
        timesteps=1,
        seed=identity.seed or 0,
        recipe_name=f"imported {imported}" if imported else "teacher",
        recipe=identity.recipe or Recipe(epochs=0, batch_size=1),
        neuron=None,
    )


def ready(store: Store, cell: Cell, /) -> Row | None:
    """Return the row of a teacher whose weights are here, or None."""
    row = store.load(cell)
    return row if row and row.metrics and (store.folder(cell) / WEIGHTS).exists() else None


def verified_weights(store: Store, cell: Cell, /) -> tuple[Row, Path]:
    """Return a teacher's row and the file of the weights that it is about.

    Raises:
        TeacherError: If it ended without any.
        StoreError: If it is not ready, or the file holds other weights.
    """
    folder, row = store.folder(cell), store.load(cell)
    if row is not None and row.metrics is None and row.status != "machine":
        raise TeacherError(
            f"the {cell.label} ended as {row.status}: {row.error}; `run --retry-failed` trains it "
            "again"
        )
    if row is None or row.metrics is None:
        why = f"{row.status}: {row.error}" if row else "it has not been trained here"
        raise StoreError(f"the {cell.label} in {folder} is not ready; {why}")
    path = folder / WEIGHTS
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no file"
    if found != row.provenance.weights_sha256:
        raise StoreError(
            f"{path} holds other weights than its row is about (SHA-256 "
            f"{row.provenance.weights_sha256}, found {found}); delete {folder} and make the "
            "teacher again"
        )
    return row, path
