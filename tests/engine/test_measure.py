"""One pass over the test split gives all, and timing costs a bounded number of passes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import discovery
from harness.contracts.backend import Backend
from harness.contracts.suite import Suite
from harness.engine import canary, grid, measure
from harness.engine.grid import Axes
from harness.engine.measure import Measured
from harness.engine.resolve import Resolved, opened, resolve
from harness.engine.train import Trained
from harness.evaluation.cost import is_worth_one_more
from harness.evaluation.evaluate import evaluate
from harness.neurons import packaged
from harness.results import Published
from harness.store import Store
from harness.training import Student
from harness.training.lesson import Account

CPU = torch.device("cpu")
SPLITS = opened("digits", None, 1)


def untrained(suite: str = "digits", *, backend: str = "reference") -> tuple[Resolved, Trained]:
    """Return a student whose norms have seen images, so that it spikes."""
    axes = Axes(methods=("direct",), timesteps=(3,), seeds=(0,), backends=(backend,))
    found = resolve(grid.cells(suite, axes, Store(Path("nothing")), Published())[0])
    trained = Trained(
        student=found.student(CPU),
        presentation=found.presentation(),
        device=CPU,
        account=Account(),
        seconds=0.0,
    )
    canary._settle_norms(trained, SPLITS.validation)
    return found, trained


def measured(found: Resolved, trained: Trained) -> Measured:
    return measure.measure(found, trained, SPLITS.test, SPLITS.validation, None)


@pytest.mark.parametrize("suite", ["digits", "digits_poisson"])
def test_the_pass_that_is_metered_answers_as_one_that_is_not(
    suite: str, simulator: Backend
) -> None:
    found, trained = untrained(suite, backend=simulator.name)
    shown = (SPLITS.test, trained.presentation, CPU, "float32")
    unmetered = evaluate(trained.student, *shown, task=found.task)
    judged = measured(found, trained)
    assert np.array_equal(judged.verdict.logits, unmetered.logits)
    assert np.array_equal(judged.verdict.labels, SPLITS.test.labels)
    assert judged.ledger.samples == len(SPLITS.test)
    assert judged.ledger.spikes_per_sample > 1


def test_a_student_sees_each_split_once_and_every_other_simulator_the_test_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    answer = Student.__call__

    def counted(student: Student, stimulus: torch.Tensor, taps: Sequence[str] = ()) -> Any:
        seen.append(len(stimulus))
        return answer(student, stimulus, taps)

    found, trained = untrained()
    monkeypatch.setattr(Student, "__call__", counted)
    others = len(measured(found, trained).elsewhere)
    assert others == len(Suite.witnesses) - 1
    assert sum(seen) == len(SPLITS.validation) + (1 + others) * len(SPLITS.test)


def test_of_a_large_test_split_a_sample_is_asked_elsewhere_and_the_row_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, trained = untrained()
    whole = measured(found, trained)
    assert whole.metrics["cross_backend_samples"] is None
    monkeypatch.setattr(measure, "_ASKED_ELSEWHERE", 100)
    # Everywhere else all weights are zero, so that every sample is of class 0.
    original = Resolved.student

    def silenced(found: Resolved, device: torch.device) -> Student:
        student = original(found, device)
        student.network.load_state_dict = lambda _: None  # type: ignore[assignment,method-assign]  # on purpose
        for weight in student.parameters():
            weight.data.zero_()
        return student

    monkeypatch.setattr(Resolved, "student", silenced)
    few = measured(found, trained)
    places = [number * len(SPLITS.test) // 100 for number in range(100)]
    assert len(set(places)) == 100
    assert few.metrics["cross_backend_samples"] == 100
    for answer in few.metrics["cross_backend"].values():
        assert answer.differing == np.count_nonzero(few.verdict.predictions[-1][places])
        assert answer.score == np.mean(SPLITS.test.labels[places] == 0)
    assert few.metrics["score"] == whole.metrics["score"]  # of all
    # An encoder draws by batch: for fewer samples it would draw other spikes.
    noisy, seen = untrained("digits_poisson")
    assert measured(noisy, seen).metrics["cross_backend_samples"] is None


def test_of_many_samples_a_thousand_are_asked_elsewhere_evenly() -> None:
    found, _ = untrained()
    places = measure._asked_elsewhere(found, 5000)
    assert places is not None
    assert np.array_equal(places, np.arange(1000) * 5)
    assert measure._asked_elsewhere(found, 1000) is None


@pytest.mark.parametrize(
    ("pass_s", "passes"),
    [(1e-4, 30), (2e-3, 10), (0.03, 3), (0.3, 3), (0.6, 2), (7.0, 1)],
)
def test_timing_takes_few_passes_of_a_slow_network(pass_s: float, passes: int) -> None:
    times: list[float] = []
    while is_worth_one_more(times):
        times.append(pass_s)
    assert len(times) == passes


def test_a_simulator_that_is_missing_is_not_asked_and_fails_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, trained = untrained()
    asked = set(measured(found, trained).elsewhere)
    assert asked == set(Suite.witnesses) - {"reference"}
    known = packaged.find_spec  # it says so itself
    monkeypatch.setattr(packaged, "find_spec", lambda name: name != "norse" and known(name))
    assert set(measured(found, trained).elsewhere) == asked - {"norse"}
    load = discovery.load

    def missing(kind: discovery.Kind, name: str) -> Any:
        if name == "norse":  # somebody's adapter that imports its package at once
            raise ModuleNotFoundError("No module named 'norse'", name="norse")
        return load(kind, name)

    monkeypatch.setattr(discovery, "load", missing)
    assert set(measured(found, trained).elsewhere) == asked - {"norse"}
