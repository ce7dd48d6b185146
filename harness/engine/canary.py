"""What tells later code from the code that made a row: the cell's own first steps.

In float64 on the processor they come out the same on every machine, whatever the row
itself was trained with. Text and names do not move them; a change of meaning does.
"""

import hashlib
import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.contracts.cell import Cell, TeacherIdentity
from harness.contracts.dataset import Samples, Source, Splits
from harness.contracts.ledger import Ledger
from harness.contracts.recipe import Recipe
from harness.contracts.row import Canary, Metrics, Stage
from harness.contracts.schema_2 import FIRST
from harness.contracts.task import Driven
from harness.contracts.values import to_plain
from harness.data.streaming import some, unaugmented
from harness.engine.compare import alike
from harness.engine.measure import TeacherVerdict, measure
from harness.engine.proofs import PARTS
from harness.engine.resolve import opened, opened_for, resolve
from harness.engine.teachers import cell_of
from harness.engine.train import Trained, train
from harness.evaluation.evaluate import evaluate, projected
from harness.training.lesson import Teacher, computing

EPOCHS, STEPS_AN_EPOCH, BATCH_SIZE, TESTED = 2, 2, 32, 64
# Rounding moves a number by 1e-13 of itself at most over so few steps.
_TOLERANCE = 1e-10
_CPU = torch.device("cpu")


def canary_of(cell: Cell, data_root: Path | None, /) -> Canary:
    """Return the canary of ``cell``, as the code here has it.

    Raises:
        DataError: If the data is not here.
    """
    with computing("float64"):
        return _canary(cell, opened_for(cell, data_root), data_root)


def _canary(cell: Cell, splits: Splits[Any], data_root: Path | None) -> Canary:
    teacher = reference = None
    if cell.teacher is not None:
        teacher, reference = _teacher(cell.teacher, data_root, cell.model)
    found = resolve(replace(cell, recipe=_short(cell.recipe, len(splits.train))))
    losses: list[float] = []
    trained = train(
        found,
        splits,
        deepcopy(teacher) if found.uses_teacher else None,  # some methods teach their teacher
        _CPU,
        lambda progress: losses.append(progress.loss),
    )
    weights = _projections(trained.student.network)
    test, validation = some(splits.test, TESTED), some(splits.validation, TESTED)
    # What is driven through sequences is shown no sample of them as it is.
    shown = some(splits.train, TESTED) if isinstance(found.task, Driven) else test
    _settle_norms(trained, shown)
    measured = measure(found, trained, test, validation, reference)
    return Canary(
        losses=tuple(losses),
        weights=weights,
        logits=measured.verdict.projections,
        elsewhere=dict(measured.elsewhere),
        counts=tuple(_hashes(measured.ledger)),
        metrics=tuple(_numbers(_by_first_name(Metrics(**measured.metrics)))),
    )


def differing(then: Canary, now: Canary, stage: Stage, /) -> tuple[str, ...]:
    """Return the parts of ``stage`` that are not the same but for rounding."""
    return tuple(
        name
        for name in PARTS[stage]
        if not alike(getattr(then, name), getattr(now, name), within=_TOLERANCE)
    )


def _short(recipe: Recipe, available: int) -> Recipe:
    """Return a recipe of four steps that go through the whole schedule, over two epochs."""
    return replace(
        recipe,
        epochs=EPOCHS if recipe.epochs else 0,
        batch_size=BATCH_SIZE,
        train_samples=min(available, STEPS_AN_EPOCH * BATCH_SIZE),
        precision="float64",
        compiled=False,
    )


@lru_cache(maxsize=8)
def _teacher(
    identity: TeacherIdentity, data_root: Path | None, student: str
) -> tuple[Teacher, TeacherVerdict]:
    """Return a teacher of so few steps; an imported one's topology, untrained."""
    cell = cell_of(identity)
    splits = opened(cell.dataset, data_root, cell.timesteps)
    found = resolve(replace(cell, recipe=_short(cell.recipe, len(splits.train))))
    trained = train(found, splits, None, _CPU, lambda _: None)
    verdict = evaluate(
        trained.student,
        some(splits.test, TESTED),
        trained.presentation,
        _CPU,
        "float64",
        task=found.task,
    )
    network = trained.student.network.requires_grad_(requires_grad=False).eval()
    mean, std = found.card.normalisation
    return (
        Teacher(network=network, mean=mean, std=std),
        TeacherVerdict(
            score=verdict.score.value,
            predictions=verdict.predictions[-1],
            same_topology=cell.model == student,
        ),
    )


def _settle_norms(trained: Trained, samples: Samples | Source) -> None:
    """Give norms the statistics of ``samples``.

    After so few steps theirs are those of no signal, and a network that stays silent could
    not tell one neuron from another.
    """
    for module in trained.student.network.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain mean
    trained.student.network.train()
    stimulus_of = trained.presentation.begin("evaluation")
    with torch.no_grad():
        for images, _ in unaugmented(samples, TESTED, _CPU, "float64"):
            trained.student(stimulus_of(images))


def _projections(network: nn.Module) -> tuple[float, ...]:
    return tuple(projected(part.numpy(force=True)) for part in network.state_dict().values())


def _hashes(ledger: Ledger) -> Iterator[str]:
    """Yield what the meter says of each layer, whatever the layer is called."""
    for layer in ledger.summed().to_plain()["layers"].values():
        yield _hash(layer)


def _by_first_name(metrics: Metrics) -> dict[str, Any]:
    """Return metrics by the names they were first published under, which order canaries."""
    return {
        FIRST.get(name, name): item
        for name, item in to_plain(metrics).items()
        if name not in ("metric", "scale")
    }


def _numbers(plain: Any) -> Iterator[int | float | str]:
    """Yield what is known, by name; of a table of whole numbers, a hash."""
    if isinstance(plain, dict):
        if plain and all(type(item) is int for item in plain.values()):
            yield _hash(plain)
            return
        plain = [plain[name] for name in sorted(plain)]
    if isinstance(plain, list):
        for item in plain:
            yield from _numbers(item)
    elif plain is not None:
        yield plain


def _hash(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
