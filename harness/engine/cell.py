"""One cell, start to end: data in, row out. Runs in the cell's own process."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.dataset import Dataset, DatasetCard, Samples
from harness.contracts.errors import SpecError
from harness.contracts.method import Method, Progress, Realises
from harness.contracts.model import Model
from harness.contracts.neuron import NeuronSpec, Surrogate
from harness.contracts.record import Cell, Metrics, Row
from harness.contracts.suite import Precision
from harness.data.encoding import Encoder, Presentation, direct
from harness.engine import teachers
from harness.engine.jobs import Order
from harness.engine.rows import provenance
from harness.engine.setting import build, lesson_of, prepare, recipe_from
from harness.engine.teaching import load_teacher, predictions
from harness.evaluation.cost import Running, early_exits, energies, operations
from harness.evaluation.evaluate import Verdict, evaluate
from harness.neurons.activation import activation
from harness.seeds import torch_seed
from harness.store import Store, write_atomically
from harness.training.lesson import Teacher
from harness.training.student import Student


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """What is known once the lesson is spent."""

    student: Student
    presentation: Presentation
    test: Samples
    verdict: Verdict
    on_validation: Verdict
    train_samples: int
    train_seconds: float


def run(order: Order, report: Callable[[Progress], None]) -> Row:
    """Train, evaluate and measure one cell; return its row.

    Raises:
        UnsupportedError: If simulator, model or method cannot mean it.
        DivergedError: If the loss leaves the finite numbers.
        DataError: If the data is missing or damaged.
    """
    started = datetime.now(UTC)
    conditions, cell = order.conditions, order.cell
    prepare(conditions)
    device = torch.device(conditions.device)
    store = Store(conditions.runs)
    dataset = cast(Dataset, discovery.load("datasets", cell.dataset))
    card = dataset.card
    backend = cast(Backend, discovery.load("backends", cell.backend))
    trained = _train(order, dataset, backend, device, report)
    _keep(store.folder(cell), trained)
    running = Running(trained.student, trained.test, trained.presentation, device, _precision(cell))
    counted = running.counted()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Row(
        cell=cell,
        status="ok",
        metrics=Metrics(
            **_quality(cell, trained, store),
            **operations(counted),
            **energies(counted, _artificial_ledger(cell, store)),
            **running.speed(),
            **early_exits(trained.on_validation, trained.verdict, counted),
            cross_backend=_elsewhere(cell, card, trained, device),
            train_seconds=trained.train_seconds,
            train_samples=trained.train_samples,
            peak_memory_bytes=_peak_memory_bytes(device),
        ),
        provenance=provenance(order, started=started, backend_version=backend.version, gpu=gpu),
    )


def _train(
    order: Order,
    dataset: Dataset,
    backend: Backend,
    device: torch.device,
    report: Callable[[Progress], None],
) -> _Trained:
    """Spend the lesson, then look at the test split, once."""
    cell, conditions = order.cell, order.conditions
    method = _method(cell)
    student = _student(cell, dataset.card, backend, device)
    splits = dataset.load(conditions.data_root, timesteps=cell.timesteps)
    presentation = _presentation(cell, dataset.card)
    lesson = lesson_of(
        recipe_from(cell.recipe),
        splits.train,
        dataset.card,
        presentation=presentation,
        seed=cell.seed,
        teacher=_teacher(cell, dataset.card, Store(conditions.runs), device),
        device=device,
    )
    torch.manual_seed(torch_seed(cell.seed, "method"))
    begun = time.perf_counter()
    progress = None
    for progress in method.fit(student, lesson):
        report(progress)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - begun
    examine = partial(
        evaluate, presentation=presentation, device=device, precision=_precision(cell)
    )
    return _Trained(
        student=student,
        presentation=presentation,
        test=splits.test,
        verdict=examine(student, splits.test),
        on_validation=examine(student, splits.validation),
        train_samples=progress.samples if progress else 0,
        train_seconds=seconds,
    )


def _presentation(cell: Cell, card: DatasetCard) -> Presentation:
    if cell.encoder is None:
        return direct(card)
    encoder = cast(Encoder, discovery.load("encoders", cell.encoder))
    return replace(direct(card), encoder=encoder, timesteps=cell.timesteps, seed=cell.seed)


def _precision(cell: Cell) -> Precision:
    return recipe_from(cell.recipe).precision


def _method(cell: Cell) -> Method:
    method = cast(Method, discovery.load("methods", cell.method))
    try:
        return replace(method, **cell.params)  # type: ignore[type-var]  # every method is a frozen dataclass
    except TypeError as error:
        raise SpecError(f"suites/methods/{cell.method}.py: {error}") from error


def neuron_of(cell: Cell) -> NeuronSpec:
    """Return the neuron in every slot of the cell's student."""
    fields = {**cell.neuron, "surrogate": Surrogate(**cell.neuron["surrogate"])}
    return NeuronSpec(**fields)


