"""The second stage of a cell: what the trained student answers, and what that costs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from harness import discovery
from harness.contracts.dataset import Samples, Source
from harness.contracts.ledger import Ledger
from harness.contracts.row import Elsewhere
from harness.contracts.suite import Suite
from harness.engine.resolve import Resolved
from harness.engine.train import Trained
from harness.evaluation.cost import Running, early_exits
from harness.evaluation.evaluate import Verdict, evaluate

# What is asked of the other simulators, one of which is slow on purpose.
_ASKED_ELSEWHERE = 1000


@dataclass(frozen=True, kw_only=True)
class TeacherVerdict:
    """What a student is compared with: its teacher on the same test samples.

    Attributes:
        accuracy: A fraction.
        predictions: int64 ``[N]``.
        same_topology: Whether it is the student's with ReLU.
    """

    accuracy: float
    predictions: NDArray[np.int64]
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
        trained.student, test, trained.presentation, trained.device, found.recipe.precision
    )
    verdict, ledger = running.judged()
    others = dict(_elsewhere(found, trained, test, verdict))
    asked = _asked_elsewhere(found, len(test))
    spiking: dict[str, Any] = {}
    if found.backend is not None:
        fitted_on = evaluate(
            trained.student,
            validation,
            trained.presentation,
            trained.device,
            found.recipe.precision,
        )
        spiking = early_exits(fitted_on, verdict, ledger)
    return Measured(
        verdict=verdict,
        elsewhere={name: projections for name, (_, projections) in others.items()},
        ledger=ledger,
        running=running,
        metrics={
            **quality(verdict),
            **_beside(verdict, reference),
            **spiking,
            "cross_backend": {name: answer for name, (answer, _) in others.items()},
            "cross_backend_samples": None if asked is None or not others else len(asked),
        },
    )


def quality(verdict: Verdict) -> dict[str, Any]:
    """Return the columns about right and wrong."""
    low, high = verdict.accuracy.interval
    steps = verdict.over_time.accuracy
    return {
        "score": verdict.accuracy.value,
        "score_low": low,
        "score_high": high,
        "n_test": verdict.accuracy.samples,
        "score_by_step": tuple(step.value for step in steps),
        "score_by_step_low": tuple(step.interval.low for step in steps),
        "score_by_step_high": tuple(step.interval.high for step in steps),
        "score_area": verdict.over_time.area,
        "mean_steps_to_decide": verdict.over_time.mean_settling_steps,
        "mean_cutoff_steps": verdict.over_time.mean_cutoff_steps,
    }


def _beside(verdict: Verdict, reference: TeacherVerdict | None) -> dict[str, Any]:
    """Return the columns about the teacher."""
    if reference is None:
        return {}
    return {
        "teacher_score": reference.accuracy,
        "ann_score": reference.accuracy if reference.same_topology else None,
        "agreement": float((reference.predictions == verdict.predictions[-1]).mean()),
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
    asked = test if places is None else _part(test, places)
    ours = verdict.predictions[-1] if places is None else verdict.predictions[-1][places]
    for name in suite.witnesses:
        if name == found.cell.backend or (other := found.on(name)) is None:
            continue
        student = other.student(trained.device)
        student.network.load_state_dict(state)
        theirs = evaluate(
            student, asked, trained.presentation, trained.device, found.recipe.precision
        )
        answer = Elsewhere(
            score=theirs.accuracy.value,
            differing=int((theirs.predictions[-1] != ours).sum()),
        )
        yield name, (answer, theirs.projections)


def _asked_elsewhere(found: Resolved, samples: int) -> NDArray[np.int64] | None:
    """Return which of so many samples are, evenly in file order; None is all.

    An encoder draws by batch: for fewer samples it would draw other spikes.
    """
    if samples <= _ASKED_ELSEWHERE or found.encoder is not None:
        return None
    return np.arange(_ASKED_ELSEWHERE) * samples // _ASKED_ELSEWHERE


def _part(test: Samples | Source, places: NDArray[np.int64]) -> Samples | Source:
    if isinstance(test, Samples):
        return Samples(inputs=test.inputs[places], labels=test.labels[places])
    return test.take(places)
