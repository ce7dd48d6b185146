"""The second stage of a cell: what the trained student answers, and what that costs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harness import discovery
from harness.contracts.dataset import Samples, Source
from harness.contracts.ledger import Ledger
from harness.contracts.row import Elsewhere
from harness.contracts.suite import Suite
from harness.contracts.task import Driven
from harness.engine.resolve import Resolved
from harness.engine.train import Trained
from harness.evaluation.cost import Running, early_exits
from harness.evaluation.decisions import OverTime
from harness.evaluation.evaluate import Verdict, evaluate
from harness.evaluation.online import synaptic

# What is asked of the other simulators, one of which is slow on purpose.
_ASKED_ELSEWHERE = 1000


@dataclass(frozen=True, kw_only=True)
class TeacherVerdict:
    """What a student is compared with: its teacher on the same test samples.

    Attributes:
        score: In the task's metric.
        predictions: Its decisions, ``[N, ...]``.
        same_topology: Whether it is the student's with ReLU.
    """

    score: float
    predictions: NDArray[Any]
    same_topology: bool


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything about a trained student that is no wall clock.

    Attributes:
        verdict: On the test split.
        elsewhere: By other simulator, projections of what the same weights answer there.
        ledger: What the test split cost, sample by sample.
        metrics: The columns that follow from these.
        running: To be timed.
    """

    verdict: Verdict
    elsewhere: Mapping[str, tuple[float, ...]]
    ledger: Ledger
    metrics: dict[str, Any]
    running: Running


def measure(
    found: Resolved,
    trained: Trained,
    test: Samples | Source,
    validation: Samples | Source,
    reference: TeacherVerdict | None,
) -> Measured:
    """Look at the test split, once a simulator.

    Thresholds of early exits are fitted on ``validation`` alone.
    """
    running = Running(
        student=trained.student,
        samples=test,
        presentation=trained.presentation,
        device=trained.device,
        precision=found.recipe.precision,
        task=found.task,
    )
    verdict, ledger = running.judged()
    others = dict(_elsewhere(found, trained, test, verdict))
    asked = _asked_elsewhere(found, len(test))
    spiking: dict[str, Any] = {}
    if found.backend is not None and "classes" in found.task.gives:
        spiking = early_exits(_answers(found, trained, validation), verdict, ledger)
    return Measured(
        verdict=verdict,
        elsewhere={name: projections for name, (_, projections) in others.items()},
        ledger=ledger,
        running=running,
        metrics={
            **quality(verdict),
            **_beside(verdict, reference),
            **spiking,
            **_online(running, ledger),
            "cross_backend": {name: answer for name, (answer, _) in others.items()},
            "cross_backend_samples": None if asked is None or not others else len(asked),
        },
    )


def quality(verdict: Verdict) -> dict[str, Any]:
    """Return the columns about right and wrong."""
    steps = verdict.scores
    return {
        "metric": verdict.task.metric.name,
        "scale": verdict.task.metric.scale,
        "score": verdict.score.value,
        "score_low": verdict.score.low,
        "score_high": verdict.score.high,
        "further": dict(verdict.score.further),
        "n_test": len(verdict.labels),
        "score_by_step": tuple(step.value for step in steps),
        "score_by_step_low": tuple(step.low for step in steps),
        "score_by_step_high": tuple(step.high for step in steps),
        "score_area": fmean(step.value for step in steps),
        **(_settling(verdict.over_time) if "classes" in verdict.task.gives else {}),
    }


def _settling(found: OverTime) -> dict[str, float]:
    return {
        "mean_steps_to_decide": found.mean_settling_steps,
        "mean_cutoff_steps": found.mean_cutoff_steps,
    }


def _online(running: Running, windows: Ledger) -> dict[str, Any]:
    """Return the columns about a video that is shown frame by frame, if it can be."""
    if running.watched is None:
        return {}
    return {
        "operations_a_frame": float(running.watched.operations.mean()),
        "operations_a_window": float(synaptic(windows).mean()),
    }


def _beside(verdict: Verdict, reference: TeacherVerdict | None) -> dict[str, Any]:
    """Return the columns about the teacher."""
    if reference is None:
        return {}
    return {
        "teacher_score": reference.score,
        "ann_score": reference.score if reference.same_topology else None,
        "agreement": float(
            verdict.task.alike(reference.predictions, verdict.predictions[-1]).mean()
        ),
    }


def _elsewhere(
    found: Resolved, trained: Trained, test: Samples | Source, verdict: Verdict
) -> Iterator[tuple[str, tuple[Elsewhere, tuple[float, ...]]]]:
    """Yield what the same weights answer on the suite's other simulators that are here."""
    if found.backend is None:
        return
    suite = cast(Suite, discovery.load("suites", found.cell.suite))
    state = trained.student.network.state_dict()
    places = _asked_elsewhere(found, len(test))
    asked = test if places is None else test.take(places)
    ours = verdict.predictions[-1] if places is None else verdict.predictions[-1][places]
    for name in suite.witnesses:
        if name == found.cell.backend or (other := found.on(name)) is None:
            continue
        student = other.student(trained.device)
        student.network.load_state_dict(state)
        theirs = _answers(found, replace(trained, student=student), asked)
        alike = found.task.alike(theirs.predictions[-1], ours)
        answer = Elsewhere(score=theirs.score.value, differing=int((~alike).sum()))
        yield name, (answer, theirs.projections)


def _answers(found: Resolved, trained: Trained, samples: Samples | Source) -> Verdict:
    return evaluate(
        trained.student,
        samples,
        trained.presentation,
        trained.device,
        found.recipe.precision,
        task=found.task,
    )


def _asked_elsewhere(found: Resolved, samples: int) -> NDArray[np.int64] | None:
    """Return which of so many samples are, evenly in file order; None is all.

    An encoder draws by batch: for fewer samples it would draw other spikes. Of a sequence none
    can be left out.
    """
    whole = found.encoder is not None or isinstance(found.task, Driven)
    if samples <= _ASKED_ELSEWHERE or whole:
        return None
    return np.arange(_ASKED_ELSEWHERE) * samples // _ASKED_ELSEWHERE