def _student(cell: Cell, card: DatasetCard, backend: Backend, device: torch.device) -> Student:
    model = cast(Model, discovery.load("models", cell.model))
    recipe = recipe_from(cell.recipe)
    spec = neuron_of(cell)

    def neuron(spec: NeuronSpec) -> nn.Module:
        return activation(backend, spec, through_compiler=recipe.compiled)()

    student = build(
        model,
        activation(backend, spec, through_compiler=recipe.compiled),
        card,
        seed=cell.seed,
        timesteps=cell.timesteps,
        device=device,
        spec=spec,
        neuron=neuron,
    )
    method = _method(cell)
    if isinstance(method, Realises):
        method.realise(student)
    return student


def _teacher(cell: Cell, card: DatasetCard, store: Store, device: torch.device) -> Teacher | None:
    said = discovery.method_card(cell.method)
    if cell.teacher is None or (said is not None and not said.uses_teacher):
        return None
    return load_teacher(store, cell.teacher, card, device)


def _quality(cell: Cell, trained: _Trained, store: Store) -> dict[str, Any]:
    """Return the columns about right and wrong."""
    verdict = trained.verdict
    low, high = verdict.accuracy.interval
    steps = verdict.over_time.accuracy
    columns: dict[str, Any] = {
        "test_accuracy": verdict.accuracy.value,
        "accuracy_low": low,
        "accuracy_high": high,
        "n_test": verdict.accuracy.samples,
        "accuracy_by_step": [step.value for step in steps],
        "accuracy_by_step_low": [step.interval.low for step in steps],
        "accuracy_by_step_high": [step.interval.high for step in steps],
        "accuracy_area": verdict.over_time.area,
        "mean_steps_to_decide": verdict.over_time.mean_settling_steps,
        "mean_cutoff_steps": verdict.over_time.mean_cutoff_steps,
    }
    found = teachers.record(store, cell.teacher) if cell.teacher else None
    if cell.teacher is None or found is None:
        return columns
    theirs = predictions(store, cell.teacher)
    same = cell.model == cell.teacher["model"]
    return columns | {
        "teacher_accuracy": found["accuracy"],
        "ann_accuracy": found["accuracy"] if same else None,
        "agreement": float((theirs == verdict.predictions[-1]).mean()),
    }


def _artificial_ledger(cell: Cell, store: Store) -> dict[str, Any] | None:
    """Return what the student's topology costs with ReLU, which is known of the teacher's."""
    if cell.teacher is None or cell.teacher["model"] != cell.model:
        return None
    return teachers.ledger(store, cell.teacher)


def _elsewhere(
    cell: Cell, card: DatasetCard, trained: _Trained, device: torch.device
) -> dict[str, Any]:
    """Return what the same weights answer on every other simulator that is here."""
    state = trained.student.network.state_dict()
    found = {}
    for name in discovery.names("backends"):
        if name == cell.backend:
            continue
        try:
            backend = cast(Backend, discovery.load("backends", name))
        except ModuleNotFoundError:  # not installed: nothing to compare with
            continue
        if backend.unsupported(neuron_of(cell)):
            continue
        other = _student(replace(cell, backend=name), card, backend, device)
        other.network.load_state_dict(state)
        verdict = evaluate(other, trained.test, trained.presentation, device, _precision(cell))
        unlike = verdict.predictions[-1] != trained.verdict.predictions[-1]
        found[name] = {"test_accuracy": verdict.accuracy.value, "differing": int(unlike.sum())}
    return found


def _keep(folder: Path, trained: _Trained) -> None:
    """Write what metrics can be computed from again: decisions and weights."""
    decided = BytesIO()
    np.savez_compressed(
        decided, predictions=trained.verdict.predictions, labels=trained.verdict.labels
    )
    state = trained.student.network.state_dict()
    weights = save({name: value.cpu().contiguous() for name, value in state.items()})
    write_atomically(folder / "predictions.npz", lambda file: file.write(decided.getvalue()))
    write_atomically(folder / "student.safetensors", lambda file: file.write(weights))


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Linux counts KiB, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
