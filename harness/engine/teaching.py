"""Teachers: trained once, or imported; stored by what they are; shared by all cells."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness import discovery
from harness.contracts.dataset import Dataset, DatasetCard
from harness.contracts.errors import SpecError, StoreError
from harness.contracts.method import Progress
from harness.contracts.model import Model, Output
from harness.data.encoding import Presentation, direct
from harness.engine import teachers
from harness.engine.jobs import Conditions, TeacherOrder
from harness.engine.setting import build, lesson_of, prepare, recipe_from
from harness.evaluation.cost import Running, ledger_summary
from harness.evaluation.evaluate import Verdict, evaluate
from harness.store import Store, write_atomically, write_json
from harness.training.descent import descend
from harness.training.lesson import Answer, Teacher
from harness.training.student import Student

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


def train(order: TeacherOrder, report: Callable[[Progress], None], /) -> None:
    """Train the artificial network ``order.identity`` and store it."""
    identity, conditions = order.identity, order.conditions
    prepare(conditions)
    dataset = cast(Dataset, discovery.load("datasets", identity["dataset"]))
    recipe = recipe_from(identity["recipe"])
    device = torch.device(conditions.device)
    student = _artificial(identity["model"], dataset.card, seed=identity["seed"], device=device)
    splits = dataset.load(conditions.data_root)
    presentation = direct(dataset.card)
    lesson = lesson_of(
        recipe,
        splits.train,
        dataset.card,
        presentation=presentation,
        seed=identity["seed"],
        teacher=None,
        device=device,
    )
    for progress in descend(student, lesson, _label_loss):
        report(progress)
    verdict = evaluate(student, splits.test, presentation, device, "float32")
    store = Store(conditions.runs)
    folder = store.teacher_folder(teachers.teacher_id(identity))
    running = Running(student, splits.test, presentation, device, "float32")
    _keep(folder, identity, running, verdict)


def import_checkpoint(
    file: Path, /, *, model: str, dataset: str, conditions: Conditions
) -> Imported:
    """Store a published PyTorch checkpoint as the teacher of ``dataset``.

    Only weights are read, never code. It is evaluated on the test split, under the
    normalisation (the data set's or ImageNet's) that suits the validation split better.

    Raises:
        SpecError: If the file holds no weights, or those of another network.
    """
    prepare(conditions)
    source = cast(Dataset, discovery.load("datasets", dataset))
    device = torch.device(conditions.device)
    student = _artificial(model, source.card, seed=0, device=device)
    _load_checkpoint(student.network, file, model)
    splits = source.load(conditions.data_root)
    card = source.card
    choices = {"data set": direct(card)}
    if len(card.mean) == len(IMAGENET.mean):
        choices["ImageNet"] = IMAGENET
    suits = {
        name: evaluate(student, splits.validation, presentation, device, "float32").accuracy.value
        for name, presentation in choices.items()
    }
    chosen = max(suits, key=lambda name: suits[name])
    verdict = evaluate(student, splits.test, choices[chosen], device, "float32")
    weights_sha256 = hashlib.sha256(_weights(student.network)).hexdigest()
    identity = {"dataset": dataset, "model": model, "weights_sha256": weights_sha256}
    folder = Store(conditions.runs).teacher_folder(teachers.teacher_id(identity))
    running = Running(student, splits.test, choices[chosen], device, "float32")
    _keep(folder, identity, running, verdict)
    write_json(teachers.pointer(conditions.runs, dataset, model), identity)
    return Imported(
        accuracy=verdict.accuracy.value,
        n_test=len(verdict.labels),
        normalisation=chosen,
        folder=folder,
    )


def load_teacher(
    store: Store, identity: Mapping[str, Any], card: DatasetCard, device: torch.device, /
) -> Teacher:
    """Return a stored teacher, frozen.

    Raises:
        StoreError: If it is not there, most likely because its training failed.
    """
    folder = store.teacher_folder(teachers.teacher_id(identity))
    found = teachers.record(store, identity)
    if found is None:
        raise StoreError(f"the teacher in {folder} is not ready; its log lies there")
    network = _artificial(identity["model"], card, seed=0, device=device).network
    network.load_state_dict(load_file(folder / "weights.safetensors", device=str(device)))
    network.requires_grad_(requires_grad=False)
    return Teacher(network=network.eval(), mean=tuple(found["mean"]), std=tuple(found["std"]))


def predictions(store: Store, identity: Mapping[str, Any], /) -> NDArray[np.int64]:
    """Return the stored teacher's decisions on the test split, int64 ``[N]``."""
    folder = store.teacher_folder(teachers.teacher_id(identity))
    with np.load(folder / "predictions.npz") as stored:
        decided: NDArray[np.int64] = stored["predictions"]
    return decided


def _artificial(model: str, card: DatasetCard, *, seed: int, device: torch.device) -> Student:
    topology = cast(Model, discovery.load("models", model))
    return build(topology, nn.ReLU, card, seed=seed, timesteps=1, device=device)


def _label_loss(output: Output, _answer: Answer, labels: Tensor) -> Tensor:
    return cross_entropy(output.logits.mean(0), labels)


def _weights(network: nn.Module) -> bytes:
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return save(state)


def _keep(folder: Path, identity: Mapping[str, Any], running: Running, verdict: Verdict) -> None:
    """Write weights, predictions and costs first: the record says that they are there."""
    network = running.student.network
    weights, decided = _weights(network), BytesIO()
    np.savez(decided, predictions=verdict.predictions[-1])
    write_atomically(folder / "weights.safetensors", lambda file: file.write(weights))
    write_atomically(folder / "predictions.npz", lambda file: file.write(decided.getvalue()))
    write_json(folder / "ledger.json", ledger_summary(running.counted()))
    write_json(
        folder / "teacher.json",
        {
            **identity,
            "accuracy": verdict.accuracy.value,
            "n_test": len(verdict.labels),
            "mean": running.presentation.mean,
            "std": running.presentation.std,
            "parameters": sum(weight.numel() for weight in network.parameters()),
        },
    )


def _load_checkpoint(network: nn.Module, file: Path, model: str) -> None:
    """Fill ``network`` from a checkpoint, whose keys may start with ``module.``."""
    try:
        # weights_only: the file may hold tensors and plain containers, no code.
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SpecError(f"no checkpoint at {file}") from error
    except Exception as error:  # torch raises whatever its unpickler meets
        raise SpecError(f"{file} is no checkpoint of weights alone: {error}") from error
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not isinstance(state, dict):
        raise SpecError(f"{file} holds no state_dict")
    try:
        network.load_state_dict({name.removeprefix("module."): v for name, v in state.items()})
    except (RuntimeError, AttributeError) as error:
        words = " ".join(str(error).split())[:300]
        raise SpecError(f"{file} holds no weights of {model}: {words}") from error
