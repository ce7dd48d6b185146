"""A published PyTorch checkpoint, as the teacher of a data set."""

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from harness.contracts.cell import TeacherIdentity
from harness.contracts.errors import SpecError
from harness.contracts.row import Metrics, Row
from harness.data import catalogue
from harness.data.encoding import Presentation, direct
from harness.engine.canary import canary_of
from harness.engine.cell import keep, prepared, weights_of
from harness.engine.freshness import remember
from harness.engine.jobs import Conditions, Order
from harness.engine.measure import measure
from harness.engine.provenance import provenance
from harness.engine.resolve import resolve
from harness.engine.teachers import cell_of
from harness.engine.train import Trained
from harness.engine.weights_files import state_in
from harness.evaluation.evaluate import evaluate
from harness.store import Store
from harness.training.lesson import Account

# What published ImageNet-style recipes subtract and divide by, also on CIFAR.
IMAGENET = Presentation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import found.

    Attributes:
        accuracy: On the test split, a fraction.
        n_test: Samples in it.
        normalisation: ``data set`` or ``ImageNet``, whichever suits the validation split.
        folder: Where the teacher now lies.
    """

    accuracy: float
    n_test: int
    normalisation: str
    folder: Path


def import_checkpoint(
    file: Path, /, *, model: str, dataset: str, conditions: Conditions
) -> Imported:
    """Store a published PyTorch checkpoint as the teacher of ``dataset``.

    Only weights are read, never code. It is evaluated on the test split, under the
    normalisation (the data set's or ImageNet's) that suits the validation split better.

    Raises:
        SpecError: If the file holds no weights, or those of another network.
    """
    with prepared(conditions):
        return _imported(file, model, dataset, conditions)


def _imported(file: Path, model: str, dataset: str, conditions: Conditions) -> Imported:
    started = datetime.now(UTC)
    source = catalogue.load(dataset)
    device, store = torch.device(conditions.device), Store(conditions.runs)
    # The network first: its weights are what the teacher is identified by.
    found = resolve(cell_of(TeacherIdentity(dataset=dataset, model=model, weights_sha256="?")))
    student = found.student(device)
    _load_checkpoint(student.network, file, model)
    sha256 = hashlib.sha256(weights_of(student.network)).hexdigest()
    cell = cell_of(TeacherIdentity(dataset=dataset, model=model, weights_sha256=sha256))
    splits = source.load(conditions.data_root)
    choices = {"data set": direct(source.card)}
    if len(source.card.normalisation[0]) == len(IMAGENET.mean):
        choices["ImageNet"] = IMAGENET
    suits = {
        name: evaluate(
            student, splits.validation, shown, device, "float32", task=found.task
        ).score.value
        for name, shown in choices.items()
    }
    chosen = max(suits, key=lambda name: suits[name])
    shown = choices[chosen]
    trained = Trained(
        student=student, presentation=shown, device=device, account=Account(), seconds=0.0
    )
    measured = measure(found, trained, splits.test, splits.validation, None)
    folder = store.folder(cell)
    order = Order(cell=cell, conditions=conditions, log_path=folder / "log.txt")
    made = provenance(
        order, started=started, weights_sha256=keep(folder, student.network, measured)
    )
    row = Row(
        cell=cell,
        status="ok",
        metrics=Metrics(**measured.metrics),
        ledger=measured.ledger.summed(),
        canary=canary_of(cell, conditions.data_root),
        provenance=replace(made, normalisation=(tuple(shown.mean), tuple(shown.std))),
    )
    remember(store, cell)
    store.save(row)
    store.point_to_teacher(dataset, model, sha256)
    return Imported(
        accuracy=measured.verdict.score.value,
        n_test=len(measured.verdict.labels),
        normalisation=chosen,
        folder=folder,
    )


def _load_checkpoint(network: nn.Module, file: Path, model: str) -> None:
    """Fill ``network`` from a checkpoint."""
    state = state_in(file)
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        words = " ".join(str(error).split())[:300]
        raise SpecError(f"{file} holds no weights of {model}: {words}") from error
