"""A row's predictions, computed again from its weights on data that lies here.

It runs in a process of its own, since what it is given comes from anybody: weights are
tensors and nothing else, and the network is built by names that this checkout knows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load

from harness.contracts.dataset import Samples, Source
from harness.contracts.ledger import CATEGORIES, Ledger
from harness.contracts.row import Row
from harness.contracts.task import Driven
from harness.engine.cell import prepared
from harness.engine.jobs import Conditions
from harness.engine.packed import Arrays, from_npz, one_line
from harness.engine.resolve import Resolved, opened, resolve
from harness.engine.scoring import most_bytes
from harness.engine.verification import Again, Question
from harness.evaluation.cost import Running
from harness.evaluation.decisions import first_spikes
from harness.evaluation.evaluate import Verdict, evaluate
from harness.training.lesson import computing
from harness.training.student import Student

# In float64 nothing but a membrane within 1e-13 of its threshold can decide otherwise. In
# float32 sums round by some 1e-7 of themselves, which flips a spike of some samples in a
# thousand and fewer decisions: ten times that much is no rounding.
_TOLERANCE = {"float64": 0.0}
_TOLERANCE_ELSE = 0.01
_SUM = 1e-9  # of a mean over samples, in whatever order
_CPU = torch.device("cpu")


def again(question: Question, /) -> Again:
    """Return how the weights of a row contradict its predictions and counts, if they do.

    Raises:
        HarnessError: If data, simulator or method are not here.
    """
    row = question.row
    arrays = from_npz(question.arrays, most=most_bytes(row))
    conditions = Conditions(runs=question.weights.parent, data_root=question.data_root)
    with prepared(conditions), computing(row.cell.recipe.precision):
        return _contradiction(row, arrays, question)


def _contradiction(row: Row, arrays: Arrays, question: Question) -> Again:
    found = resolve(row.cell)
    test = opened(row.cell.dataset, question.data_root, row.cell.timesteps).test
    student = found.student(_CPU)
    if wrong := _fill(student, question.weights.read_bytes()) or _other_labels(arrays, test):
        return Again(samples=0, wrong=wrong)
    places = _places(found, len(test), question)
    if wrong := _other_size(row, student):
        return Again(samples=0, wrong=wrong)
    verdict, ledger = _answered(found, row, student, test, places)
    said = arrays["predictions"][:, places]
    alike = [found.task.alike(*both) for both in zip(verdict.predictions, said, strict=True)]
    differing = int((~np.all(alike, axis=0)).sum())
    allowed = _TOLERANCE.get(row.cell.recipe.precision, _TOLERANCE_ELSE)
    wrong = (
        f"its weights decide {differing} of {len(places)} samples otherwise"
        if differing > allowed * len(places)
        else _other_score(row, verdict, allowed) or _other_counts(row, ledger, allowed)
    )
    return Again(samples=len(places), wrong=wrong)


def _fill(student: Student, weights: bytes) -> str | None:
    """Put weights into a network; return why they do not fit, if so."""
    try:
        student.network.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        return f"its weights do not fit its model: {one_line(error)}"
    student.network.eval()
    return None


def _other_labels(arrays: Arrays, test: Samples | Source) -> str | None:
    if arrays["labels"].shape != test.labels.shape:
        return f"it was tested on {arrays['labels'].size} samples, and here are {test.labels.size}"
    wrong = int((arrays["labels"] != test.labels).sum())
    return f"{wrong} of its labels are not those of the data" if wrong else None


def _places(found: Resolved, samples: int, question: Question) -> NDArray[np.int64]:
    """Return which samples are asked: a draw, or all where few or none can be left out.

    An encoder draws by batch, and of a sequence each answer may depend on the last.
    """
    whole = found.encoder is not None or isinstance(found.task, Driven)
    if samples <= question.samples or whole:
        return np.arange(samples)
    drawn = np.random.default_rng(question.seed)
    return np.sort(drawn.choice(samples, question.samples, replace=False))


def _answered(
    found: Resolved,
    row: Row,
    student: Student,
    test: Samples | Source,
    places: NDArray[np.int64],
) -> tuple[Verdict, Ledger | None]:
    """Return what the student answers and, if all samples are asked, what they cost."""
    shown, precision = found.presentation(), row.cell.recipe.precision
    if row.provenance.normalisation is not None:  # an imported teacher's
        mean, std = row.provenance.normalisation
        shown = replace(shown, mean=mean, std=std)
    if len(places) == len(test):
        running = Running(
            student=student,
            samples=test,
            presentation=shown,
            device=_CPU,
            precision=precision,
            task=found.task,
        )
        return running.judged()
    part = test.take(places)
    return evaluate(student, part, shown, _CPU, precision, task=found.task), None


def _other_size(row: Row, student: Student) -> str | None:
    """Return how many parameters the student has, if that is not what its row says."""
    said = row.metrics and row.metrics.parameter_count
    found = sum(weight.numel() for weight in student.parameters())
    return f"it has {found} parameters, not {said}" if said not in (None, found) else None


def _other_score(row: Row, verdict: Verdict, allowed: float) -> str | None:
    """Return what all samples score, if that is another by more than ``allowed``.

    Boxes that overlap count as alike, and may yet be better than those that a network gives.
    """
    if row.metrics is None or len(verdict.labels) != row.metrics.n_test:
        return None
    said, found = row.metrics.score, verdict.score.value
    return None if abs(said - found) <= max(allowed, _SUM) else f"its weights score {found:.4f}"


def _other_first_spikes(row: Row, ledger: Ledger, allowed: float) -> str | None:
    """Return when and how often the last layer fires first, if a row says otherwise."""
    metrics = row.metrics
    if metrics is None or metrics.silent_samples is None or ledger.is_summed:
        return None
    found = first_spikes(ledger)
    for name, ours, theirs in (
        ("silent_samples", found.silent, metrics.silent_samples),
        ("first_spike_steps", found.mean_steps, metrics.first_spike_steps),
    ):
        near = max(_SUM, allowed * max(ours or 0, theirs or 0))
        if (ours is None) != (theirs is None) or abs((ours or 0) - (theirs or 0)) > near:
            return f"{name} {theirs}, and its weights give {ours}"
    return None


def _other_counts(row: Row, ledger: Ledger | None, allowed: float) -> str | None:
    """Return which totals of the ledger are others, by more than a part of ``allowed``."""
    if ledger is None or row.ledger is None:
        return None
    ours, said = ledger.total, row.ledger.total
    if wrong_first := _other_first_spikes(row, ledger, allowed):
        return wrong_first
    wrong = [
        f"{name} {here}, not {there}"
        for name in CATEGORIES
        if name not in row.ledger.not_counted
        and abs((here := getattr(ours, name)) - (there := getattr(said, name)))
        > allowed * max(here, there)
    ]
    return f"its weights cost otherwise: {', '.join(wrong[:3])}" if wrong else None
