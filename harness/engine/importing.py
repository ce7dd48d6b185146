"""A published PyTorch checkpoint, as the teacher of a data set."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import statistics
from harness.contracts.cell import TeacherIdentity
from harness.contracts.dataset import DatasetCard, Samples, Source
from harness.contracts.errors import SpecError
from harness.contracts.row import Metrics, Row
from harness.contracts.task import Scale, Score
from harness.data import catalogue
from harness.data.encoding import Presentation, direct
from harness.engine.canary import canary_of
from harness.engine.cell import keep, prepared, weights_of
from harness.engine.freshness import remember
from harness.engine.jobs import Conditions, Order
from harness.engine.measure import measure
from harness.engine.packed import one_line
from harness.engine.provenance import provenance
from harness.engine.resolve import Resolved, resolve
from harness.engine.teachers import cell_of
from harness.engine.train import Trained
from harness.engine.weights_files import state_in
from harness.evaluation.evaluate import evaluate
from harness.store import Store
from harness.training.lesson import Account
from harness.training.student import Student

Normalisation: TypeAlias = Literal["dataset", "imagenet", "half", "none"]
# What published recipes subtract and divide by, in units of [0, 1]: the last two of one channel.
_PRESETS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
_GUESSED = ("dataset", "imagenet")
_LEVEL = 0.05
_UNKNOWN = "imported; what it was trained on was not said (`teacher import --saw`)"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import found.

    Attributes:
        score: On the test split.
        scale: What numbers that is.
        n_test: Samples in it.
        normalisation: What images were normalised by, in words.
        folder: Where the teacher now lies.
    """

    score: Score
    scale: Scale
    n_test: int
    normalisation: str
    folder: Path


def import_checkpoint(
    file: Path,
    /,
    *,
    model: str,
    dataset: str,
    conditions: Conditions,
    shown: Mapping[str, Presentation],
    saw: str | None = None,
) -> Imported:
    """Store a published PyTorch checkpoint as the teacher of ``dataset``.

    Only weights are read, never code. It is evaluated on the test split, under the one of
    ``shown`` (by its name in words) that suits the validation split better.

    Args:
        file: Of the checkpoint.
        model: Its topology.
        dataset: Whose teacher it is.
        conditions: Where it is evaluated and kept.
        shown: Normalisations that it may have been trained with (``presentations``).
        saw: What it was trained on, in words; every row of its students tells it.

    Raises:
        SpecError: If the file holds no weights, or those of another network, or if the
            validation split does not decide between two of ``shown``.
    """
    with prepared(conditions):
        return _imported(file, model, dataset, conditions, shown, saw)


def presentations(
    card: DatasetCard,
    /,
    *,
    named: Normalisation | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> dict[str, Presentation]:
    """Return the normalisations, by their names, under which a checkpoint is to be tried.

    Where nothing is said that is the data set's own and, for images in colour, ImageNet's.

    Raises:
        SpecError: If numbers are no mean and deviation of the data set's channels, or what
            is said twice.
    """
    if mean is None and std is None:
        names = [named] if named else [n for n in _GUESSED if _fits(n, card)]
        return {name: _preset(name, card) for name in names}
    if mean is None or std is None or named:
        raise SpecError("give --mean and --std, or --normalisation, or none of them")
    channels = len(card.normalisation[0])
    if not len(mean) == len(std) == channels:
        raise SpecError(
            f"--mean and --std need {channels} numbers each, one a channel of {card.title}; got "
            f"{len(mean)} and {len(std)}"
        )
    if not all(map(isfinite, (*mean, *std))) or min(std) <= 0:
        raise SpecError(f"--mean must be finite and --std positive, got {mean} and {std}")
    return {f"mean {_joined(mean)}, std {_joined(std)}": Presentation(mean=mean, std=std)}


def _fits(name: str, card: DatasetCard) -> bool:
    return name == "dataset" or len(_PRESETS[name][0]) in {1, len(card.normalisation[0])}


def _preset(name: str, card: DatasetCard) -> Presentation:
    if name == "dataset":
        return direct(card)
    channels = len(card.normalisation[0])
    if not _fits(name, card):
        raise SpecError(f"{name!r} is of three channels, and {card.title} has {channels}")
    mean, std = (numbers * (channels // len(numbers)) for numbers in _PRESETS[name])
    return Presentation(mean=mean, std=std)


def _joined(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def better(right: Mapping[str, NDArray[np.bool_]], /) -> str:
    """Return the name under which most validation samples are answered right.

    Args:
        right: By name, whether each sample is, ``[N]``.

    Raises:
        SpecError: If McNemar's test cannot tell the two best apart at 5 %.
    """
    best, *others = sorted(right, key=lambda name: -right[name].mean())
    for other in others[:1]:
        alone = [int((right[a] & ~right[b]).sum()) for a, b in ((best, other), (other, best))]
        if statistics.mcnemar(*alone) >= _LEVEL:
            told = " and ".join(
                f"{100 * right[name].mean():.2f} % with that of {name}" for name in (best, other)
            )
            raise SpecError(
                f"{len(right[best])} validation samples do not tell which normalisation it was "
                f"trained with: {told}. Say it: --normalisation {best}, or --mean and --std"
            )
    return best


def _imported(
    file: Path,
    model: str,
    dataset: str,
    conditions: Conditions,
    choices: Mapping[str, Presentation],
    saw: str | None,
) -> Imported:
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
    chosen = _suiting(choices, student, found, splits.validation, device)
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
        provenance=replace(
            made,
            normalisation=(tuple(shown.mean), tuple(shown.std)),
            teacher_note=f"imported; it was trained on {saw}" if saw else _UNKNOWN,
        ),
    )
    remember(store, cell)
    store.save(row)
    store.point_to_teacher(dataset, model, sha256)
    return Imported(
        score=measured.verdict.score,
        scale=measured.verdict.task.metric.scale,
        n_test=len(measured.verdict.labels),
        normalisation=chosen,
        folder=folder,
    )


def _suiting(
    choices: Mapping[str, Presentation],
    student: Student,
    found: Resolved,
    validation: Samples | Source,
    device: torch.device,
) -> str:
    if len(choices) == 1:
        return next(iter(choices))
    right = {}
    for name, shown in choices.items():
        verdict = evaluate(student, validation, shown, device, "float32", task=found.task)
        right[name] = verdict.predictions[-1] == verdict.labels
    return better(right)


def _load_checkpoint(network: nn.Module, file: Path, model: str) -> None:
    """Fill ``network`` from a checkpoint."""
    state = state_in(file)
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        raise SpecError(f"{file} holds no weights of {model}: {one_line(error)}") from error
